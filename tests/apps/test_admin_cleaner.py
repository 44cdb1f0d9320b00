"""Periodic cleaners in admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from cleaner.models import CleanerProgress, CleanerSettings, PeriodicCleaner
from durable_objects.testing import FakeClock
from tests.admin_pages import confirm, list_url, page_url, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


@pytest.fixture
def sessions(alarm_clock: FakeClock) -> PeriodicCleaner:
    """A cleaner that has cleaned once."""
    cleaner = PeriodicCleaner.objects.get_by_name("sessions")
    cleaner.storage.put_many({"old": {"timestamp": 1}, "new": {"timestamp": alarm_clock.now()}})
    cleaner.cleanup()
    return cleaner


def save(client: Client, cleaner: PeriodicCleaner, interval: str, max_age: str) -> None:
    """Fill in the settings on the page and save."""
    there = CleanerSettings.objects.filter(pk=cleaner.pk).count()
    row = {"object": str(cleaner.pk), "interval": interval, "max_age": max_age}
    form = {"settings-TOTAL_FORMS": "1", "settings-INITIAL_FORMS": str(there)}
    response = client.post(
        page_url(PeriodicCleaner, cleaner.pk), form | {f"settings-0-{name}": value for name, value in row.items()}
    )
    assert response.status_code == 302


def test_a_cleaner(admin_client: Client, sessions: PeriodicCleaner) -> None:
    """The page tells the plan and what the last cleanup did."""
    assert "sessions armed in 1 h" in text_of(admin_client, list_url(PeriodicCleaner))
    text = text_of(admin_client, page_url(PeriodicCleaner, sessions.pk))
    assert "1 of 2 removed" in text
    assert "Running since: -" in text


def test_settings_plan_anew(admin_client: Client, sessions: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """A saved interval moves the next cleanup, as ``configure()`` does; emptied, the project's holds again."""
    start = alarm_clock.now()
    save(admin_client, sessions, "00:10:00", "02:00:00")
    assert sessions.storage.get_alarm() == start + timedelta(minutes=10)
    assert CleanerSettings.objects.values_list("interval", "max_age").get() == (
        timedelta(minutes=10), timedelta(hours=2),
    )  # fmt: skip
    save(admin_client, sessions, "", "02:00:00")
    assert sessions.storage.get_alarm() == start + timedelta(hours=1)
    assert CleanerSettings.objects.values_list("interval", "max_age").get() == (None, timedelta(hours=2))


def test_fire_now_keeps_the_plan(admin_client: Client, sessions: PeriodicCleaner) -> None:
    """A cleanup made by hand does not shift the schedule."""
    planned = CleanerProgress.objects.get().planned_at
    assert confirm(admin_client, PeriodicCleaner, "fire_now", [sessions.pk]) == ["Told to run now: sessions."]
    assert CleanerProgress.objects.get().planned_at == planned
