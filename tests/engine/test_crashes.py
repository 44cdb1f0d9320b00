"""A worker that dies loses nothing and counts nothing; what takes it down again and again ends as a dead alarm."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects import AlarmInfo, operate
from durable_objects.firing import fire
from durable_objects.judging import Verdict
from durable_objects.retry import MAX_CRASHED_STARTS
from durable_objects.rows import Alarm, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Script, Scripted

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
    operate.revive(failing)
    assert [run.outcome for run in run_due_alarms()] == ["failed"]


def test_rescued_start_that_ends_is_no_crash(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A rescued run that ends, well or not, clears the count of crashed starts."""
    pk = Alarm.objects.get().pk
    for _ in range(3):
        with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
            fire(pk, rescue=True)
        clock.advance(timedelta(minutes=1))
    assert Alarm.objects.get().starts == 3
    assert fire(pk, rescue=True).verdict is Verdict.FAILED
    slot = Alarm.objects.get()
    assert (slot.starts, slot.leased_until, slot.retry_count) == (0, None, 1)


def test_shutdown_is_not_counted(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """``SystemExit`` and the like in a handler are the worker's end, not a failure of the run."""

    def leave(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        raise SystemExit

    script.alarm = leave
    with pytest.raises(SystemExit):
        run_due_alarms()
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, failing.storage.list()) == ("armed", 0, {})
    assert Object.objects.count() == 1
