"""What several sessions do to one object at the same time: real threads, real commits."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from durable_objects import AlarmInfo, ObjectBusy, RunSuperseded
from durable_objects.models import AlarmRun, Object
from durable_objects.tasks import fire_alarm
from durable_objects.testing import FakeClock, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.conftest import Message
from tests.conformance.scenes import HOUR, LEASE, NOW, Boom, again, outcomes, slot
from tests.models import Counter, Script, Scripted
from tests.support.threads import InThread, await_event, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


@behaviour("DO-37", "two runs of one object never overlap; a second call joins the first, or waits")
def test_do_37_runs_never_overlap(clock: FakeClock, obj: Scripted, script: Script, messages: list[Message]) -> None:
    """Wake-ups that come at once, and while the run is unlocked, are one run; an alarm set meanwhile comes after it."""
    running: list[int] = []
    most: list[int] = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        running.append(1)
        with obj.unlocked():
            if len(script.infos) == 1:
                obj.storage.set_alarm(NOW)
            verdicts.extend(InThread(lambda rescue=rescue: fire_alarm(pk, None, rescue)).result() for rescue in (0, 1))  # type: ignore[misc]  # inferred
            assert InThread(run_due_alarms).result() == []
            most.append(len(running))
        running.pop()

    verdicts: list[str] = []
    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = slot().pk
    verdicts += run_in_threads(3, lambda number: fire_alarm(pk))
    run_due_alarms()
    assert set(verdicts) <= {"succeeded", "dropped", "again"}
    assert most == [1, 1]
    assert AlarmRun.objects.count() == 2


@behaviour(
    "DO-38",
    "a run may interleave with other calls at any await that is no storage operation",
    differs="only inside `with self.unlocked():`; everywhere else a call has its object alone",
)
@behaviour("C29", "the gates: order, critical section, nested, broken, cancelled")
def test_do_38_others_wait_until_it_is_unlocked(obj: Scripted, script: Script, settings: Settings) -> None:
    """A call that comes during a run waits, at most LOCK_TIMEOUT; it goes in while the run is unlocked, or after it."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(milliseconds=100)}

    def put(key: str) -> None:
        again().storage.put(key, 1)

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with pytest.raises(ObjectBusy):
            InThread(lambda: put("locked")).result()
        with obj.unlocked():
            InThread(lambda: put("unlocked")).result()
        assert obj.storage.list() == {"unlocked": 1}
        with obj.storage.transaction(), pytest.raises(ObjectBusy):
            InThread(lambda: put("nested")).result()
        raise Boom

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["failed"]
    put("broken")
    assert obj.storage.list() == {"broken": 1, "unlocked": 1}


@behaviour("DO-79", "while a storage operation is awaited no other event is delivered to the object")
@behaviour("DO-87", "many first calls at once see one instance, in order")
@behaviour("C26", "simultaneous first requests do not split the object in two; nothing breaks the next handle")
def test_do_87_first_calls_at_once_meet_one_object() -> None:
    """Of many first calls at once each sees what those before it did: one row, nothing lost."""
    counts = run_in_threads(5, lambda number: Counter.objects.get_by_name("new").add())
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert Object.objects.count() == 1


@behaviour("DO-93", "at most one instance, checked when an event starts and at each access to the storage")
@behaviour("S37", "`getAlarm` and `setAlarm` of a broken object throw")
def test_do_93_a_stale_run_is_refused(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A run that lost its lease to another is refused at everything it asks for, and nothing of it counts."""
    refused = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) > 1:
            obj.storage.put("by", "the second")
            return
        try:
            with obj.unlocked():
                clock.advance(LEASE)
                assert outcomes(InThread(run_due_alarms).result()) == ["succeeded"]
        except RunSuperseded:
            for call in (obj.storage.get_alarm, lambda: obj.storage.set_alarm(HOUR), lambda: obj.storage.put("by", 1)):
                with pytest.raises(RunSuperseded) as caught:
                    call()
                refused.append(caught.value)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    assert len(refused) == 3
    assert sorted(outcomes(list(AlarmRun.objects.all()))) == ["succeeded", "superseded"]
    assert obj.storage.list() == {"by": "the second"}
    assert obj.storage.get_alarm() is None


@behaviour(
    "S16",
    "the call comes while a later time is set but not committed: it runs, and the new time is kept",
    differs="it waits for that turn and goes by what was committed: moved to later, it does not run now",
)
@behaviour("S17", "the same with an earlier time", differs="it goes by what was committed, as S16")
@pytest.mark.parametrize("moved", [HOUR, -HOUR], ids=["later", "earlier"])
def test_s16_a_wake_up_waits_for_the_turn_in_progress(
    clock: FakeClock, obj: Scripted, script: Script, *, moved: timedelta
) -> None:
    """A wake-up that meets a turn of its object decides when that is over, by what it left."""
    inside, leave = threading.Event(), threading.Event()

    def move() -> None:
        with obj.storage.transaction():
            obj.storage.set_alarm(clock.now() + moved)
            inside.set()
            await_event(leave)

    obj.storage.set_alarm(NOW)
    pk = slot().pk
    moving = InThread(move)
    await_event(inside)
    waiting = InThread(lambda: fire_alarm(pk))
    leave.set()
    moving.result()
    assert waiting.result() == ("dropped" if moved > NOW else "succeeded")
    assert obj.storage.get_alarm() == (clock.now() + moved if moved > NOW else None)


@behaviour(
    "S50",
    "an unconfirmed setAlarm does not hold back the reply",
    differs="each call returns when it is committed; who cannot wait calls from a thread or a task",
)
@behaviour("S51", "a confirmed setAlarm holds the reply back until the commit")
@behaviour("J15", "times, override, several sets in one, the gates around a set, an alarm in a transaction")
def test_s51_committed_when_it_returns(clock: FakeClock, obj: Scripted) -> None:
    """Another session sees an alarm as soon as the call returned, and of a turn in progress nothing."""

    def seen() -> datetime | None:
        return InThread(again().storage.get_alarm).result()

    at = clock.now() + HOUR
    for when in (at, HOUR, 2 * HOUR):
        obj.storage.set_alarm(when)
        assert seen() == obj.storage.get_alarm()
    with obj.storage.transaction():
        for hours in (3, 4, 5):
            obj.storage.set_alarm(hours * HOUR)
        assert seen() == clock.now() + 2 * HOUR
    assert seen() == clock.now() + 5 * HOUR
    obj.storage.delete_alarm()
    assert seen() is None
