"""The pages of reminders as a person would use them, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects import now
from reminders import links
from reminders.models import Delivery, Plan, Recipient, Reminder

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HOUR = timedelta(hours=1)


def fill_in(admin: Page, live_server: LiveServer) -> None:
    """The form of a new reminder, filled in for half past two by night in Berlin, as summer time begins."""
    admin.goto(f"{live_server.url}/admin/reminders/reminder/add/")
    admin.fill("#id_name", "standup")
    admin.fill("#id_message", "Stand up!\nAll of you.")
    admin.fill("#id_local_time", "2030-03-30T02:30")
    admin.select_option("#id_time_zone", "Europe/Berlin")
    admin.select_option("#id_repeats", label="Every day")
    admin.fill("#id_person", "ada")


def test_a_reminder_is_previewed_then_saved(
    admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]
) -> None:
    """Preview shows five times with the clocks' change and the quiet hours; what was typed stays; Save sets it."""
    Recipient.objects.create(name="ada", time_zone="Europe/Berlin", quiet_hours="22:00-07:00")
    fill_in(admin, live_server)
    screenshot("reminder-add")
    admin.get_by_role("button", name="Preview").first.click()
    ahead = admin.locator(".do-ahead")
    expect(ahead.locator("li")).to_have_count(5)
    expect(ahead).to_contain_text("Sun 31 Mar 2030, 03:30")
    expect(ahead).to_contain_text("02:30 does not exist that day")
    expect(ahead).to_contain_text("Held by quiet hours until Sat 07:00")
    expect(admin.locator("#id_message")).to_have_value("Stand up!\nAll of you.")
    screenshot("reminder-preview")
    assert not Reminder.objects.exists()
    ahead.get_by_role("button", name="Save").click()
    expect(admin.locator(".messagelist")).to_contain_text("was added successfully")
    screenshot("reminder-list")
    expect(admin.locator("#result_list")).to_contain_text("standup")
    assert Plan.objects.get().fire_at == datetime(2030, 3, 30, 1, 30, tzinfo=UTC)


def test_a_weekly_reminder_by_boxes(admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]) -> None:
    """Monday and Thursday are ticked, the preview shows them and the message, Save sets it: no rule is typed."""
    Recipient.objects.create(name="ada", time_zone="America/New_York")
    fill_in(admin, live_server)
    admin.fill("#id_local_time", "2030-04-01T09:00")
    admin.select_option("#id_repeats", label="Every week")
    admin.get_by_label("Mon").check()
    admin.get_by_label("Thu").check()
    admin.get_by_role("button", name="Preview").click()
    expect(admin.locator(".do-ahead li")).to_have_count(5)
    days = admin.locator(".do-ahead li time").all_inner_texts()
    assert [day[:3] for day in days] == ["Mon", "Thu", "Mon", "Thu", "Mon"]
    expect(admin.locator(".do-ahead")).to_contain_text("Mon 03:00 for ada (America/New_York)")
    expect(admin.locator(".do-subject")).to_have_text("Subject: Stand up!")
    screenshot("reminder-weekly")
    admin.get_by_role("button", name="Save").click()
    expect(admin.locator("#result_list")).to_contain_text("Every Mon, Thu")
    screenshot("reminder-list-weekly")
    assert Plan.objects.get().recurrence == "FREQ=WEEKLY;BYDAY=MO,TH"


