"""A wake-up is a hint: whatever the number, time, order and count of those that arrive, the row decides."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType

import durable_objects
from durable_objects import AlarmInfo
from durable_objects.alarms import backoff
from durable_objects.conf import engine
from durable_objects.delivery import publisher
from durable_objects.execution import executor, firing
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Script, Scripted
from tests.support.another_class import make_of
from tests.support.threads import InThread, await_event, await_that, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)


def test_only_the_number_that_is_out_runs_and_only_once(
    obj: Scripted, script: Script, published: list[publisher.WakeUp]
) -> None:
    """A wake-up with another number than the row's is dropped, and so is each one after the run."""
    obj.storage.set_alarm(NOW)
    [wake_up] = published
    assert fire(wake_up.object_id, wake_up.wake_up_number - 1).verdict is Verdict.DROPPED
    assert fire(wake_up.object_id, wake_up.wake_up_number + 1).verdict is Verdict.DROPPED
    assert script.infos == []
    assert fire(wake_up.object_id, wake_up.wake_up_number).verdict is Verdict.SUCCEEDED
    assert fire(wake_up.object_id, wake_up.wake_up_number).verdict is Verdict.DROPPED
    assert fire(wake_up.object_id).verdict is Verdict.DROPPED
    assert len(script.infos) == 1


def test_wake_up_of_a_deleted_object_or_alarm_is_dropped(obj: Scripted, script: Script) -> None:
    """Where nothing is to be done, nothing is done."""
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    obj.storage.delete_alarm()
    assert fire(pk).verdict is Verdict.DROPPED
    obj.delete()
    assert fire(pk).verdict is Verdict.DROPPED
    assert fire(pk, rescue=True).verdict is Verdict.DROPPED
    assert not AlarmRun.objects.exists()


def test_a_little_early_waits_and_never_runs_early(obj: Scripted, script: Script) -> None:
    """A wake-up less than a second early waits, without the lock, until the database's clock says that it is due."""
    obj.storage.set_alarm(timedelta(milliseconds=300))
    due = obj.storage.get_alarm()
    waiting = InThread(lambda: fire(Object.objects.get().pk))
    obj.storage.put("not", "locked out")
    assert script.infos == []
    assert waiting.result().verdict is Verdict.SUCCEEDED
    [info] = script.infos
    assert NOW <= info.lateness < SECOND
    assert due is not None
    assert AlarmRun.objects.get().started_at >= due
    assert durable_objects.now() >= due


def test_early_is_sent_again_for_the_rest_under_a_new_number(
    obj: Scripted, script: Script, published: list[publisher.WakeUp]
) -> None:
    """Of several wake-ups that come early, one goes on for the rest of the time, and none runs."""
    obj.storage.set_alarm(30 * SECOND)
    [wake_up] = published
    fired = fire(wake_up.object_id, wake_up.wake_up_number)
    assert fired.verdict is Verdict.AGAIN
    assert fired.wake_up_number == wake_up.wake_up_number + 1
    assert fired.delay is not None
    assert 28 * SECOND < fired.delay <= 30 * SECOND
    assert fire(wake_up.object_id, wake_up.wake_up_number).verdict is Verdict.DROPPED
    assert Alarm.objects.get().wake_up_for == obj.storage.get_alarm()


def test_early_for_an_alarm_moved_far_away_is_left_to_the_dispatcher(
    obj: Scripted, published: list[publisher.WakeUp]
) -> None:
    """An alarm that was moved past the horizon has no message out once the early one has come."""
    obj.storage.set_alarm(30 * SECOND)
    obj.storage.set_alarm(5 * HOUR)
    [wake_up] = published
    assert fire(wake_up.object_id, wake_up.wake_up_number).verdict is Verdict.DROPPED
    assert Alarm.objects.get().wake_up_for is None


