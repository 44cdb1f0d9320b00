"""A failed run leaves nothing behind, is counted in the row, and is retried after 2, 4, 8 … s until it is dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

import durable_objects
from durable_objects import AlarmInfo, AlarmTimeLimitExceeded, DurableObjectError
from durable_objects.alarms.backoff import key_of
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from durable_objects.turns.calls import current
from tests.models import Impatient, Note, Script, Scripted

pytestmark = pytest.mark.django_db

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)
LADDER = [timedelta(seconds=2**n) for n in range(1, 7)]


def test_no_retry_is_early_though_the_turns_clock_is_behind(obj: Scripted, script: Script) -> None:
    """Two seconds are counted from the failure, however long the database's time was on its way to the process."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        turn = current(obj)
        assert turn is not None
        lock = turn._transaction
        lock.reading = replace(lock.reading, at=lock.reading.at - SECOND)
        vars(turn.conn)["durable_objects_clock"] = lock.reading
        raise ValueError("boom")

    script.alarm = fail
    obj.storage.set_alarm(NOW)
    begun = durable_objects.now()
    assert fire(obj.pk).verdict is Verdict.FAILED
    due = Alarm.objects.get().due_at
    assert due is not None
    assert due >= begun + 2 * SECOND


@pytest.fixture
def failing(clock: FakeClock, obj: Scripted, script: Script) -> Scripted:
    """An object whose alarm is due and will fail, with a text that no database takes as it is."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        raise ValueError("boom \0 \udce4")

    script.alarm = fail
    obj.storage.set_alarm(NOW)
    return obj


def exhaust(clock: FakeClock) -> list[AlarmRun]:
    """All runs of the next 140 s, which is longer than the whole ladder."""
    runs: list[AlarmRun] = []
    for _ in range(70):
        runs += run_due_alarms()
        clock.advance(2 * SECOND)
    return runs


def test_seven_runs_on_the_ladder_then_a_dead_row(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """One run and six retries 2, 4, 8, 16, 32, 64 s apart; then a dead row with the traceback (DO-43, DO-44)."""
    asked_for = failing.storage.get_alarm()
    runs = exhaust(clock)
    starts = [run.started_at for run in runs]
    assert [later - earlier for earlier, later in pairwise(starts)] == LADDER
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
    assert failing.storage.get_alarm() is None
    assert [repr(error) for error in script.deaths] == [repr(ValueError("boom \0 \udce4"))]


def test_lateness_is_against_when_this_run_was_due(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A run that comes late says so, a retry against the time of the retry."""
    clock.advance(3 * SECOND)
    run_due_alarms()
    clock.advance(10 * SECOND)
    run_due_alarms()
    assert [info.lateness for info in script.infos] == [3 * SECOND, 8 * SECOND]


