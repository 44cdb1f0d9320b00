"""Deleting everything an object has, and what becomes of its alarm."""

from __future__ import annotations

import pytest

from durable_objects import AlarmInfo
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.scenes import HOUR, SECOND, Boom, climb, outcomes, undone
from tests.models import Note, Script, Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture
def full(clock: FakeClock, obj: Scripted) -> Scripted:
    """An object with an entry, and an alarm in an hour."""
    obj.storage.put("k", 1)
    obj.storage.set_alarm(HOUR)
    return obj


@behaviour("DO-24", "`deleteAll()` clears the slot too, since 2026; before that, or with a flag, it was kept")
@behaviour("S41", "`deleteAll` with the alarm: cleared")
@behaviour("C4", "the same in its older storage")
@behaviour("J4", "data gone in both cases, the alarm by the flag")
def test_do_24_delete_all_takes_the_alarm_along(full: Scripted) -> None:
    """Entries and alarm go; with ``keep_alarm=True`` the entries alone."""
    full.storage.delete_all(keep_alarm=True)
    assert full.storage.list() == {}
    assert full.storage.get_alarm() is not None
    full.storage.put("k", 1)
    full.storage.delete_all()
    assert full.storage.list() == {}
    assert full.storage.get_alarm() is None


@behaviour("S38", "the old rule: `deleteAll()` keeps an alarm that is set, also twice in a row")
@behaviour("S39", "the old rule: where none is set there is none")
@behaviour("S42", "`deleteAll` without the alarm: kept")
@behaviour("C5", "the same in its older storage")
def test_s38_keep_alarm_keeps_what_is_set(clock: FakeClock, full: Scripted) -> None:
    """``keep_alarm=True`` leaves the alarm as it is, any number of times, and makes none."""
    for _ in range(2):
        full.storage.delete_all(keep_alarm=True)
        assert full.storage.get_alarm() == clock.now() + HOUR
    full.storage.delete_alarm()
    full.storage.delete_all(keep_alarm=True)
    assert full.storage.get_alarm() is None


@behaviour("S40", "the old rule: set and then `deleteAll()` in one turn keeps the alarm")
def test_s40_set_and_delete_all_in_one_turn(clock: FakeClock, full: Scripted) -> None:
    """With ``keep_alarm=True`` what the same turn set before stands; without, it goes."""
    with full.storage.transaction():
        full.storage.set_alarm(2 * HOUR)
        full.storage.delete_all(keep_alarm=True)
    assert full.storage.get_alarm() == clock.now() + 2 * HOUR
    with full.storage.transaction():
        full.storage.set_alarm(3 * HOUR)
        full.storage.delete_all()
    assert full.storage.get_alarm() is None


@behaviour("DO-25", "a `deleteAll()` that fails does not delete the alarm")
@behaviour("C9", "the same in its older storage")
def test_do_25_a_failed_delete_all_deletes_nothing(clock: FakeClock, full: Scripted) -> None:
    """Where the turn cannot be committed, entries and alarm are still there."""
    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
        full.storage.delete_all()
    assert full.storage.list() == {"k": 1}
    assert full.storage.get_alarm() == clock.now() + HOUR


@behaviour("DO-26", "`setAlarm(B)` before a `deleteAll()` has ended: B survives")
@behaviour("S45", "a set that comes between wins")
@behaviour("C6", "the same in its older storage")
def test_do_26_a_later_set_survives(clock: FakeClock, full: Scripted) -> None:
    """An alarm set after ``delete_all()`` in the same turn stands."""
    with full.storage.transaction():
        full.storage.delete_all()
        full.storage.set_alarm(2 * HOUR)
    assert full.storage.list() == {}
    assert full.storage.get_alarm() == clock.now() + 2 * HOUR


@behaviour(
    "DO-27",
    "`deleteAll()` in the handler drops the alarm that runs, so that a later throw is not retried",
    differs="a run that raises leaves nothing behind: the data is back and the run is retried. To end for good return, "
    "or call it inside `with self.unlocked():`",
)
def test_do_27_delete_all_in_the_handler_then_raise(clock: FakeClock, full: Scripted, script: Script) -> None:
    """What a failing run deleted is there for its retry; deleted while unlocked it is gone, and so is the alarm."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        seen.append(obj.storage.list())
        if not info.is_retry:
            obj.storage.delete_all()
        else:
            with obj.unlocked():
                obj.storage.delete_all()
        raise Boom

    script.alarm = alarm
    clock.advance(HOUR)
    assert outcomes(climb(clock)) == ["failed", "failed"]
    assert seen == [{"k": 1}, {"k": 1}]
    assert full.storage.list() == {}
    assert full.storage.get_alarm() is None


@behaviour("S43", "`deleteAll` with the alarm in its handler: none now, none afterwards")
@behaviour("C7", "the same in its older storage")
def test_s43_delete_all_in_the_handler(clock: FakeClock, full: Scripted, script: Script) -> None:
    """A handler that deletes everything ends well and leaves nothing, what it set before neither."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.set_alarm(SECOND)
        obj.storage.delete_all()
        assert obj.storage.get_alarm() is None

    script.alarm = alarm
    clock.advance(HOUR)
    assert outcomes(climb(clock)) == ["succeeded"]
    assert full.storage.list() == {}
    assert full.storage.get_alarm() is None


@behaviour("S44", "`deleteAll` without the alarm in its handler: hidden, deleted at success, back at a failure")
@behaviour("C8", "the same in its older storage")
def test_s44_keep_alarm_in_the_handler(clock: FakeClock, full: Scripted, script: Script) -> None:
    """``keep_alarm=True`` changes nothing for the alarm that runs: retried on failure, done on success."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.delete_all(keep_alarm=True)
        assert obj.storage.get_alarm() is None
        if not info.is_retry:
            raise Boom

    script.alarm = alarm
    clock.advance(HOUR)
    assert outcomes(run_due_alarms()) == ["failed"]
    assert full.storage.get_alarm() == clock.now()
    clock.advance(2 * SECOND)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert full.storage.get_alarm() is None


@behaviour(
    "DO-28",
    "`deleteAll()` inside `transaction()`: an error",
    differs="it is allowed, and undone with the block when that is; nothing to do",
)
def test_do_28_delete_all_in_a_transaction(clock: FakeClock, full: Scripted) -> None:
    """A block that is undone gives entries and alarm back; one that is kept has deleted them."""
    with undone(), full.storage.transaction():
        full.storage.delete_all()
        assert full.storage.list() == {}
        raise Boom
    assert full.storage.list() == {"k": 1}
    assert full.storage.get_alarm() == clock.now() + HOUR
    with full.storage.transaction():
        full.storage.delete_all()
    assert full.storage.list() == {}
    assert full.storage.get_alarm() is None


@behaviour(
    "DO-73",
    "`deleteAll()` empties everything, the tables of the object's own too, and answers nothing",
    differs="entries and alarm; rows of your own models are yours: delete them in the same turn",
)
def test_do_73_delete_all_empties_the_storage(full: Scripted) -> None:
    """All entries go, other objects and models are not touched, and the object goes on."""
    other = Scripted.objects.get_by_name("b")
    other.storage.put("k", 2)
    Note.objects.create(text="mine")
    full.storage.delete_all()
    full.storage.put("new", 3)
    assert full.storage.list() == {"new": 3}
    assert other.storage.list() == {"k": 2}
    assert Note.objects.count() == 1
