"""What a handler raises on purpose: ``GiveUp``, after which no retry comes, and ``Snooze``, to be run again later."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError

import durable_objects
from durable_objects import AlarmInfo, GiveUp, ObjectBusy, Snooze, tasks
from durable_objects.delivery import publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.handler_errors import ERROR_LENGTH
from durable_objects.operations import actions, recent_runs
from durable_objects.operations.explain import explain
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from durable_objects.turns.turn import Turn
from tests.models import Grouped, Note, Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, MINUTE, HOUR = timedelta(0), timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def raising(make: Callable[[], BaseException]) -> Callable[[Any, AlarmInfo], None]:
    """A handler that writes something, and then raises this."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        obj.storage.put("left behind", 1)
        obj.storage.set_alarm(HOUR)
        Note.objects.create(text="left behind")
        raise make()

    return alarm


def nothing_is_left(obj: Scripted) -> bool:
    """Whether that is undone."""
    return obj.storage.list() == {} and not Note.objects.exists()


# -- GiveUp


def test_gives_up_at_once(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The alarm is dead after this run, with the reason and nothing else as its error; what the run wrote is undone."""
    script.alarm = raising(lambda: GiveUp("the card was refused"))
    obj.storage.set_alarm(NOW)
    [run] = run_due_alarms()
    slot = Alarm.objects.get()
    assert (slot.state, slot.last_error, slot.retry_count) == ("dead", "the card was refused", 0)
    assert (run.outcome, run.error) == ("dead", "the card was refused")
    assert nothing_is_left(obj)
    assert [str(error) for error in script.deaths] == ["the card was refused"]
    assert run_due_alarms() == []


def test_task_that_gave_up_has_failed(obj: Scripted, script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """To Celery and in the log it is a dead alarm like any other, and Celery sends no retry."""
    script.alarm = raising(lambda: GiveUp("no"))
    obj.storage.set_alarm(NOW)
    with pytest.raises(tasks.AlarmDied, match="GiveUp"):
        tasks.fire_alarm(obj.pk)
    [error] = [record for record in caplog.records if vars(record).get("event") == "alarm_died"]
    assert error.exc_info is not None


def test_given_up_can_be_revived(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """It runs again with all its retries."""
    script.alarm = raising(lambda: GiveUp("no"))
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    script.alarm = lambda obj, info: None
    actions.revive(obj)
    assert [(run.outcome, run.retry_count) for run in run_due_alarms()] == [("succeeded", 0)]


def test_alarm_died_may_go_on_after_giving_up(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``alarm_died()`` learns of it and may set the next alarm."""
    script.alarm = raising(lambda: GiveUp("no"))
    script.alarm_died = lambda obj, info, error: obj.storage.set_alarm(HOUR)
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    assert obj.storage.get_alarm() == clock.now() + HOUR


class Silent(GiveUp):
    """One whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (GiveUp("a \0 \udce4"), "a \\x00 \\udce4"), (GiveUp("x" * 20_000), "x" * ERROR_LENGTH),
        (GiveUp(), str(GiveUp())), (Silent("no"), "formatting it raised"),
    ],
)  # fmt: skip
def test_any_reason_is_kept(obj: Scripted, script: Script, error: GiveUp, kept: str) -> None:
    """A reason that no database takes, a long one, none, and one that cannot be had make a dead alarm all the same."""
    script.alarm = raising(lambda: error)
    obj.storage.set_alarm(NOW)
    assert fire(obj.pk).verdict is Verdict.DEAD
    assert kept in Alarm.objects.get().last_error


# -- Snooze


def test_snoozed_runs_again_then_and_nothing_is_counted(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """It runs at the time that it named, never before; its count and the time asked for stay; the run is on record."""
    script.alarm = raising(lambda: Snooze(5 * MINUTE, "the upstream is closed"))
    obj.storage.set_alarm(NOW)
    asked_for = obj.storage.get_alarm()
    [run] = run_due_alarms(raise_errors=True)
    assert (run.outcome, run.error) == ("snoozed", "snoozed for 0:05:00: the upstream is closed")
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, slot.due_at) == ("armed", 0, clock.now() + 5 * MINUTE)
    assert obj.storage.get_alarm() == asked_for
    assert nothing_is_left(obj)
    script.alarm = lambda obj, info: None
    clock.advance(5 * MINUTE - timedelta(microseconds=1))
    assert run_due_alarms() == []
    clock.advance(timedelta(microseconds=1))
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert [(info.retry_count, info.scheduled_at, info.lateness) for info in script.infos] == [(0, asked_for, NOW)] * 2


def test_snoozed_or_skipped_is_no_failure_in_the_figures(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """What monitoring shows as failed has neither; a time that was skipped is not late, either."""
    script.alarm = raising(lambda: Snooze(5 * MINUTE))
    obj.storage.set_alarm(NOW)
    [run] = run_due_alarms()
    found = recent_runs.look(clock.now(), MINUTE, 60)
    assert (found.number, found.failed) == (1, 0)
    AlarmRun.objects.filter(pk=run.pk).update(outcome="skipped")
    assert recent_runs.look(clock.now(), MINUTE, 60).number == 0
    assert recent_runs.lateness(clock.now() + SECOND, 60 * MINUTE) is None


def test_snoozed_between_failures_uses_up_no_retry(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """However often a run is snoozed, before and between failures, seven failures are what makes it dead."""
    obj.storage.set_alarm(NOW)
    outcomes: list[str] = []
    errors: list[Exception] = [Snooze(HOUR), Snooze(HOUR), ValueError("boom")]
    for failures in range(7):
        for error in errors:
            script.alarm = raising(partial(copy.copy, error))
            clock.advance(2 * HOUR)
            outcomes += [run.outcome for run in run_due_alarms()]
        assert Alarm.objects.get().retry_count == min(failures + 1, 6)
    assert outcomes == ["snoozed", "snoozed", "failed"] * 6 + ["snoozed", "snoozed", "dead"]


@pytest.mark.parametrize("when", [-HOUR, NOW, datetime(2001, 1, 1, tzinfo=UTC)])
def test_snoozed_until_a_past_time_is_now(clock: FakeClock, obj: Scripted, script: Script, when: Any) -> None:
    """As with ``set_alarm``."""
    obj.storage.set_alarm(NOW)
    script.alarm = raising(lambda: Snooze(when))
    assert fire(obj.pk).verdict is Verdict.SNOOZED
    assert Alarm.objects.get().due_at == clock.now()


def test_snoozed_until_a_time_of_day(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An aware datetime is the moment itself."""
    until = clock.now() + 7 * HOUR
    script.alarm = raising(lambda: Snooze(until, "later"))
    obj.storage.set_alarm(NOW)
    assert run_due_alarms()[0].error == f"snoozed until {until}: later"
    assert Alarm.objects.get().due_at == until


@pytest.mark.parametrize("when", [5, None, datetime(2030, 1, 1), timedelta.max, "tomorrow"])  # noqa: DTZ001  refused
def test_snoozed_until_what_is_no_time_has_failed(clock: FakeClock, obj: Scripted, script: Script, when: Any) -> None:
    """The run fails with ``InvalidAlarmTime``, its traceback has the line that raised, and its retry comes."""
    script.alarm = raising(lambda: Snooze(when))
    obj.storage.set_alarm(NOW)
    [run] = run_due_alarms()
    assert run.outcome == "failed"
    assert "InvalidAlarmTime: alarm time" in run.error
    assert "raise make()" in run.error
    slot = Alarm.objects.get()
    assert (slot.retry_count, slot.due_at) == (1, clock.now() + 2 * SECOND)


def test_snooze_is_not_early_though_the_turns_clock_is_behind(
    obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span counts from the end of the run, however old the time is that the turn has read."""
    script.alarm = raising(lambda: Snooze(HOUR))
    obj.storage.set_alarm(NOW)
    begun = durable_objects.now()
    monkeypatch.setattr(Turn, "now", property(lambda turn: begun - MINUTE))
    Alarm.objects.update(due_at=begun - HOUR)
    assert fire(obj.pk).verdict is Verdict.SNOOZED
    due = Alarm.objects.get().due_at
    assert due is not None
    assert due >= begun + HOUR


def test_snoozed_soon_gets_a_message_of_its_own(
    published: list[publisher.WakeUp], obj: Scripted, script: Script
) -> None:
    """A wake-up under a new number is sent for the time; the one that came is worth nothing any more."""
    script.alarm = raising(lambda: Snooze(30 * SECOND))
    obj.storage.set_alarm(NOW)
    [first] = published
    assert tasks.fire_alarm(first.object_id, first.wake_up_number) == "snoozed"
    _, second = published
    slot = Alarm.objects.get()
    assert (second.wake_up_number, second.at) == (first.wake_up_number + 1, slot.due_at)
    assert fire(first.object_id, first.wake_up_number).verdict is Verdict.DROPPED


def test_snoozed_far_is_a_row_only(published: list[publisher.WakeUp], obj: Scripted, script: Script) -> None:
    """Past the horizon no message is out."""
    script.alarm = raising(lambda: Snooze(HOUR))
    obj.storage.set_alarm(NOW)
    [first] = published
    assert tasks.fire_alarm(first.object_id, first.wake_up_number) == "snoozed"
    assert len(published) == 1
    assert Alarm.objects.get().wake_up_for is None


def test_explained(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Who asks why it has not run reads that it was snoozed, and why; no more once it is set again."""
    script.alarm = raising(lambda: Snooze(HOUR, "the upstream is closed"))
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    expected = "Its last run snoozed for 1:00:00: the upstream is closed"
    assert expected in explain(Object.objects.get(), clock.now()).why
    obj.storage.set_alarm(2 * HOUR)
    assert expected not in explain(Object.objects.get(), clock.now()).why


def test_snooze_whose_commit_was_lost_is_settled_once(
    clock: FakeClock, obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the answer to the commit is lost, the run that is on record as snoozed is not counted as failed."""
    script.alarm = raising(lambda: Snooze(HOUR))
    obj.storage.set_alarm(NOW)
    close = Turn._close
    closed: list[Turn] = []

    def close_and_fail(turn: Turn, error: BaseException | None) -> None:
        close(turn, error)
        if not closed:
            closed.append(turn)
            raise ValueError("after the commit")

    monkeypatch.setattr(Turn, "_close", close_and_fail)
    fire(obj.pk)
    assert [run.outcome for run in AlarmRun.objects.all()] == ["snoozed"]
    assert Alarm.objects.get().retry_count == 0


# -- both


@pytest.mark.parametrize("make", [lambda: GiveUp("no"), lambda: Snooze(HOUR)], ids=["GiveUp", "Snooze"])
def test_while_unlocked_others_requests_stand(
    clock: FakeClock, obj: Scripted, script: Script, make: Callable[[], BaseException]
) -> None:
    """Raised inside ``unlocked()`` the run ends as it says, unless another call has set the alarm meanwhile."""
    sets: list[bool] = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            if sets:
                obj.storage.set_alarm(2 * HOUR)
            raise make()

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    ends = "dead" if isinstance(make(), GiveUp) else "snoozed"
    assert [run.outcome for run in run_due_alarms()] == [ends]
    slot = Alarm.objects.get()
    assert (slot.leased_until, slot.crashed_starts) == (None, 0)
    sets.append(True)
    obj.storage.set_alarm(NOW)
    assert [run.outcome for run in run_due_alarms()] == ["failed" if ends == "dead" else "snoozed"]
    assert obj.storage.get_alarm() == clock.now() + 2 * HOUR
    assert Alarm.objects.get().due_at == clock.now() + 2 * HOUR


@pytest.mark.parametrize("make", [lambda: GiveUp("no"), lambda: Snooze(HOUR)], ids=["GiveUp", "Snooze"])
def test_with_a_lease_of_a_rescue(
    clock: FakeClock, obj: Scripted, script: Script, make: Callable[[], BaseException]
) -> None:
    """A run that was rescued gives its lease back, and its crashed starts are forgotten."""
    obj.storage.set_alarm(NOW)
    with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
        fire(obj.pk, rescue=True)
    clock.advance(HOUR)
    script.alarm = raising(make)
    fired = fire(obj.pk, rescue=True)
    assert fired.verdict in {Verdict.DEAD, Verdict.SNOOZED}
    slot = Alarm.objects.get()
    assert (slot.leased_until, slot.crashed_starts, slot.retry_count) == (None, 0, 0)


@pytest.mark.parametrize("make", [lambda: GiveUp("no"), lambda: Snooze(HOUR)], ids=["GiveUp", "Snooze"])
def test_in_a_group(published: list[publisher.WakeUp], script: Script, make: Callable[[], BaseException]) -> None:
    """The one that raises it is woken alone and ends there as it says; its neighbours run."""
    Grouped.objects.set_alarms(dict.fromkeys("abc", NOW))

    def alarm(obj: Any, info: AlarmInfo) -> None:
        if obj.name == "b":
            raise make()

    script.alarm = alarm
    alarms = [(wake_up.object_id, wake_up.wake_up_number) for wake_up in published]
    published.clear()
    assert fire_group(alarms, MINUTE) == 2
    [alone] = published
    assert fire(alone.object_id, alone.wake_up_number).verdict in {Verdict.DEAD, Verdict.SNOOZED}
    assert AlarmRun.objects.exclude(outcome="succeeded").count() == 1


@pytest.mark.parametrize("make", [lambda: GiveUp("no"), lambda: Snooze(HOUR)], ids=["GiveUp", "Snooze"])
def test_decided_after_trouble_it_counts(obj: Scripted, script: Script, make: Callable[[], BaseException]) -> None:
    """Raised from an error of the engine's that would have put the run off, it is what the handler decided."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        try:
            raise ObjectBusy("the database could not do it") from OperationalError("a full disk")
        except ObjectBusy as busy:
            raise make() from busy

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert fire(obj.pk).verdict in {Verdict.DEAD, Verdict.SNOOZED}


def test_by_initialize(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """What ``initialize()`` raises at a wake-up ends the run in the same way; elsewhere it is the caller's."""
    obj.storage.set_alarm(NOW)

    def snooze(obj: Scripted) -> None:
        raise Snooze(HOUR)

    script.initialize = snooze
    assert [run.outcome for run in run_due_alarms()] == ["snoozed"]
    with pytest.raises(Snooze):
        obj.storage.put("k", 1)


@pytest.mark.parametrize("error", [GiveUp("why"), Snooze(HOUR, "why"), Snooze(datetime(2030, 1, 1, tzinfo=UTC))])
def test_survives_pickling(error: Exception) -> None:
    """As what a pool's processes hand over has to."""
    other = copy.copy(error)
    assert (type(other), other.args, str(other)) == (type(error), error.args, str(error))
