"""The original's tests in JavaScript and Python, and those of libraries on top of it, as scenarios here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest

import durable_objects
from durable_objects import AlarmInfo, InvalidAlarmTime
from durable_objects.models import Alarm, Object
from durable_objects.tasks import dispatch_alarms, fire_alarm
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.conftest import Message
from tests.conformance.scenes import HOUR, LEASE, NOW, SECOND, Boom, again, climb, outcomes, slot
from tests.models import Counter, Script, Scripted

pytestmark = pytest.mark.django_db


@behaviour("C2", "the first read of an alarm that is not in memory loads it")
def test_c2_a_fresh_handle_reads_what_is_stored(clock: FakeClock, obj: Scripted) -> None:
    """A handle that was just made, by name or by a queryset, reads the alarm and the entries, in a turn and outside."""
    obj.storage.set_alarm(HOUR)
    for fresh in (again(), Scripted.objects.get()):
        assert fresh.storage.get_alarm() == clock.now() + HOUR
        assert again().run_exclusive(again().storage.get_alarm) == clock.now() + HOUR


@behaviour("J1", "set now + 50 ms; it reads back; in the handler null; it learns its time; not early; null afterwards")
def test_j1_an_alarm_by_the_real_clock(obj: Scripted, script: Script) -> None:
    """By the database's real clock: a wake-up that is 50 ms early waits, and the handler starts when it is due."""
    seen = []
    script.alarm = lambda obj, info: seen.append((obj.storage.get_alarm(), durable_objects.now()))
    obj.storage.set_alarm(timedelta(milliseconds=50))
    at = obj.storage.get_alarm()
    assert fire_alarm(slot().pk) == "succeeded"
    [(pending, started)] = seen
    assert pending is None
    assert at is not None
    assert started >= at
    assert script.infos[0].scheduled_at == at
    assert obj.storage.get_alarm() is None


