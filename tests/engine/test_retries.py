"""A failed run leaves nothing behind, is counted in the row, and is retried after 2, 4, 8 … s until it is dead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction

from durable_objects import AlarmInfo, AlarmTimeLimitExceeded, DurableObjectError, operate
from durable_objects.firing import fire
from durable_objects.judging import Verdict
from durable_objects.retry import MAX_CRASHED_STARTS
from durable_objects.rows import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Impatient, Note, Script, Scripted

pytestmark = pytest.mark.django_db

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)
LADDER = [timedelta(seconds=2**n) for n in range(1, 7)]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Time that stands still."""
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def obj(clock: FakeClock, script: Script) -> Scripted:
    """An object whose alarm is due and will fail, with a text that no database takes as it is."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        raise ValueError("boom \0 \udce4")

    script.alarm = fail  # type: ignore[method-assign]  # a script
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(NOW)
    return obj


def exhaust(clock: FakeClock) -> list[AlarmRun]:
    """All runs of the next 140 s, which is longer than the whole ladder."""
    runs: list[AlarmRun] = []
    for _ in range(70):
        runs += run_due_alarms()
        clock.advance(2 * SECOND)
    return runs


def test_seven_runs_on_the_ladder_then_a_dead_row(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """One run and six retries 2, 4, 8, 16, 32, 64 s apart; then the alarm is dead, with its traceback (DO-43, DO-44)."""
    asked_for = obj.storage.get_alarm()
    runs = exhaust(clock)
    starts = [run.started_at for run in runs]
    assert [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)] == LADDER
    assert [run.outcome for run in runs] == ["failed"] * 6 + ["dead"]
    assert [info.retry_count for info in script.infos] == list(range(7))
    assert [info.is_retry for info in script.infos] == [False] + [True] * 6
    assert {info.scheduled_at for info in script.infos} == {asked_for}
    assert {info.lateness for info in script.infos} == {NOW}
    slot = Alarm.objects.get()
    assert (slot.state, slot.due_at, slot.retry_count) == ("dead", None, 6)
    assert "boom" in slot.last_error
    assert "Traceback" in slot.last_error
    assert "boom" in runs[-1].error
    assert obj.storage.get_alarm() is None
    assert [repr(error) for error in script.deaths] == [repr(ValueError("boom \0 \udce4"))]


def test_lateness_is_against_when_this_run_was_due(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A run that comes late says so, a retry against the time of the retry."""
    clock.advance(3 * SECOND)
    run_due_alarms()
    clock.advance(10 * SECOND)
    run_due_alarms()
    assert [info.lateness for info in script.infos] == [3 * SECOND, 8 * SECOND]


