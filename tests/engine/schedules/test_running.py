"""A schedule runs as the alarm does: never early, at least once, one at a time, retried, dead, on record."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable_objects import AlarmInfo
from durable_objects.alarms.backoff import ALARM_MAX_RETRIES
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Schedule
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Script, Scripted
from tests.support.threads import InThread, await_event

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR, DAY = (timedelta(seconds=n) for n in (0, 1, 3600, 86400))


def fail(obj: Scripted, *args: object) -> None:
    """Fail."""
    raise ZeroDivisionError("no")


def row(name: str = "a") -> Schedule:
    """The schedule as it is stored."""
    return Schedule.objects.get(name=name)


def outcomes() -> list[tuple[str, str, int]]:
    """The history: schedule, outcome, failures before."""
    return list(AlarmRun.objects.order_by("pk").values_list("schedule", "outcome", "retry_count"))


def test_it_runs_at_its_times_with_its_arguments(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """Each occurrence is one call, at its time and not before, with the arguments, its time, and a key of its own."""
    obj.schedules.set("a", "scheduled", every=HOUR, start=clock.now() + HOUR, args=[1], kwargs={"b": {2}})
    clock.advance(HOUR - timedelta(microseconds=1))
    assert run_due_alarms() == []
    clock.advance(timedelta(microseconds=1))
    for _ in range(3):
        assert len(run_due_alarms()) == 1
        assert run_due_alarms() == []
        clock.advance(HOUR)
    infos = [info for info, _, _ in script.calls if info is not None]
    assert [info.scheduled_at for info in infos] == [datetime(2026, 5, 1, hour, tzinfo=UTC) for hour in (13, 14, 15)]
    assert [(args, kwargs) for _, args, kwargs in script.calls] == [((1,), {"b": {2}})] * 3
    assert [(info.retry_count, info.schedule) for info in infos] == [(0, "a")] * 3
    assert len({info.key for info in infos}) == 3
    assert all(info.key.replace("-", "").isalnum() and len(info.key) <= 60 for info in infos)
    assert obj.schedules.info is None


def test_a_failed_run_is_retried_and_then_dead_and_the_next_one_comes(
    obj: Scripted, clock: FakeClock, script: Script
) -> None:
    """Retries after 2, 4 … 64 s with one key; the seventh failure is dead, and the next occurrence runs as planned."""
    script.scheduled = fail
    obj.schedules.set("a", "scheduled", every=HOUR)
    obj.storage.put("x", 1)
    for retry in range(ALARM_MAX_RETRIES + 1):
        assert len(run_due_alarms()) == 1
        clock.advance(timedelta(seconds=2 << retry))
    assert outcomes() == [("a", "failed", n) for n in range(6)] + [("a", "dead", 6)]
    infos = [info for info, _, _ in script.calls if info is not None]
    assert {info.key for info in infos} == {infos[0].key}
    assert [info.retry_count for info in infos] == list(range(7))
    assert (row().state, row().died_at) == ("armed", datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert "ZeroDivisionError" in row().last_error
    assert row().due_at == datetime(2026, 5, 1, 13, tzinfo=UTC)
    assert Alarm.objects.get().state == "idle"
    script.scheduled = lambda obj: None
    clock.move_to(datetime(2026, 5, 1, 13, tzinfo=UTC))
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert row().died_at == datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert script.deaths == []


def test_what_it_does_is_undone_when_it_raises(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """A run that fails leaves nothing of its writes, its alarm, its schedules; one that ends well all of it."""

    def work(obj: Scripted) -> None:
        obj.storage.put("n", obj.storage.get("n", 0) + 1)
        obj.storage.set_alarm(DAY)
        obj.schedules.set("b", "scheduled", after=DAY)
        if len(script.calls) == 1:
            raise ZeroDivisionError

    script.scheduled = work
    obj.schedules.set("a", "scheduled", every=HOUR)
    run_due_alarms()
    assert (obj.storage.get("n"), obj.storage.get_alarm(), obj.schedules.get("b")) == (None, None, None)
    clock.advance(2 * SECOND)
    run_due_alarms()
    assert obj.storage.get("n") == 1
    assert obj.storage.get_alarm() == clock.now() + DAY
    assert obj.schedules.get("b") is not None
    assert outcomes() == [("a", "failed", 0), ("a", "succeeded", 1)]


def test_a_run_may_cancel_or_replace_itself(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """What a run asks of its own schedule stands, if it ends well."""
    script.scheduled = lambda obj: obj.schedules.cancel("a")
    obj.schedules.set("a", "scheduled", every=HOUR)
    run_due_alarms()
    assert not Schedule.objects.exists()
    script.scheduled = lambda obj: obj.schedules.set("a", "scheduled", after=DAY)
    obj.schedules.set("a", "scheduled", every=HOUR)
    run_due_alarms()
    assert row().due_at == clock.now() + DAY


def test_once_is_once_and_then_gone(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """A schedule that has no time left is deleted after its last run; the history keeps the run."""
    obj.schedules.set("a", "scheduled", after=HOUR)
    obj.schedules.set("b", "scheduled", every=HOUR, start=clock.now() + HOUR, end=clock.now() + 2 * HOUR)
    clock.advance(HOUR)
    run_due_alarms()
    assert [each.name for each in obj.schedules.list()] == ["b"]
    clock.advance(HOUR)
    run_due_alarms()
    assert obj.schedules.list() == []
    assert outcomes() == [("a", "succeeded", 0), ("b", "succeeded", 0), ("b", "succeeded", 0)]
    clock.advance(DAY)
    assert run_due_alarms() == []


def test_several_due_at_once_run_one_after_the_other(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """Alarm and schedules that are due run all, the longest due first, each by a run of its own."""
    obj.schedules.set("late", "scheduled", at=clock.now() + 2 * SECOND)
    obj.schedules.set("b", "scheduled", at=clock.now() + SECOND)
    obj.schedules.set("a", "scheduled", at=clock.now() + SECOND)
    obj.storage.set_alarm(SECOND)
    clock.advance(HOUR)
    assert [run.schedule for run in run_due_alarms()] == ["", "a", "b", "late"]
    assert len(script.infos) == 1
    assert {run.outcome for run in AlarmRun.objects.all()} == {"succeeded"}
    assert AlarmRun.objects.values("set_number").distinct().count() == 4


def test_a_failing_schedule_holds_nothing_else_up(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """While one waits for its retry, the alarm and other schedules run at their times."""
    script.scheduled = lambda obj, *args: fail(obj) if args else None
    obj.schedules.set("bad", "scheduled", every=HOUR, args=[1])
    obj.schedules.set("good", "scheduled", at=clock.now() + SECOND)
    obj.storage.set_alarm(SECOND)
    run_due_alarms()
    clock.advance(SECOND)
    assert [run.schedule for run in run_due_alarms()] == ["", "good"]
    clock.advance(SECOND)
    assert [(run.schedule, run.retry_count) for run in run_due_alarms()] == [("bad", 1)]


def test_the_handlers_alarm_is_not_the_schedules(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """In a schedule's run ``get_alarm`` answers as in any call, and an alarm that is set or deleted there stays so."""
    seen = []

    def work(obj: Scripted) -> None:
        seen.append(obj.storage.get_alarm())
        obj.storage.delete_alarm()
        seen.append(obj.storage.get_alarm())

    script.scheduled = work
    obj.storage.set_alarm(HOUR)
    obj.schedules.set("a", "scheduled", after=NOW)
    run_due_alarms()
    assert seen == [clock.now() + HOUR, None]
    assert obj.storage.get_alarm() is None


