"""An object has one alarm: replacing, reading and deleting it, also from inside its handler and between retries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest

import durable_objects
from durable_objects import AlarmInfo
from durable_objects.models import Alarm
from durable_objects.testing import FakeClock, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.conftest import Message
from tests.conformance.scenes import HOUR, NOW, SECOND, Boom, again, climb, fail, outcomes
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db


@behaviour("DO-11", "`setAlarm(B)` over A: only B remains, be it earlier or later")
@behaviour("S10", "set twice: only the last time stands")
def test_do_11_the_last_set_stands(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A new time replaces the old one, earlier or later, and runs once."""
    for hours in (2, 5, 1):
        obj.storage.set_alarm(hours * HOUR)
        assert obj.storage.get_alarm() == clock.now() + hours * HOUR
    clock.advance(9 * HOUR)
    assert len(run_due_alarms()) == 1
    assert script.infos[0].lateness == 8 * HOUR


@behaviour("DO-12", "`setAlarm(A)` over A, no handler running: nothing is written or scheduled again")
@behaviour("S11", "setting the same time again does nothing")
def test_do_12_the_same_time_again_is_nothing(
    obj: Scripted, messages: list[Message], committed: Callable[[], AbstractContextManager[object]]
) -> None:
    """The row stays as it is, and no second message goes out."""
    at = durable_objects.now() + 20 * SECOND
    with committed():
        obj.storage.set_alarm(at)
    before = Alarm.objects.values().get()
    with committed():
        obj.storage.set_alarm(at)
    assert Alarm.objects.values().get() == before
    assert len(messages) == 1


@behaviour(
    "DO-13",
    "`getAlarm()`: ms as a number, or null",
    differs="a `datetime` in UTC, or None; `.timestamp()` gives the number, of seconds",
)
def test_do_13_the_time_is_a_datetime_in_utc(clock: FakeClock, obj: Scripted) -> None:
    """``get_alarm()`` is None, or an aware ``datetime`` in UTC."""
    assert obj.storage.get_alarm() is None
    obj.storage.set_alarm(HOUR)
    at = obj.storage.get_alarm()
    assert at == clock.now() + HOUR
    assert isinstance(at, datetime)
    assert at.tzinfo is UTC


@behaviour("DO-14", "while the handler runs and has set nothing, `getAlarm()` is null, for it and for other calls")
@behaviour("S18", "no alarm while it runs")
def test_do_14_a_running_alarm_is_not_pending(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The handler sees no alarm, and neither does who calls while it is unlocked."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        seen.append(obj.storage.get_alarm())
        with obj.unlocked():
            seen.append(again().storage.get_alarm())

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert seen == [None, None]


@behaviour(
    "DO-15",
    "after the handler called `setAlarm(B)`, `getAlarm()` is B",
    differs="for the handler it is; others see B when the run has ended well, since a run that raises takes it back. "
    "Set it inside `with self.unlocked():` to let it stand at once",
)
def test_do_15_the_handlers_own_set_is_seen(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The handler reads what it set; others do when it ended, or at once what was set while unlocked."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.set_alarm(HOUR)
        seen.append(obj.storage.get_alarm())
        with obj.unlocked():
            seen.append(again().storage.get_alarm())
            obj.storage.set_alarm(2 * HOUR)
            seen.append(again().storage.get_alarm())

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms(raise_errors=True)
    assert seen == [clock.now() + HOUR, None, clock.now() + 2 * HOUR]


@behaviour("DO-16", "between a failed run and its retry `getAlarm()` is the original time, not the retry's, not null")
@behaviour("S21", "after a failure the old time is back")
def test_do_16_the_original_time_between_retries(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """While a retry is waited for, the time is the one that was asked for."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    asked_for = clock.now()
    for pause in (2, 4):
        run_due_alarms()
        assert obj.storage.get_alarm() == asked_for
        clock.advance(pause * SECOND)


@behaviour("DO-17", "after the last allowed retry `getAlarm()` is null and nothing will run")
@behaviour("S59", "at the limit of retries the alarm is gone")
@behaviour("C10", "the same in its older storage")
def test_do_17_no_alarm_after_the_last_retry(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An alarm that failed for good reads as none, and does not run again."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    assert outcomes(climb(clock))[-1] == "dead"
    assert obj.storage.get_alarm() is None
    clock.advance(1000 * HOUR)
    assert run_due_alarms() == []


@behaviour("DO-18", "in the constructor at a wake-up `getAlarm()` is the due time, not null")
def test_do_18_initialize_sees_the_due_time(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``if get_alarm() is None: set_alarm(…)`` in ``initialize()`` does not put the due alarm off."""

    def initialize(obj: Scripted) -> None:
        seen.append(obj.storage.get_alarm())
        if seen[-1] is None:
            obj.storage.set_alarm(HOUR)

    seen: list[datetime | None] = []
    obj.storage.set_alarm(NOW)
    script.initialize = initialize
    due = clock.now()
    clock.advance(SECOND)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert seen == [due]


@behaviour("DO-19", "`deleteAlarm()` with no handler running: the slot is empty, nothing runs")
@behaviour("S9", "clear: none is set afterwards")
def test_do_19_a_deleted_alarm_does_not_run(clock: FakeClock, obj: Scripted) -> None:
    """After ``delete_alarm()`` nothing is set and nothing runs."""
    obj.storage.set_alarm(HOUR)
    obj.storage.delete_alarm()
    assert obj.storage.get_alarm() is None
    clock.advance(2 * HOUR)
    assert run_due_alarms() == []


@behaviour(
    "DO-20", "`deleteAlarm()` in the handler: the run goes on, what it set before is dropped, nothing is set after"
)
def test_do_20_delete_in_the_handler(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that deletes its alarm runs to its end, and none is left."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.set_alarm(HOUR)
        obj.storage.delete_alarm()
        obj.storage.put("ended", True)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get("ended")
    assert obj.storage.get_alarm() is None
    clock.advance(2 * HOUR)
    assert run_due_alarms() == []


@behaviour(
    "DO-21",
    "`deleteAlarm()` in the handler and then a throw: no further run",
    differs="a run that raises leaves nothing behind, its delete neither: it is retried. To end for good return, or "
    "delete inside `with self.unlocked():`, which stands",
)
def test_do_21_delete_then_raise(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The delete of a run that fails is undone; one that was made while unlocked stands."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if not info.is_retry:
            obj.storage.delete_alarm()
        else:
            with obj.unlocked():
                obj.storage.delete_alarm()
        raise Boom

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(climb(clock)) == ["failed", "failed"]
    assert obj.storage.get_alarm() is None


@behaviour("DO-22", "`deleteAlarm()` while a retry is waited for cancels it")
def test_do_22_delete_between_retries(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A deleted alarm is not retried."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    obj.storage.delete_alarm()
    assert obj.storage.get_alarm() is None
    assert climb(clock) == []


@behaviour("DO-23", "`setAlarm(B)` while a retry of A is waited for: A is void, B starts with a count of 0")
def test_do_23_set_between_retries(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The new alarm runs at its own time, also before the retry's, and nothing runs for the old one."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    script.alarm = lambda obj, info: None
    obj.storage.set_alarm(SECOND)
    assert run_due_alarms() == []
    clock.advance(SECOND)
    run_due_alarms()
    assert (script.infos[-1].retry_count, script.infos[-1].scheduled_at) == (0, clock.now())
    assert climb(clock) == []