def test_failed_run_leaves_nothing_behind(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Writes, own models and alarm changes of a handler that raises are undone; of one that returns they are kept."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("retry", info.retry_count)
        Note.objects.create(text="from the handler")
        if info.retry_count == 0:
            obj.storage.delete_alarm()
            raise ValueError

    script.alarm = alarm  # type: ignore[method-assign]  # a script
    run_due_alarms()
    assert obj.storage.list() == {}
    assert not Note.objects.exists()
    clock.advance(2 * SECOND)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert obj.storage.list() == {"retry": 1}
    assert Note.objects.count() == 1


def test_handlers_writes_own_models_and_the_settle_commit_together(
    clock: FakeClock, obj: Scripted, script: Script
) -> None:
    """What is committed by a handler is committed with the fact that its alarm is done, or not at all."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        Note.objects.create(text="from the handler")

    script.alarm = alarm  # type: ignore[method-assign]  # a script
    pk = Alarm.objects.get().pk
    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash), transaction.atomic():
        fire(pk)
    assert (obj.storage.list(), Note.objects.count(), AlarmRun.objects.count()) == ({}, 0, 0)
    assert Alarm.objects.get().state == "armed"
    fire(pk)
    assert (obj.storage.list(), Note.objects.count(), AlarmRun.objects.count()) == ({"k": 1}, 1, 1)
    assert Alarm.objects.get().state == "idle"


def test_rearm_then_raise_is_counted(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that sets its alarm anew before it raises is retried on the ladder and dies like any other."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.set_alarm(30 * SECOND)
        raise ValueError

    script.alarm = alarm  # type: ignore[method-assign]  # a script
    runs = exhaust(clock)
    assert [run.retry_count for run in runs] == list(range(7))
    assert runs[-1].outcome == "dead"
    assert obj.storage.get_alarm() is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["firing.before_handler", "firing.after_handler", "turn.before_commit"])
def test_retry_count_survives_a_crash(clock: FakeClock, obj: Scripted, script: Script, point: str) -> None:
    """A worker killed in the second run leaves the count of the first, and its own run does not count."""
    run_due_alarms()
    fail, script.alarm = script.alarm, lambda obj, info: None  # type: ignore[method-assign]  # a script
    clock.advance(2 * SECOND)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    assert Alarm.objects.get().retry_count == 1
    script.infos.clear()
    script.alarm = fail  # type: ignore[method-assign]  # a script
    assert [run.retry_count for run in run_due_alarms()] == [1]
    assert [info.retry_count for info in script.infos] == [1]
    assert Alarm.objects.get().retry_count == 2


def test_dead_alarm_is_replaced_or_revived(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A dead alarm can be revived with all its retries, unless a newer one is set; its error stays in the history."""
    asked_for = obj.storage.get_alarm()
    exhaust(clock)
    operate.revive(obj)
    assert obj.storage.get_alarm() == asked_for
    assert len(exhaust(clock)) == 7
    obj.storage.set_alarm(HOUR)
    with pytest.raises(DurableObjectError, match="no dead alarm"):
        operate.revive(obj)
    assert Alarm.objects.get().last_error == ""
    assert AlarmRun.objects.filter(outcome="dead").count() == 2


def test_alarm_died_may_set_the_next_alarm(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``alarm_died()`` runs once, after the last failure, and an alarm that it sets keeps the object going."""

    def died(obj: Scripted, info: AlarmInfo, error: BaseException) -> None:
        assert obj.storage.get_alarm() is None
        assert info.retry_count == 6
        obj.storage.put("died", repr(type(error)))
        obj.storage.set_alarm(HOUR)
        script.alarm = lambda obj, info: None  # type: ignore[method-assign]  # a script

    script.alarm_died = died  # type: ignore[method-assign]  # a script
    exhaust(clock)
    assert obj.storage.get("died") == repr(ValueError)
    assert obj.storage.get_alarm() is not None
    clock.advance(HOUR)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert len(script.deaths) == 1


def test_alarm_died_that_raises_changes_nothing(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """What ``alarm_died()`` raises is undone, and the alarm stays dead."""

    def died(obj: Scripted, info: AlarmInfo, error: BaseException) -> None:
        obj.storage.set_alarm(HOUR)
        obj.storage.put("k", 1)
        raise LookupError

    script.alarm_died = died  # type: ignore[method-assign]  # a script
    assert exhaust(clock)[-1].outcome == "dead"
    assert Alarm.objects.get().state == "dead"
    assert obj.storage.list() == {}


def test_class_with_a_limit_of_its_own(clock: FakeClock) -> None:
    """``alarm_max_retries`` is the class's own."""
    Impatient.objects.get_by_name("a").storage.set_alarm(NOW)
    assert [run.outcome for run in exhaust(clock)] == ["failed", "dead"]


def test_what_initialize_raises_at_a_wake_up_is_counted(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An ``initialize()`` that fails counts as the run's failure, and the handler is not called."""

    def fail(obj: Scripted) -> None:
        raise LookupError("not today")

    script.initialize = fail  # type: ignore[method-assign]  # a script
    assert [run.outcome for run in run_due_alarms()] == ["failed"]
    assert script.infos == []
    assert "not today" in Alarm.objects.get().last_error


@pytest.mark.parametrize("place", ["at a storage call", "at the end"])
def test_run_past_its_time_limit_failed(
    clock: FakeClock, obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A handler over its ``alarm_time_limit`` is refused by its next storage call, and failed at its end (DO-51)."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        Note.objects.create(text="too late")
        if place == "at a storage call":
            with pytest.raises(AlarmTimeLimitExceeded, match="alarm_time_limit"):
                obj.storage.get("k")

    script.alarm = alarm  # type: ignore[method-assign]  # a script
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(microseconds=1))
    [run] = run_due_alarms()
    assert run.outcome == "failed"
    assert "AlarmTimeLimitExceeded" in run.error
    assert not Note.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_handler_that_takes_its_worker_down_again_and_again_is_dead(
    clock: FakeClock, obj: Scripted, script: Script
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
    operate.revive(obj)
    assert [run.outcome for run in run_due_alarms()] == ["failed"]


@pytest.mark.django_db(transaction=True)
def test_rescued_start_that_ends_is_no_crash(clock: FakeClock, obj: Scripted, script: Script) -> None:
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


def test_shutdown_is_not_counted(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``SystemExit`` and the like in a handler are the worker's end, not a failure of the run."""

    def leave(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        raise SystemExit

    script.alarm = leave  # type: ignore[method-assign]  # a script
    with pytest.raises(SystemExit):
        run_due_alarms()
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, obj.storage.list()) == ("armed", 0, {})
    assert Object.objects.count() == 1