def test_a_rule_that_never_comes_is_told_in_the_form(
    admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]
) -> None:
    """The 30th of February is refused in words, on the form as it was typed."""
    fill_in(admin, live_server)
    admin.select_option("#id_repeats", label="By the rule below")
    admin.fill("#id_rule", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")
    admin.locator(".do-ahead").get_by_role("button", name="Save").click()
    expect(admin.locator(".errornote, .errorlist").first).to_be_visible()
    expect(admin.locator("#content")).to_contain_text("which never occurs from")
    expect(admin.locator("#id_rule")).to_have_value("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")
    screenshot("reminder-refused")


def test_snoozed_tested_and_cancelled(admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]) -> None:
    """From the page: snoozed by an hour, a test sent, cancelled; then it looks dead and offers only a new start."""
    reminder = Reminder.objects.get_by_name("tea")
    at = reminder.set_reminder("Drink tea", now() + HOUR, recurrence="FREQ=DAILY", person="ada")
    Delivery.objects.create(
        reminder_id=reminder.pk, key="b6a0c0de-0000-4000-8000-000000000000", channel="webhook", message="Drink tea",
        planned_at=at - timedelta(days=1), attempts=3, status="delivered", answer="204", delivered_at=now(),
    )  # fmt: skip
    admin.goto(f"{live_server.url}/admin/reminders/reminder/{reminder.pk}/change/")
    expect(admin.locator("#id_local_time")).to_have_value(re.compile(f"^{at:%Y-%m-%dT%H:%M}"))
    screenshot("reminder-page")
    expect(admin.get_by_text("b6a0c0de")).not_to_be_visible()
    admin.locator(".do-log summary").click()
    expect(admin.get_by_text("b6a0c0de")).to_be_visible()
    for verb in ("Snooze: 1 hour…", "Test-send…", "Cancel…"):
        admin.get_by_role("button", name=verb).first.click()
        if verb == "Cancel…":
            screenshot("reminder-cancel-question")
        admin.locator("input[type=submit][value^=Yes]").click()
        expect(admin.locator(".messagelist .success")).to_be_visible()
    plan = Plan.objects.get()
    assert (plan.state, plan.next_at) == ("cancelled", at + HOUR)
    expect(admin.locator(".do-standing")).to_contain_text("Nothing will be delivered")
    expect(admin.get_by_role("button", name="Snooze: 1 hour…")).to_have_count(0)
    screenshot("reminder-cancelled")
    admin.goto(f"{live_server.url}/admin/reminders/reminder/")
    expect(admin.locator("#result_list .do-cancelled")).to_have_css("text-decoration-line", "line-through")
    screenshot("reminder-list-cancelled")


def test_a_recipient(admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]) -> None:
    """Wrong hours are reported beside their field; right ones are kept, and the page has the calendar's address."""
    admin.goto(f"{live_server.url}/admin/reminders/recipient/add/")
    admin.fill("#id_name", "ada")
    admin.fill("#id_quiet_hours", "late")
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.locator(".field-quiet_hours .errorlist")).to_contain_text("two different times of day")
    screenshot("recipient-refused")
    admin.fill("#id_quiet_hours", "22:00-07:00")
    admin.get_by_role("button", name="Save and continue editing").click()
    feed = admin.locator(".field-calendar").get_by_role("link")
    expect(feed).to_contain_text("/remind/calendar/")
    expect(admin.locator(".field-calendar").get_by_role("button", name="Copy")).to_be_visible()
    screenshot("recipient")
    assert admin.request.get(live_server.url + str(feed.get_attribute("href"))).text().startswith("BEGIN:VCALENDAR")
    assert admin.locator("#do-zones option").count() > 300


def test_a_link_asks_before_it_acts(
    page: Page, live_server: LiveServer, screenshot: Callable[[str], None], settings: Any
) -> None:
    """Without a login: the page behind a link asks, and only its button snoozes."""
    settings.REMINDERS = {"PUBLIC_URL": live_server.url}
    reminder = Reminder.objects.get_by_name("tea")
    at = reminder.set_reminder("Drink tea", now() + HOUR, recurrence="FREQ=DAILY")
    plan = reminder.plan()
    assert plan is not None
    addresses = links.for_message(plan)
    page.goto(addresses["snooze"])
    screenshot("link-snooze")
    assert Plan.objects.get().next_at == at
    page.get_by_role("button", name="20 minutes").click()
    expect(page.locator("h1")).to_contain_text("Snoozed until")
    assert Plan.objects.get().next_at < at
    page.goto(addresses["cancel"])
    page.get_by_role("button", name="Yes, cancel it and all that would follow").click()
    expect(page.locator("h1")).to_contain_text("Cancelled")
    screenshot("link-cancelled")
    assert Plan.objects.get().state == "cancelled"
