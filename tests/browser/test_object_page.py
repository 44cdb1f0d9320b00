"""An object's page in a real browser: it counts down, moves the alarm, edits storage; also without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects import now
from durable_objects.tables import AlarmRun, Object
from tests.browser.conftest import PASSWORD, log_in
from tests.models import Script, Scripted

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Screenshot = Callable[[str], None]


@pytest.fixture
def obj(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """An object with an alarm, a schedule, a run that failed and values of several types."""
    monkeypatch.setattr(Scripted, "script", Script(), raising=False)
    one = Scripted.objects.get_by_name("cart-0042")
    one.storage.put_many({
        "items": [{"sku": "tea", "count": 2, "added": datetime(2026, 11, 26, 9, 30, tzinfo=ZoneInfo("Europe/Berlin"))}],
        "limit": 20, "customer": "ada@example.org", "paid": False,
    })  # fmt: skip
    one.storage.set_alarm(timedelta(minutes=11, seconds=30))
    one.schedules.set("report", one.scheduled, cron="0 9 * * *")
    due = now() - timedelta(minutes=5)
    for number, outcome in enumerate(["succeeded", "failed"]):
        started = due + timedelta(milliseconds=300 + 400 * number)
        AlarmRun.objects.create(
            object_id=one.pk, scheduled_at=due, due_at=due, wake_up_for=due + timedelta(milliseconds=40),
            picked_up_at=due + timedelta(milliseconds=200), started_at=started,
            ended_at=started + timedelta(milliseconds=700), retry_count=number, fence=number, outcome=outcome,
            error="Traceback (most recent call last):\n  File \"shop.py\", line 7, in alarm\nValueError: no stock"
            if outcome == "failed" else "",
        )  # fmt: skip
    return one


@pytest.fixture
def plain(browser: Browser, live_server: LiveServer) -> Iterator[Page]:
    """A page with scripts off on which a superuser has logged in."""
    User.objects.create_superuser("ada", password=PASSWORD)
    with browser.new_context(java_script_enabled=False) as context:
        yield log_in(context.new_page(), f"{live_server.url}/admin/")


def page_of(server: LiveServer, obj: Object) -> str:
    """The page of an object."""
    return server.url + reverse("admin:durable_objects_object_change", args=[obj.pk])


def test_it_counts_down(admin: Page, obj: Scripted, live_server: LiveServer, screenshot: Screenshot) -> None:
    """The time left is counted by the second, the name can be copied; nothing is wider than the screen."""
    admin.goto(page_of(live_server, obj))
    head = admin.locator(".do-head")
    expect(head.locator(".do-countdown")).to_contain_text("Runs in 11:")
    before = head.locator(".do-countdown").text_content()
    expect(head.locator(".do-countdown")).not_to_have_text(before or "")
    expect(head.get_by_role("button", name="Copy")).to_be_visible()
    admin.locator(".do-runs").get_by_text("ValueError: no stock", exact=True).click()
    screenshot("one-page")
    admin.set_viewport_size({"width": 390, "height": 844})
    assert admin.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_it_says_when(plain: Page, obj: Scripted, live_server: LiveServer) -> None:
    """Without scripts a sentence stands for the countdown, and a value is edited by the same clicks."""
    plain.goto(page_of(live_server, obj))
    expect(plain.locator(".do-countdown")).to_contain_text("Runs in 11m")
    plain.locator(".do-storage tr", has_text="limit").get_by_role("link", name="Edit").click()
    plain.get_by_label("Value").fill("25")
    plain.get_by_role("button", name="Save").click()
    expect(plain.locator(".messagelist")).to_contain_text("Saved: limit.")
    assert obj.storage.get("limit") == 25


def test_an_alarm_is_moved(admin: Page, obj: Scripted, live_server: LiveServer, screenshot: Screenshot) -> None:
    """By a step and by a time: each question shows from when to when, and the log has it."""
    due = obj.storage.get_alarm()
    assert due is not None
    admin.goto(page_of(live_server, obj))
    admin.get_by_role("button", name="Later by 1h…").click()
    expect(admin.locator("#content")).to_contain_text(f"{due:%Y-%m-%d %H:%M:%S} UTC → ")
    screenshot("move-question")
    admin.get_by_role("button", name="Yes: later by 1h").click()
    expect(admin.locator(".messagelist")).to_contain_text("Moved: cart-0042")
    assert obj.storage.get_alarm() == due + timedelta(hours=1)
    admin.get_by_role("button", name="Move…").click()
    screenshot("move-form")
    admin.get_by_label("Later by").fill("1d 2h")
    admin.get_by_role("button", name="Yes: move").click()
    expect(admin.locator(".messagelist")).to_contain_text("Moved: cart-0042")
    assert obj.storage.get_alarm() == due + timedelta(hours=27)
    expect(admin.locator(".do-log")).to_contain_text("ada")


def test_a_value_that_changed_meanwhile_is_kept(
    admin: Page, obj: Scripted, live_server: LiveServer, screenshot: Screenshot
) -> None:
    """Who edits while the object writes is told what is there now, and loses nothing that was typed."""
    admin.goto(page_of(live_server, obj))
    admin.locator(".do-storage tr", has_text="limit").get_by_role("link", name="Edit").click()
    admin.get_by_label("Value").fill("25")
    screenshot("edit-entry")
    obj.storage.put("limit", 21)
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_text("The value was changed meanwhile")).to_be_visible()
    expect(admin.get_by_text("It is now: 21")).to_be_visible()
    expect(admin.get_by_label("Value")).to_have_value("25")
    screenshot("edit-refused")
    assert obj.storage.get("limit") == 21
    assert not LogEntry.objects.exists()


def test_by_keyboard_alone(admin: Page, obj: Scripted, live_server: LiveServer) -> None:
    """A key is added and an alarm is run with the keyboard alone: each control takes the focus and answers to it."""
    admin.goto(page_of(live_server, obj))
    add = admin.get_by_role("link", name="Add a key…")
    add.focus()
    admin.keyboard.press("Enter")
    admin.wait_for_selector("#id_key")
    admin.locator("#id_key").focus()
    admin.keyboard.type("note")
    admin.keyboard.press("Tab")
    admin.keyboard.type("Text")
    admin.keyboard.press("Tab")
    admin.keyboard.type("call back")
    admin.keyboard.press("Tab")
    admin.keyboard.press("Enter")
    expect(admin.locator(".messagelist")).to_contain_text("Added: note.")
    assert obj.storage.get("note") == "call back"
    admin.get_by_role("button", name="Run now…").focus()
    admin.keyboard.press("Enter")
    admin.get_by_role("button", name="Yes: run now").focus()
    admin.keyboard.press("Enter")
    expect(admin.locator(".messagelist")).to_contain_text("Set to run now: cart-0042")
