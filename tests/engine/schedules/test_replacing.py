"""A schedule that is set, or asked about, while one of its runs goes on; and what its runs leave to others."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

import durable_objects
from durable_objects.delivery import publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Grouped, Script, Scripted
from tests.support.threads import InThread, await_event

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR, DAY = (timedelta(seconds=n) for n in (0, 1, 3600, 86400))


def fail(obj: Scripted, *args: object) -> None:
    """Fail."""
    raise ZeroDivisionError("no")


def row(name: str = "a") -> Schedule:
    """The schedule as it is stored."""
    return Schedule.objects.get(name=name)


def test_replaced_while_it_runs_it_runs_again_with_the_new_arguments(obj: Scripted, script: Script) -> None:
    """A run of what was replaced meanwhile settles nothing: the replacement runs at its own time."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(obj: Scripted, what: str) -> None:
        if what == "old":
            with obj.unlocked():
                inside.set()
                await_event(go_on)

    script.scheduled = slow
    at = durable_objects.now() - HOUR
    obj.schedules.set("a", "scheduled", at=at, args=["old"])
    pk = Alarm.objects.get().pk
    running = InThread(lambda: fire(pk))
    await_event(inside)
    obj.schedules.set("a", "scheduled", at=at, args=["new"])
    go_on.set()
    assert running.result().verdict is Verdict.SUCCEEDED
    assert fire(pk).verdict is Verdict.SUCCEEDED
    assert [args for _, args, _ in script.calls] == [("old",), ("new",)]
    assert not Schedule.objects.exists()


def test_a_retry_that_celery_sends_is_sent_once(
    obj: Scripted, script: Script, published: list[publisher.WakeUp]
) -> None:
    """The failed run of a schedule leaves its retry to the message that Celery sends again."""
    script.scheduled = fail
    obj.schedules.set("a", "scheduled", after=NOW)
    [wake_up] = published
    assert fire(wake_up.object_id, wake_up.wake_up_number).delay == 2 * SECOND
    assert published == [wake_up]
    assert Alarm.objects.get().wake_up_number == wake_up.wake_up_number


def test_an_alarm_that_initialize_sets_puts_no_schedule_off(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """What ``initialize()`` asks of the alarm is no answer to a schedule."""
    script.initialize = lambda obj: obj.storage.set_alarm(HOUR)
    obj.schedules.set("a", "scheduled", after=NOW)
    assert [run.schedule for run in run_due_alarms()] == ["a"]
    assert obj.storage.get_alarm() == clock.now() + HOUR


def test_the_alarm_is_pending_while_a_schedule_is_rescued(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """The lease of a schedule's run is none of the alarm, which stays set for everybody who asks."""
    seen = []

    script.scheduled = lambda obj: seen.append(obj.storage.get_alarm())
    obj.storage.set_alarm(HOUR)
    obj.schedules.set("a", "scheduled", after=NOW)
    assert fire(Alarm.objects.get().pk, rescue=True).verdict is Verdict.SUCCEEDED
    assert seen == [clock.now() + HOUR]


def test_a_schedule_does_not_run_in_a_group(clock: FakeClock, script: Script) -> None:
    """In a message of many a schedule is left alone, and woken by a message of its own."""
    grouped = Grouped.objects.get_by_name("a")
    grouped.storage.set_alarm(SECOND)
    grouped.schedules.set("a", "note", after=NOW)
    slot = Alarm.objects.get()
    assert fire_group([(slot.pk, slot.wake_up_number)], HOUR) == 0
    assert script.infos == []
    assert fire(slot.pk).verdict is Verdict.SUCCEEDED
    assert grouped.storage.get("noted") is True


@pytest.mark.parametrize("by", ["another call", "the run itself"])
def test_once_more_while_it_runs_is_once_more(obj: Scripted, script: Script, by: str) -> None:
    """What is set for the same time while it runs, unlocked or by its own run, runs again: nobody's request is lost."""
    at = durable_objects.now() - HOUR

    def again() -> None:
        Scripted.objects.get_by_name("a").schedules.set("a", "scheduled", at=at)

    def work(obj: Scripted) -> None:
        if len(script.calls) > 1:
            return
        if by == "the run itself":
            again()
            return
        with obj.unlocked():
            InThread(again).result()

    script.scheduled = work
    obj.schedules.set("a", "scheduled", at=at)
    pk = Alarm.objects.get().pk
    assert [fire(pk).verdict for _ in range(3)] == [Verdict.SUCCEEDED, Verdict.SUCCEEDED, Verdict.DROPPED]
    assert len({info.key for info, _, _ in script.calls if info}) == 2


def test_another_policy_is_no_other_key(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """Where only what becomes of missed times changes, between retries or in a run, occurrence and key are the same."""
    script.scheduled = fail
    obj.schedules.set("a", "scheduled", every=HOUR)
    run_due_alarms()
    obj.schedules.set("a", "scheduled", every=HOUR, misfire="all", grace=DAY)
    clock.advance(2 * SECOND)

    def work(obj: Scripted) -> None:
        obj.schedules.set("a", "scheduled", every=HOUR, misfire="skip")

    script.scheduled = work
    run_due_alarms()
    assert len({info.key for info, _, _ in script.calls if info}) == 1
    assert [info.retry_count for info, _, _ in script.calls if info] == [0, 1]
    assert (row().misfire, row().due_at) == ("skip", datetime(2026, 5, 1, 13, tzinfo=UTC))
