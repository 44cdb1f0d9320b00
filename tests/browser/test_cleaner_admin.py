"""Cleaners in admin, as a person uses them: add one, tell it what to clean, look, clean, stop it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from cleaner.models import CleanerRun, PeriodicCleaner
from durable_objects import now
from durable_objects.testing import run_due_alarms
from tests.browser.conftest import log_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Screenshot = Callable[[str], None]


def content(page: Page) -> Any:
    """What the page says."""
    return page.locator("#content")


def messages(page: Page) -> Any:
    """What the page answers to what was done."""
    return page.locator(".messagelist")


def test_a_model_is_cleaned(admin: Page, settings: Any, screenshot: Screenshot) -> None:
    """From adding a cleaner to rows that are gone: each step is a form or a button, each answer is on the page."""
    settings.CLEANER = {"MODELS": {"sessions.Session": "expire_date", "auth.User": ["date_joined", "last_login"]}}
    for number in range(30):
        Session.objects.create(session_key=f"old-{number}", session_data="", expire_date=now() - timedelta(days=3))
    admin.get_by_role("link", name="Periodic cleaners", exact=True).first.click()
    admin.get_by_role("link", name="Add periodic cleaner").first.click()
    admin.get_by_label("Name").fill("old sessions")
    admin.get_by_role("button", name="Save and continue editing").click()

    admin.locator("#id_settings-0-cleans").select_option("sessions.Session.expire_date")
    admin.locator("#id_settings-0-interval").fill("2 hours")
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(content(admin)).to_contain_text('"2 hours" is not a span of time. Allowed: numbers with units')
    screenshot("cleaner-refused")
    admin.locator("#id_settings-0-interval").fill("2h")
    admin.locator("#id_settings-0-max_age").fill("1d")
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(content(admin)).to_contain_text("Deletes rows by sessions.Session.expire_date older than 1d, every 2h.")

    admin.get_by_role("button", name="Dry run…").click()
    screenshot("cleaner-dry-run-asked")
    admin.get_by_role("button", name="Yes: dry run").click()
    expect(messages(admin)).to_contain_text("Counted: old sessions (30 of the 31 rows would be deleted: old-0 of ")
    screenshot("cleaner-dry-run")

    admin.get_by_role("button", name="Clean now…").click()
    admin.get_by_role("button", name="Yes: clean now").click()
    expect(messages(admin)).to_contain_text("Set to run now: old sessions.")
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    admin.reload()
    expect(content(admin)).to_contain_text("30 of 31 examined")
    assert Session.objects.count() == 1

    admin.get_by_role("button", name="Stop…").click()
    admin.get_by_role("link", name="No, take me back").click()
    admin.get_by_role("button", name="Stop…").click()
    admin.get_by_role("button", name="Yes: stop").click()
    expect(content(admin)).to_contain_text("Stopped. Deletes")
    admin.get_by_role("link", name="History", exact=True).click()
    for done in ("Counted: 30 of the 31", "Set to run now.", "Stopped."):
        expect(content(admin)).to_contain_text(done)


def test_what_a_cleaner_has_done_can_be_seen(admin: Page, screenshot: Screenshot) -> None:
    """The list names the cleaner that falls behind; its page says how, with a picture and a table of its cleanups."""
    well, behind = (PeriodicCleaner.objects.get_by_name(name) for name in ("carts", "visits"))
    for number in range(24):
        old = {f"{number}-{key}": {"timestamp": 0} for key in range((number * 37) % 23)}
        well.storage.put_many({**old, "young": {"timestamp": now()}})
        well.cleanup()
    behind.storage.put("a", {"timestamp": 0})
    behind.cleanup()
    CleanerRun.objects.filter(object=behind).update(remaining=12_000, removed=1_234_567, examined=2_000_000)
    PeriodicCleaner.objects.get_by_name("stopped").stop()
    admin.get_by_role("link", name="Periodic cleaners", exact=True).first.click()
    expect(admin.locator("tr", has_text="visits")).to_contain_text("Behind: at least 12,000 expired rows")
    screenshot("cleaner-list")
    admin.get_by_role("link", name="visits").click()
    expect(admin.locator(".cleaner-warnings")).to_contain_text("Behind: at least 12,000 expired rows")
    screenshot("cleaner-behind")
    admin.go_back()
    admin.get_by_role("link", name="carts").click()
    expect(admin.get_by_role("img", name="Removed by the last 24 cleanups: at most 22")).to_be_visible()
    screenshot("cleaner-page")
    admin.emulate_media(color_scheme="dark")
    screenshot("cleaner-page-dark")
    admin.set_viewport_size({"width": 420, "height": 800})
    screenshot("cleaner-page-narrow")


def test_it_all_works_without_scripts(browser: Browser, live_server: LiveServer, admin: Page) -> None:
    """Every step is a plain form: a browser that runs no script can count, and say yes."""
    cleaner = PeriodicCleaner.objects.get_by_name("cache")
    cleaner.storage.put("old", {"timestamp": 0})
    context = browser.new_context(java_script_enabled=False)
    page = log_in(context.new_page(), f"{live_server.url}/admin/")
    page.goto(f"{live_server.url}/admin/cleaner/periodiccleaner/{cleaner.pk}/change/")
    page.get_by_role("button", name="Dry run…").click()
    page.get_by_role("button", name="Yes: dry run").click()
    expect(messages(page)).to_contain_text("Counted: cache (1 of the 1 rows would be deleted: old of 1970-01-01 ")
    context.close()