@behaviour("J2", "set and delete: never runs; delete in the handler is fine; set and delete there leave none; one run")
def test_j2_deleting_around_a_run(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Deleted before its time an alarm does not run; set and deleted by its handler it has run once."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.delete_alarm()
        obj.storage.set_alarm(SECOND)
        obj.storage.delete_alarm()

    script.alarm = alarm
    obj.storage.set_alarm(SECOND)
    obj.storage.delete_alarm()
    assert climb(clock) == []
    obj.storage.set_alarm(SECOND)
    clock.advance(SECOND)
    assert outcomes(climb(clock)) == ["succeeded"]
    assert obj.storage.get_alarm() is None


@behaviour("J10", "resetting between tests deletes all objects, and cancels their alarms")
def test_j10_deleting_all_objects_cancels_their_alarms(clock: FakeClock, script: Script) -> None:
    """``objects.all().delete()`` takes storage and alarms along; a test case's own rollback does the same."""
    for name in "abc":
        again(name).storage.put("k", 1)
        again(name).storage.set_alarm(SECOND)
    Scripted.objects.all().delete()
    clock.advance(HOUR)
    assert run_due_alarms() == []
    assert (again().storage.list(), again().storage.get_alarm()) == ({}, None)
    assert [model.objects.count() for model in (Object, Alarm)] == [0, 0]


@behaviour("J11", "in Python: no alarm is falsy; set + 100; `alarm(self, alarm_info)` is called")
def test_j11_the_python_shape(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Nothing set is None; the handler is a method with one argument."""
    assert not obj.storage.get_alarm()
    obj.storage.set_alarm(timedelta(milliseconds=100))
    assert obj.storage.get_alarm()
    clock.advance(SECOND)
    run_due_alarms()
    [info] = script.infos
    assert isinstance(info, AlarmInfo)


@behaviour("J14", "set, it runs, the set answers nothing; delete; the second set wins; 0 throws")
def test_j14_the_simulators_tests(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``set_alarm`` and ``delete_alarm`` answer None; the last set is the one that runs; the epoch is refused."""
    calls: list[Callable[[], object]] = [
        lambda: obj.storage.set_alarm(SECOND),
        obj.storage.delete_alarm,
        lambda: obj.storage.set_alarm(3 * SECOND),
        lambda: obj.storage.set_alarm(2 * SECOND),
    ]
    assert [call() for call in calls] == [None] * 4
    with pytest.raises(InvalidAlarmTime):
        obj.storage.set_alarm(datetime.fromtimestamp(0, UTC))
    clock.advance(2 * SECOND)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert climb(clock) == []


@behaviour("J16", "without alarm(): set throws, get is null; set-up and disposal")
def test_j16_an_object_is_made_and_disposed_of(obj: Scripted, script: Script) -> None:
    """A class without a handler has no alarm; a deleted object is as one that was never used."""
    counter = Counter.objects.get_by_name("a")
    with pytest.raises(TypeError):
        counter.storage.set_alarm(HOUR)
    assert counter.storage.get_alarm() is None
    counter.add()
    obj.storage.set_alarm(HOUR)
    for one in (counter, obj):
        one.delete()
        assert (one.storage.list(), one.storage.get_alarm()) == ({}, None)
    assert not Object.objects.exists()
    assert counter.add() == 1


@behaviour(
    "J17",
    "`runDurableObjectAlarm` runs a pending alarm at once, true, without info and retries; again: false",
    differs="`run_due_alarms()` runs what is due, as a worker would, with info and retries: move the clock on",
)
def test_j17_running_alarms_by_hand(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Moved to its time the alarm runs, once; a failure is counted and retried, or shown with ``raise_errors``."""
    obj.storage.set_alarm(HOUR)
    assert run_due_alarms() == []
    clock.advance(HOUR)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert run_due_alarms() == []
    assert script.infos[0].scheduled_at == clock.now()

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        raise Boom

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    with pytest.raises(Boom):
        run_due_alarms(raise_errors=True)
    assert slot().retry_count == 1


@behaviour(
    "J18",
    "a library's schedules on one slot: cancel says whether there was one; get and list; the same set twice is one; "
    "an interval skips what it missed",
    differs="schedules stand beside the alarm, which stays the user's own; a name is always given, and missed times go "
    "by `misfire` ([schedules](../guides/schedules.md))",
)
def test_j18_schedules(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The same set twice is one; missed times are one run; get, list and cancel know it, the alarm does not."""
    assert obj.schedules.cancel("tea") is False
    for _ in range(2):
        obj.schedules.set("tea", "scheduled", every=HOUR, start=clock.now() + HOUR)
    obj.storage.set_alarm(10 * HOUR)
    assert [one.name for one in obj.schedules.list()] == ["tea"]
    clock.advance(5 * HOUR)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    found = obj.schedules.get("tea")
    assert found is not None
    assert found.next_at == clock.now() + HOUR
    assert obj.schedules.cancel("tea") is True
    assert obj.schedules.get("tea") is None
    assert obj.storage.get_alarm() == clock.now() + 5 * HOUR
    clock.advance(4 * HOUR)
    assert run_due_alarms() == []


@behaviour(
    "J19",
    "the name is there before the alarm; lost and overdue alarms are armed again at the start; a reset keeps "
    "one-shot work; a breaker after three crashes",
    differs="the breaker comes after ten (DO-46); nothing has to be armed again: the dispatcher sends its wake-up",
)
def test_j19_what_got_lost_is_sent_again(
    obj: Scripted, script: Script, messages: list[Message], committed: Callable[[], AbstractContextManager[object]]
) -> None:
    """A message that never left, and a worker lost in its run, cost time only: the alarm runs, by its name."""
    names = []
    script.initialize = lambda obj: names.append(obj.name)
    with crash_at("bell.before_publish"), pytest.raises(SimulatedCrash), committed():
        obj.storage.set_alarm(NOW)
    assert messages == []
    long_ago = durable_objects.now() - 2 * LEASE
    Alarm.objects.update(due_at=long_ago, wake_up_for=long_ago)  # time passes
    with committed():
        dispatch_alarms()
    [message] = messages
    with crash_at("firing.after_handler"), pytest.raises(SimulatedCrash):
        message.deliver()
    with FakeClock(durable_objects.now() + LEASE):
        assert message.deliver() == "succeeded"
    assert len(script.infos) == 2
    assert set(names) == {"a"}
