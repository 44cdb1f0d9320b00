"""What reminders were set to before they had a table of their own."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps

from durable_objects.testing import FakeClock
from reminders.models import Plan, Reminder
from tests.apps.passing import follow
from tests.apps.sent import Sent

migration: Any = importlib.import_module("reminders.migrations.0002_plans")


@pytest.mark.django_db
def test_a_stored_reminder_moves_into_its_table_and_back(sent: Sent) -> None:
    """Kept in storage by an earlier version it goes on from its place, its COUNT kept; the way back works too."""
    start = datetime(2030, 1, 1, 9, tzinfo=UTC)
    second = start + timedelta(days=1)
    stored = {
        "id": "5f2f8f6e-3a52-4a52-9f5d-3b6f2f6f7a10", "message": "tea", "fire_at": start, "occurrence": second,
        "next_at": second, "recurrence": "FREQ=DAILY;COUNT=3", "time_zone": "Europe/Berlin", "channels": ["log"],
    }  # fmt: skip
    reminder = Reminder.objects.get_by_name("tea")
    with FakeClock(start + timedelta(hours=1)) as clock:
        with reminder.storage.transaction():
            reminder.storage.put("reminder", stored)
            reminder.storage.set_alarm(second)
        migration.move_from_storage(apps, None)
        assert reminder.storage.list() == {}
        migration.move_to_storage(apps, None)
        assert reminder.storage.get("reminder") == stored
        reminder.storage.delete("reminder")
        follow(clock, reminder, start + timedelta(days=30))
    assert [message.planned_at for message in sent] == [second, second + timedelta(days=1)]
    assert reminder.get_reminder() is None


@pytest.mark.django_db
def test_a_plan_of_before_gets_the_wall_time_of_its_start() -> None:
    """By the zone that it goes by; where that is gone, by its last offset. Its moments are as they were."""
    start = datetime(2030, 7, 1, 7, 0, 0, 5, tzinfo=UTC)
    for name, zone in (("known", "Europe/Berlin"), ("gone", "Europe/Atlantis")):
        Reminder.objects.get_by_name(name).set_reminder("tea", start, time_zone="Europe/Berlin")
        Plan.objects.filter(object__name=name).update(start_wall="", time_zone=zone)
    importlib.import_module("reminders.migrations.0004_wall_times").write_down_wall_times(apps, None)
    walls = dict(Plan.objects.values_list("object__name", "start_wall"))
    assert walls == dict.fromkeys(["known", "gone"], "2030-07-01T09:00:00.000005")
    for name in walls:
        plan = Reminder.objects.get_by_name(name).plan()
        assert plan is not None
        assert plan.starts_at == plan.fire_at == start