def test_unlocked_in_a_schedules_run_keeps_the_object(obj: Scripted, script: Script) -> None:
    """While a schedule's run is unlocked, calls go on and nothing else of the object runs; then the rest does."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(obj: Scripted) -> None:
        with obj.unlocked():
            inside.set()
            await_event(go_on)
        obj.storage.put("done", True)

    script.scheduled = slow
    obj.schedules.set("a", "scheduled", every=HOUR)
    obj.schedules.set("a", "scheduled", after=NOW)
    obj.storage.set_alarm(NOW + HOUR)
    pk = Alarm.objects.get().pk
    running = InThread(lambda: fire(pk))
    await_event(inside)
    obj.storage.set_alarm(NOW)
    assert obj.storage.get_alarm() is not None
    assert fire(pk).verdict is Verdict.DROPPED
    go_on.set()
    assert running.result().verdict is Verdict.SUCCEEDED
    assert obj.storage.get("done") is True
    assert not Schedule.objects.exists()
    assert fire(pk).verdict is Verdict.SUCCEEDED
    assert len(script.infos) == 1


@pytest.mark.parametrize("point", ["firing.before_handler", "firing.after_handler", "turn.before_commit"])
def test_a_crash_before_the_commit_loses_nothing(obj: Scripted, clock: FakeClock, script: Script, point: str) -> None:
    """A worker that dies before the commit leaves the occurrence as it was: it runs again, with the same key."""
    obj.schedules.set("a", "scheduled", every=HOUR)
    before = Schedule.objects.values().get()
    with pytest.raises(SimulatedCrash), crash_at(point):
        run_due_alarms()
    assert Schedule.objects.values().get() == before
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert len({info.key for info, _, _ in script.calls if info}) == 1


def outside(obj: Scripted) -> None:
    """Let go of the object."""
    with obj.unlocked():
        pass


@pytest.mark.parametrize(
    ("options", "missed"),
    [({}, "2, from 2026-05-01T13:00"), ({"misfire": "skip", "grace": HOUR}, "2, from 2026-05-01T12:00")],
    ids=["one", "skip"],
)
def test_what_is_missed_is_decided_on_once_though_its_run_is_cut_off(
    obj: Scripted, clock: FakeClock, script: Script, options: dict[str, Any], missed: str
) -> None:
    """A worker dies while unlocked: the same occurrence runs again, however late, and nothing is skipped twice."""
    obj.schedules.set("a", "scheduled", every=HOUR, **options)
    clock.advance(2.5 * HOUR)
    script.scheduled = outside
    with pytest.raises(SimulatedCrash), crash_at("turn.unlocked"):
        run_due_alarms()
    [skipped] = AlarmRun.objects.filter(outcome="skipped")
    assert missed in skipped.error
    clock.advance(2 * HOUR)
    run_due_alarms()
    first, again, *_ = [info.key for info, _, _ in script.calls if info]
    assert first == again
    later = AlarmRun.objects.filter(outcome="skipped").exclude(pk=skipped.pk)
    assert all(each.scheduled_at.hour > 14 for each in later)


def test_what_is_missed_is_decided_on_once_though_it_is_changed_meanwhile(
    obj: Scripted, clock: FakeClock, script: Script
) -> None:
    """Where the arguments change while a run is unlocked, its occurrence runs with the new ones; no skip is doubled."""

    def change(obj: Scripted, *args: object) -> None:
        with obj.unlocked():
            if not args:
                Scripted.objects.get_by_name("a").schedules.set("a", "scheduled", every=HOUR, args=["new"])

    obj.schedules.set("a", "scheduled", every=HOUR)
    clock.advance(2.5 * HOUR)
    script.scheduled = change
    run_due_alarms()
    assert [args for _, args, _ in script.calls] == [(), ("new",)]
    assert len({info.scheduled_at for info, _, _ in script.calls if info}) == 1
    assert AlarmRun.objects.filter(outcome="skipped").count() == 1


def test_what_takes_the_worker_down_is_dead_in_the_end(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """An occurrence that crashed its worker ten times is dead, and the next one is planned."""
    obj.schedules.set("a", "scheduled", every=DAY / 2)
    pk = Alarm.objects.get().pk
    for _ in range(10):
        with pytest.raises(SimulatedCrash), crash_at("firing.before_handler"):
            fire(pk, rescue=True)
        clock.advance(timedelta(minutes=1))
    assert fire(pk, rescue=True).verdict is Verdict.DEAD
    assert (row().died_at, row().due_at) == (datetime(2026, 5, 1, 12, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC))
    assert fire(pk).verdict is Verdict.DROPPED


def test_a_method_that_is_gone_fails_with_its_name(
    obj: Scripted, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule whose method this code lacks any more fails, and says which to bring back."""
    obj.schedules.set("a", "scheduled", every=HOUR)
    monkeypatch.delattr(Scripted, "scheduled")
    [run] = run_due_alarms()
    assert run.outcome == "failed"
    assert "no method 'scheduled'" in run.error


def test_the_alarms_key_is_the_same_on_retries(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """``info.key`` is the same on every retry and after a revival, and another one for each alarm that is set."""
    from durable_objects.operations import actions

    def fail_alarm(obj: object, info: AlarmInfo) -> None:
        raise ZeroDivisionError

    script.alarm = fail_alarm
    obj.storage.set_alarm(NOW)
    for retry in range(7):
        run_due_alarms()
        clock.advance(timedelta(seconds=2 << retry))
    actions.revive(obj)
    run_due_alarms()
    assert len(script.infos) == 8
    assert len({info.key for info in script.infos}) == 1
    clock.move_to(script.infos[0].scheduled_at)
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    assert script.infos[-1].scheduled_at == script.infos[0].scheduled_at
    assert len({info.key for info in script.infos}) == 2