def test_failed_run_leaves_nothing_behind(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """Writes, own models and alarm changes of a handler that raises are undone; of one that returns they are kept."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("retry", info.retry_count)
        Note.objects.create(text="from the handler")
        if info.retry_count == 0:
            obj.storage.delete_alarm()
            raise ValueError

    script.alarm = alarm
    run_due_alarms()
    assert failing.storage.list() == {}
    assert not Note.objects.exists()
    clock.advance(2 * SECOND)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert failing.storage.list() == {"retry": 1}
    assert Note.objects.count() == 1


def test_handlers_writes_own_models_and_the_settle_commit_together(
    clock: FakeClock, failing: Scripted, script: Script
) -> None:
    """What is committed by a handler is committed with the fact that its alarm is done, or not at all."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        Note.objects.create(text="from the handler")

    script.alarm = alarm
    pk = Alarm.objects.get().pk
    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
        fire(pk)
    assert (failing.storage.list(), Note.objects.count(), AlarmRun.objects.count()) == ({}, 0, 0)
    assert Alarm.objects.get().state == "armed"
    fire(pk)
    assert (failing.storage.list(), Note.objects.count(), AlarmRun.objects.count()) == ({"k": 1}, 1, 1)
    assert Alarm.objects.get().state == "idle"


def test_rearm_then_raise_is_counted(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A handler that sets its alarm again before it raises is retried on the ladder and dies like any other."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.set_alarm(30 * SECOND)
        raise ValueError

    script.alarm = alarm
    runs = exhaust(clock)
    assert [run.retry_count for run in runs] == list(range(7))
    assert runs[-1].outcome == "dead"
    assert failing.storage.get_alarm() is None


def test_dead_alarm_is_replaced_or_revived(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A dead alarm can be revived with all its retries, unless a newer one is set; its error stays in the history."""
    asked_for = failing.storage.get_alarm()
    exhaust(clock)
    actions.revive(failing)
    assert failing.storage.get_alarm() == asked_for
    assert len(exhaust(clock)) == 7
    failing.storage.set_alarm(HOUR)
    with pytest.raises(DurableObjectError, match="is not dead but armed"):
        actions.revive(failing)
    assert Alarm.objects.get().last_error == ""
    assert AlarmRun.objects.filter(outcome="dead").count() == 2


def test_alarm_died_may_set_the_next_alarm(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """``alarm_died()`` runs once, after the last failure, and an alarm that it sets keeps the object going."""

    def died(obj: Scripted, info: AlarmInfo, error: BaseException) -> None:
        assert obj.storage.get_alarm() is None
        assert info.retry_count == 6
        obj.storage.put("died", repr(type(error)))
        obj.storage.set_alarm(HOUR)
        script.alarm = lambda obj, info: None

    script.alarm_died = died
    exhaust(clock)
    assert failing.storage.get("died") == repr(ValueError)
    assert failing.storage.get_alarm() is not None
    clock.advance(HOUR)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert len(script.deaths) == 1


def test_alarm_died_that_raises_changes_nothing(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """What ``alarm_died()`` raises is undone, and the alarm stays dead."""

    def died(obj: Scripted, info: AlarmInfo, error: BaseException) -> None:
        obj.storage.set_alarm(HOUR)
        obj.storage.put("k", 1)
        raise LookupError

    script.alarm_died = died
    assert exhaust(clock)[-1].outcome == "dead"
    assert Alarm.objects.get().state == "dead"
    assert failing.storage.list() == {}


def test_class_with_a_limit_of_its_own(clock: FakeClock) -> None:
    """``alarm_max_retries`` is the class's own."""
    Impatient.objects.get_by_name("a").storage.set_alarm(NOW)
    assert [run.outcome for run in exhaust(clock)] == ["failed", "dead"]


def test_what_initialize_raises_at_a_wake_up_is_counted(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """An ``initialize()`` that fails counts as the run's failure, and the handler is not called."""

    def fail(obj: Scripted) -> None:
        raise LookupError("not today")

    script.initialize = fail
    assert [run.outcome for run in run_due_alarms()] == ["failed"]
    assert script.infos == []
    assert "not today" in Alarm.objects.get().last_error


@pytest.mark.parametrize("microsecond", [0, 7, 999_999])
def test_the_form_of_a_key_stays(microsecond: int) -> None:
    """What others were given as ``info.key`` they are given again by another version."""
    at = datetime(2030, 1, 2, 3, 4, 5, microsecond, tzinfo=UTC)
    assert key_of(5, 2, at) == f"5-2-20300102T030405{microsecond:06}Z"


@pytest.mark.parametrize("place", ["at a storage call", "at the end"])
def test_run_past_its_time_limit_failed(
    clock: FakeClock, failing: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A handler over its ``alarm_time_limit`` is refused by its next storage call, and failed at its end (DO-51)."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        Note.objects.create(text="too late")
        if place == "at a storage call":
            with pytest.raises(AlarmTimeLimitExceeded, match="alarm_time_limit"):
                obj.storage.get("k")

    script.alarm = alarm
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(microseconds=1))
    [run] = run_due_alarms()
    assert run.outcome == "failed"
    assert "AlarmTimeLimitExceeded" in run.error
    assert not Note.objects.exists()
