"""The engine's tasks inside somebody else's transaction: refused in words, since nothing they counted would last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction

from durable_objects import DurableObjectError
from durable_objects.delivery import publisher
from durable_objects.tables import Alarm
from durable_objects.tasks import dispatch_alarms, fire_alarm, fire_alarms
from tests.models import Grouped, Script, Scripted

NOW = timedelta(0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["fire_alarm", "fire_alarms", "dispatch_alarms"])
def test_task_inside_a_callers_transaction_runs_nothing(
    script: Script, published: list[publisher.WakeUp], name: str
) -> None:
    """Whichever task it is, it fails before anything ran or was counted, and says what to do; outside it works."""
    Grouped.objects.get_by_name("a").storage.set_alarm(NOW)
    [wake_up] = published
    calls: dict[str, Callable[[], object]] = {
        "fire_alarm": lambda: fire_alarm(wake_up.object_id, wake_up.wake_up_number),
        "fire_alarms": lambda: fire_alarms([(wake_up.object_id, wake_up.wake_up_number)], 60.0),
        "dispatch_alarms": dispatch_alarms,
    }
    call = calls[name]
    before = Alarm.objects.values().get()
    with (
        transaction.atomic(),
        pytest.raises(DurableObjectError, match=rf"durable_objects\.{name} was called inside a transaction.*task_cls"),
    ):
        call()
    assert (Alarm.objects.values().get(), script.infos) == (before, [])
    assert call()


@pytest.mark.django_db
def test_transaction_of_a_test_case_does_not_count(obj: Scripted) -> None:
    """In a ``TestCase`` the task runs, as everything does there."""
    obj.storage.set_alarm(NOW)
    assert fire_alarm(Alarm.objects.get().pk) == "succeeded"
