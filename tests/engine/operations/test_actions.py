"""What an operator does to an alarm never makes it later, and never makes it look less late than it was."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

import durable_objects
from durable_objects.delivery import dispatcher, publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def overdue(name: str, by: timedelta = MINUTE, **columns: object) -> tuple[Scripted, datetime]:
    """An object whose alarm is due for so long, with its wake-up out since then, and that time."""
    obj = Scripted.objects.get_by_name(name)
    obj.storage.set_alarm(timedelta(hours=1))
    due = durable_objects.now() - by
    Alarm.objects.filter(pk=obj.pk).update(
        **{"due_at": due, "scheduled_at": due, "wake_up_number": 7, "wake_up_for": due, "wake_ups_lost": 1} | columns
    )
    return obj, due


def test_fire_now_keeps_the_time_of_one_that_is_due(script: Script, published: list[publisher.WakeUp]) -> None:
    """An overdue alarm that is set to run now keeps its due time, so its run is recorded as late as it is."""
    obj, due = overdue("a")
    actions.fire_now(obj)
    assert Alarm.objects.get().due_at == due
    [wake_up] = published
    assert fire(obj.pk, wake_up.wake_up_number).verdict is Verdict.SUCCEEDED
    assert script.infos[0].lateness >= MINUTE
    assert AlarmRun.objects.get().due_at == due


def test_fire_now_does_not_put_it_behind_the_others(script: Script, published: list[publisher.WakeUp]) -> None:
    """The message that waits in a long queue stays valid: another one is sent under the same number."""
    obj, _ = overdue("a")
    actions.fire_now(obj)
    actions.fire_now(obj)
    assert [wake_up.wake_up_number for wake_up in published] == [7, 7]
    assert fire(obj.pk, 7).verdict is Verdict.SUCCEEDED


def test_fire_now_where_nobody_can_publish_is_the_dispatchers(
    script: Script, published: list[publisher.WakeUp]
) -> None:
    """From a process that cannot publish, the next pass sends it, under its number, the longest overdue first."""
    later, _ = overdue("later", MINUTE, wake_up_for=None)
    obj, _ = overdue("a", 2 * MINUTE, wake_up_for=durable_objects.now())
    publisher.register(published.append, lambda: True)
    actions.fire_now(obj)
    publisher.register(published.append, lambda: False)
    dispatcher.run_pass()
    assert [(wake_up.object_id, wake_up.wake_up_number) for wake_up in published] == [(obj.pk, 7), (later.pk, 8)]


@pytest.mark.parametrize("due_in", [5 * SECOND, timedelta(hours=2)])
def test_fire_now_brings_one_forward_that_is_not_due(
    script: Script, published: list[publisher.WakeUp], due_in: timedelta
) -> None:
    """An alarm, or a retry, that waits for its time runs now, by a wake-up of its own; the later one is turned away."""
    at = durable_objects.now() + due_in
    obj, _ = overdue("a", due_at=at, wake_up_for=at, retry_count=2)
    actions.fire_now(obj)
    slot = Alarm.objects.get()
    assert slot.due_at is not None
    assert slot.due_at <= durable_objects.now()
    assert (slot.retry_count, [wake_up.wake_up_number for wake_up in published]) == (2, [8])
    assert fire(obj.pk, 7).verdict is Verdict.DROPPED
    assert fire(obj.pk, 8).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("late", [0 * SECOND, 11 * SECOND, MINUTE, 10 * MINUTE])
def test_calls_do_not_send_again_what_is_out(
    script: Script, published: list[publisher.WakeUp], late: timedelta
) -> None:
    """A call on an overdue object neither renumbers its wake-up, which may wait in a long queue, nor adds another one:
    what got lost is the dispatcher's, so that many calls cannot fill the broker.
    """
    obj, _ = overdue("a", late)
    for number in range(3):
        obj.storage.put("k", number)
    slot = Alarm.objects.get()
    assert (published, slot.wake_up_number, slot.wake_ups_lost) == ([], 7, 1)


def test_fire_now_keeps_the_place_of_one_that_was_never_sent(script: Script, published: list[publisher.WakeUp]) -> None:
    """An overdue alarm with no wake-up out gets one at once, and is as late as it is."""
    obj, due = overdue("a", wake_up_for=None)
    actions.fire_now(obj)
    assert (Alarm.objects.get().due_at, [wake_up.wake_up_number for wake_up in published]) == (due, [8])
