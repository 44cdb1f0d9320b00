"""Runs that end otherwise than by their handler: a worker that dies, a commit that is refused, an error swallowed."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import IntegrityError

from durable_objects import AlarmInfo
from durable_objects.alarms.backoff import MAX_CRASHED_STARTS
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Counter, Note, Script, Scripted
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND = timedelta(0), timedelta(seconds=1)


@pytest.fixture
def failing(clock: FakeClock, obj: Scripted, script: Script) -> Scripted:
    """An object whose alarm is due and will fail."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        raise ValueError

    script.alarm = fail
    obj.storage.set_alarm(NOW)
    return obj


@pytest.mark.parametrize("point", ["firing.before_handler", "firing.after_handler", "turn.before_commit"])
def test_retry_count_survives_a_crash(clock: FakeClock, failing: Scripted, script: Script, point: str) -> None:
    """A worker killed in the second run leaves the count of the first, and its own run does not count."""
    run_due_alarms()
    fail, script.alarm = script.alarm, lambda obj, info: None
    clock.advance(2 * SECOND)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    assert Alarm.objects.get().retry_count == 1
    script.infos.clear()
    script.alarm = fail
    assert [run.retry_count for run in run_due_alarms()] == [1]
    assert [info.retry_count for info in script.infos] == [1]
    assert Alarm.objects.get().retry_count == 2


def test_handler_that_takes_its_worker_down_again_and_again_is_dead(
    clock: FakeClock, failing: Scripted, script: Script
) -> None:
    """After ten rescued starts that ended with their lease the alarm is dead, with that reason, and none counted."""
    pk = Alarm.objects.get().pk
    for _ in range(MAX_CRASHED_STARTS):
        with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
            fire(pk, rescue=True)
        assert fire(pk, rescue=True).verdict is Verdict.DROPPED
        assert Alarm.objects.get().retry_count == 0
        clock.advance(timedelta(minutes=1))
    assert fire(pk, rescue=True).verdict is Verdict.DEAD
    slot = Alarm.objects.get()
    assert (slot.state, slot.leased_until) == ("dead", None)
    assert "took its worker down 10 times" in slot.last_error
    assert script.infos == []
    assert len(script.deaths) == 1
    actions.revive(failing)
    assert [run.outcome for run in run_due_alarms()] == ["failed"]


def test_rescued_start_that_ends_is_no_crash(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A rescued run that ends, well or not, clears the count of crashed starts."""
    pk = Alarm.objects.get().pk
    for _ in range(3):
        with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
            fire(pk, rescue=True)
        clock.advance(timedelta(minutes=1))
    assert Alarm.objects.get().crashed_starts == 3
    assert fire(pk, rescue=True).verdict is Verdict.FAILED
    slot = Alarm.objects.get()
    assert (slot.crashed_starts, slot.leased_until, slot.retry_count) == (0, None, 1)


def test_shutdown_is_not_counted(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """Ctrl-C in a handler is the worker's end, not a failure of the run."""

    def leave(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        raise KeyboardInterrupt

    script.alarm = leave
    with pytest.raises(KeyboardInterrupt):
        run_due_alarms()
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, failing.storage.list()) == ("armed", 0, {})
    assert Object.objects.count() == 1


def test_commit_that_is_refused_is_a_failed_run(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Where the database refuses at the commit what the handler wrote, the run is counted and on record."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        times = dict.fromkeys(("scheduled_at", "due_at", "picked_up_at", "started_at", "ended_at"), clock.now())
        AlarmRun.objects.create(object_id=10**9, retry_count=0, fence=0, **times)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert [(run.outcome, run.object_id) for run in run_due_alarms()] == [("failed", obj.pk)]
    slot = Alarm.objects.get()
    assert (slot.retry_count, slot.due_at, obj.storage.list()) == (1, clock.now() + 2 * SECOND, {})
    assert "FOREIGN KEY" in slot.last_error.upper()


def test_error_of_the_database_that_was_swallowed_fails_the_run(
    clock: FakeClock, obj: Scripted, script: Script
) -> None:
    """A handler that goes on after a statement was refused, outside of a block of its own, has not ended well."""
    Note.objects.create(text="taken")

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        with suppress(IntegrityError):
            Note.objects.create(text="taken")

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert [run.outcome for run in run_due_alarms()] == ["failed"]
    assert obj.storage.list() == {}


def test_refusal_meant_for_another_object_is_a_failure_like_any_other(
    clock: FakeClock, obj: Scripted, script: Script
) -> None:
    """``RunSuperseded`` of another object's call, or after the run's own ``delete()``, does not fence the run."""

    def unlock_and_be_deleted() -> None:
        with other.unlocked():
            InThread(Counter.objects.get_by_name("other").delete).result()

    def call_another(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            other.run_exclusive(unlock_and_be_deleted)

    def use_after_delete(obj: Scripted, info: AlarmInfo) -> None:
        obj.delete()
        obj.storage.put("k", 1)

    other = Counter.objects.get_by_name("other")
    obj.storage.set_alarm(NOW)
    for failures, script.alarm in enumerate([call_another, use_after_delete], start=1):
        assert [run.outcome for run in run_due_alarms()] == ["failed"]
        slot = Alarm.objects.get()
        assert (slot.retry_count, slot.leased_until) == (failures, None)
        clock.advance(2 * SECOND)