def test_three_deliveries_of_one_failing_alarm(
    obj: Scripted, script: Script, published: list[publisher.WakeUp]
) -> None:
    """However often a wake-up is delivered at once, it is one run, counted once, with its back-off kept."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        raise ValueError

    script.alarm = fail
    obj.storage.set_alarm(NOW)
    [wake_up] = published
    fired = run_in_threads(3, lambda number: fire(wake_up.object_id, wake_up.wake_up_number))
    assert sorted(one.verdict.value for one in fired) == ["again", "dropped", "failed"]
    slot, run = Alarm.objects.get(), AlarmRun.objects.get()
    assert (slot.retry_count, len(script.infos)) == (1, 1)
    assert slot.due_at is not None
    assert 2 * SECOND <= slot.due_at - run.started_at < 3 * SECOND
    assert slot.wake_up_for == slot.due_at
    assert [one.delay for one in fired if one.verdict is Verdict.FAILED] == [2 * SECOND]
    [again] = [one for one in fired if one.verdict is Verdict.AGAIN]
    assert again.delay is not None
    assert again.delay <= 2 * SECOND


def test_retry_comes_with_the_number_of_the_run_that_failed(
    obj: Scripted, script: Script, published: list[publisher.WakeUp]
) -> None:
    """A failed run keeps its number and says that its retry is out, so that nobody else sends one."""
    script.alarm = lambda obj, info: 1 / 0
    obj.storage.set_alarm(NOW)
    [wake_up] = published
    fired = fire(wake_up.object_id, wake_up.wake_up_number)
    slot = Alarm.objects.get()
    assert (fired.verdict, fired.failures, slot.wake_up_number) == (Verdict.FAILED, 1, wake_up.wake_up_number)
    assert slot.wake_up_for == slot.due_at
    assert len(published) == 1


def test_busy_object_is_put_off_uncounted(obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up that cannot have its object soon is put off by 2, 4, 8 … s, and nothing counts."""
    monkeypatch.setattr(firing, "WAIT_FOR_LOCK", timedelta(milliseconds=50))
    monkeypatch.setattr(backoff, "patience", lambda waits, lock_timeout: timedelta(milliseconds=50))
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with Scripted.objects.get_by_name("a").storage.transaction():
            inside.set()
            await_event(leave)

    holder = InThread(hold)
    await_event(inside)
    fired = [fire(pk, waits=waits) for waits in (0, 1, 2, 20)]
    leave.set()
    holder.result()
    assert [(one.verdict, one.delay) for one in fired] == [(Verdict.AGAIN, n * SECOND) for n in (2, 4, 8, 64)]
    assert (Alarm.objects.get().retry_count, AlarmRun.objects.count()) == (0, 0)
    assert fire(pk).verdict is Verdict.SUCCEEDED


def test_no_run_overlaps_one_that_is_unlocked(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """While a run is unlocked every other wake-up is dropped, a rescue too, also after the alarm was set again."""
    verdicts: list[Fired] = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            verdicts.append(InThread(lambda: fire(pk)).result())
            verdicts.append(InThread(lambda: fire(pk, rescue=True)).result())
            obj.storage.set_alarm(NOW)
            verdicts.append(InThread(lambda: fire(pk)).result())
            assert InThread(run_due_alarms).result() == []

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    assert fire(pk).verdict is Verdict.SUCCEEDED
    assert [one.verdict for one in verdicts] == [Verdict.DROPPED] * 3
    script.alarm = lambda obj, info: None
    assert fire(pk).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("point", ["turn.unlocked", "turn.locked_again"])
def test_run_left_behind_is_taken_over_when_its_lease_is_over(
    clock: FakeClock, obj: Scripted, script: Script, point: str
) -> None:
    """A worker that dies while unlocked keeps its object for the lease; then the run is taken over, and fenced."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("runs", obj.storage.get("runs", 0) + 1)
        with obj.unlocked():
            pass

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    left = Alarm.objects.get()
    assert left.leased_until == clock.now() + engine.LEASE
    assert run_due_alarms() == []
    assert fire(left.pk, rescue=True).verdict is Verdict.DROPPED
    clock.advance(engine.LEASE)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    slot = Alarm.objects.get()
    assert (slot.state, slot.crashed_starts, slot.leased_until) == ("idle", 0, None)
    assert slot.fence > left.fence
    assert obj.storage.get("runs") == 2


def test_of_many_that_take_over_one_runs(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Of several wake-ups that find an old lease one runs, and the others are dropped while it does."""
    over: list[Fired] = []

    def take_over(rescue: bool) -> Fired:
        fired = fire(pk, rescue=rescue)
        over.append(fired)
        return fired

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            await_that(lambda: len(over) == 3)

    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
        fire(pk, rescue=True)
    clock.advance(engine.LEASE)
    script.alarm = alarm
    fired = run_in_threads(4, lambda number: take_over(bool(number % 2)))
    assert sorted(one.verdict.value for one in fired) == ["dropped"] * 3 + ["succeeded"]
    assert (len(script.infos), AlarmRun.objects.count()) == (1, 1)


def test_object_of_an_unknown_class_is_parked(
    clock: FakeClock, obj: Scripted, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that lacks the class puts the wake-up off, uncounted, and says which and what to do; the alarm runs
    where the class is known.
    """
    obj.storage.set_alarm(NOW)
    kind = Object.objects.get().kind
    gone = ContentType.objects.create(app_label="tests", model="notdeployedyet")
    make_of(gone)
    parked = fire(obj.pk)
    assert (parked.verdict, parked.delay) == (Verdict.AGAIN, executor.PARKED_FOR)
    assert "of class tests.notdeployedyet: this worker's code does not have the class" in caplog.text
    assert "restart workers that began before the class was there" in caplog.text
    assert run_due_alarms() == []
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, slot.crashed_starts) == ("armed", 0, 0)
    make_of(kind)
    gone.delete()
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]


def test_history_tells_what_happened_when(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A run's row has when it was asked for, due, started and ended, in that order, with its count."""
    obj.storage.set_alarm(SECOND)
    script.alarm = lambda obj, info: clock.advance(SECOND)
    clock.advance(3 * SECOND)
    started = clock.now()
    [run] = run_due_alarms()
    assert run.scheduled_at == run.due_at == started - 2 * SECOND
    assert (run.started_at, run.ended_at, run.retry_count, run.error) == (started, started + SECOND, 0, "")
    assert run.picked_up_at <= run.started_at
