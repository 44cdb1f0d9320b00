"""Periodic cleaners in admin."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from cleaner.models import CleanerProgress, CleanerRun, CleanerSettings, PeriodicCleaner
from durable_objects.testing import FakeClock
from tests.support.admin_pages import choose, confirm, list_url, page_url, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


@pytest.fixture
def sessions(alarm_clock: FakeClock) -> PeriodicCleaner:
    """A cleaner that has cleaned once."""
    cleaner = PeriodicCleaner.objects.get_by_name("sessions")
    cleaner.storage.put_many({"old": {"timestamp": 1}, "new": {"timestamp": alarm_clock.now()}})
    cleaner.cleanup()
    return cleaner


def save(client: Client, cleaner: PeriodicCleaner, **fields: str) -> str:
    """Fill in the settings on the page and save; what the page says then, if it does not take them."""
    there = CleanerSettings.objects.filter(pk=cleaner.pk).count()
    row = {"object": str(cleaner.pk), "cleans": "", "interval": "", "max_age": "", **fields}
    form = {"settings-TOTAL_FORMS": "1", "settings-INITIAL_FORMS": str(there)}
    response = client.post(
        page_url(PeriodicCleaner, cleaner.pk), form | {f"settings-0-{name}": value for name, value in row.items()}
    )
    assert response.status_code in {200, 302}
    return html.unescape(response.content.decode()) if response.status_code == 200 else ""


def test_a_cleaner(admin_client: Client, sessions: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """List and page tell the plan and what the last cleanup did; the list asks as much for many as for one."""
    assert "sessions well storage in 1h" in text_of(admin_client, list_url(PeriodicCleaner))
    text = text_of(admin_client, page_url(PeriodicCleaner, sessions.pk))
    assert "Deletes entries of its own storage older than 1d, every 1h." in text
    assert "Removed 1 of 2 examined Expired rows left 0 Oldest left" in text
    sessions.cleanup()
    assert "1 removed, " in text_of(admin_client, page_url(PeriodicCleaner, sessions.pk)), "the picture's own words"
    with CaptureQueriesContext(connection) as one:
        admin_client.get(list_url(PeriodicCleaner))
    for number in range(2):
        PeriodicCleaner.objects.get_by_name(f"more {number}").cleanup()
    with CaptureQueriesContext(connection) as many:
        admin_client.get(list_url(PeriodicCleaner))
    assert len(many) == len(one)


def test_the_page_asks_little(
    admin_client: Client, alarm_clock: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """A cleaner's page takes twenty queries, though it has settings of its own."""
    cleaner = PeriodicCleaner.objects.get_by_name("own")
    cleaner.configure(interval=timedelta(hours=1))
    admin_client.get(page_url(PeriodicCleaner, cleaner.pk))
    with django_assert_max_num_queries(20):
        assert "own" in text_of(admin_client, page_url(PeriodicCleaner, cleaner.pk))


def test_a_cleaner_that_falls_behind(admin_client: Client, sessions: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """List and page warn when a planned cleanup does not come, when one failed, and when expired rows were left."""
    alarm_clock.advance(timedelta(hours=3))
    for url in (list_url(PeriodicCleaner), page_url(PeriodicCleaner, sessions.pk)):
        assert "Behind: a cleanup was due 2h ago. Is a worker running?" in text_of(admin_client, url)
    CleanerRun.objects.update(remaining=7)
    assert "at least 7 expired rows were left" in text_of(admin_client, list_url(PeriodicCleaner))
    CleanerRun.objects.update(error="OSError: <disk>")
    assert "The last cleanup failed: OSError: <disk>" in text_of(admin_client, page_url(PeriodicCleaner, sessions.pk))


def test_settings_plan_anew(admin_client: Client, sessions: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """A saved interval moves the next cleanup, as ``configure()`` does; emptied, the project's holds again."""
    start = alarm_clock.now()
    assert save(admin_client, sessions, interval="10m", max_age="02:00:00") == ""
    assert sessions.storage.get_alarm() == start + timedelta(minutes=10)
    assert CleanerSettings.objects.values_list("interval", "max_age").get() == (
        timedelta(minutes=10), timedelta(hours=2),
    )  # fmt: skip
    assert save(admin_client, sessions, max_age="2h") == ""
    assert sessions.storage.get_alarm() == start + timedelta(hours=1)
    assert CleanerSettings.objects.values_list("interval", "max_age").get() == (None, timedelta(hours=2))


def test_a_model_is_chosen_from_those_allowed(admin_client: Client, sessions: PeriodicCleaner, settings: Any) -> None:
    """What the settings name can be chosen, nothing else, and what is not a span is refused; then nothing changes."""
    settings.CLEANER = {"MODELS": {"sessions.Session": "expire_date"}}
    assert "Select a valid choice" in save(admin_client, sessions, cleans="auth.User.date_joined")
    assert "is not a span of time" in save(admin_client, sessions, cleans="sessions.Session.expire_date", max_age="60")
    assert not CleanerSettings.objects.exists()
    assert save(admin_client, sessions, cleans="sessions.Session.expire_date", max_age="60m") == ""
    chosen = CleanerSettings.objects.get()
    assert (chosen.target, chosen.max_age) == ("sessions.Session.expire_date", timedelta(hours=1))
    settings.CLEANER = {}
    assert "not allowed any more" in admin_client.get(page_url(PeriodicCleaner, sessions.pk)).content.decode()
    assert "is empty" in save(admin_client, sessions, cleans="sessions.Session.expire_date", max_age="2h")


def test_fire_now_keeps_the_plan(admin_client: Client, sessions: PeriodicCleaner) -> None:
    """A cleanup made by hand does not shift the schedule."""
    planned = CleanerProgress.objects.get().planned_at
    assert confirm(admin_client, PeriodicCleaner, "fire_now", [sessions.pk]) == ["Set to run now: sessions."]
    assert CleanerProgress.objects.get().planned_at == planned


def test_a_dry_run_tells_what_it_counted(admin_client: Client, sessions: PeriodicCleaner) -> None:
    """It asks first, answers with figures, deletes nothing, and stands in the log; a viewer is not offered it."""
    sessions.storage.put("older", {"timestamp": 2})
    assert "Nothing is deleted." in choose(admin_client, PeriodicCleaner, "dry_run", [sessions.pk]).content.decode()
    shown = confirm(admin_client, PeriodicCleaner, "dry_run", [sessions.pk])
    counted = "1 of the 2 rows would be deleted: older of 1970-01-01 00:00:00 UTC"
    assert shown == [f"Counted: sessions ({counted})."]
    assert len(sessions.storage.list()) == 2
    assert LogEntry.objects.get().change_message == f"Counted: {counted}."
    viewer = staff(["cleaner.view_periodiccleaner"])
    assert "Dry run" not in text_of(viewer, page_url(PeriodicCleaner, sessions.pk))


def test_stop_and_start(admin_client: Client, sessions: PeriodicCleaner) -> None:
    """The page offers the one that fits; a stopped cleaner says so and warns of nothing."""
    url = page_url(PeriodicCleaner, sessions.pk)
    assert "Stop…" in text_of(admin_client, url)
    assert confirm(admin_client, PeriodicCleaner, "stop", [sessions.pk]) == ["Stopped: sessions."]
    text = text_of(admin_client, url)
    assert ("Start…" in text, "Stop…" in text, "Stopped. Deletes" in text) == (True, False, True)
    assert confirm(admin_client, PeriodicCleaner, "start", [sessions.pk]) == ["Started: sessions."]
    assert sessions.storage.get_alarm() is not None
