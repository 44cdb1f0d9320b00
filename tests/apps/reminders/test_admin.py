"""Reminders, recipients and deliveries in admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from durable_objects.operations import actions
from durable_objects.testing import FakeClock, run_due_alarms
from reminders.models import Delivery, Recipient, Reminder
from tests.support.admin_pages import confirm, list_url, page_url, staff, text_of
from tests.support.passing_time import outcomes
from tests.support.sent_messages import Sent

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

HOUR = timedelta(hours=1)
ADD = "admin:reminders_reminder_add"
FORM = {
    "name": "standup", "message": "Stand up!", "local_time": "2030-03-30T02:30", "time_zone": "Europe/Berlin",
    "repeats": "FREQ=DAILY", "channels": ["log"],
}  # fmt: skip


def test_a_preview_saves_nothing(admin_client: Client) -> None:
    """The Preview button shows the next five times with a word on the clocks, keeps what was typed, saves nothing."""
    Recipient.objects.create(name="ada", time_zone="Europe/Berlin", quiet_hours="22:00-07:00")
    page = admin_client.post(reverse(ADD), {**FORM, "person": "ada", "_preview": "Preview"}).content.decode()
    assert "Sat 30 Mar 2030, 02:30" in page
    assert "Sun 31 Mar 2030, 03:30" in page
    assert "02:30 does not exist that day, so it is 03:30." in page
    assert "Held by quiet hours until Sat 07:00 (Europe/Berlin)." in page
    assert "Stand up!</textarea>" in page
    assert "Please correct" not in page
    assert not Reminder.objects.exists()


def test_set_edit_and_log(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Saving sets it; saving again edits it, so that its place stays; both are in the log."""
    made = admin_client.post(reverse(ADD), {**FORM, "_save": "Save"})
    assert made.status_code == 302
    reminder = Reminder.objects.get(name="standup")
    state = reminder.get_reminder()
    assert state is not None
    assert (state["message"], state["fire_at"]) == ("Stand up!", datetime(2030, 3, 30, 1, 30, tzinfo=UTC))
    snoozed = reminder.snooze(HOUR)
    data: dict[str, Any] = {**FORM, "message": "Sit down!", "skip_if_late": "3600", "_save": "Save"}
    assert admin_client.post(page_url(Reminder, reminder.pk), data).status_code == 302
    plan = reminder.plan()
    assert plan is not None
    assert (plan.message, plan.next_at, plan.skip_if_late) == ("Sit down!", snoozed, HOUR)
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")] == [
        "Added.", "Changed message and When it is late."
    ]  # fmt: skip


def test_a_time_that_nobody_touched_stays_to_the_microsecond(admin_client: Client) -> None:
    """A browser's field has no fractions of a second: saving another text leaves the time, and so the series, alone."""
    reminder = Reminder.objects.get_by_name("standup")
    at = reminder.set_reminder("Up!", datetime(2030, 3, 30, 1, 30, 0, 123456, tzinfo=UTC), time_zone="Europe/Berlin")
    page = admin_client.get(page_url(Reminder, reminder.pk)).content.decode()
    assert 'value="2030-03-30T02:30"' in page
    admin_client.post(page_url(Reminder, reminder.pk), {**FORM, "repeats": "", "_save": "Save"})
    plan = reminder.plan()
    assert plan is not None
    assert (plan.message, plan.fire_at, plan.next_at, plan.snoozes) == ("Stand up!", at, at, 0)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"repeats": "custom", "rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "which never occurs from"),
        ({"repeats": "custom", "rule": ""}, "The rule below is empty"),
        ({"local_time": "tomorrow"}, "is not a date and time"),
        ({"channels": []}, "This field is required"),
    ],
)
def test_what_the_form_refuses(admin_client: Client, wrong: dict[str, Any], problem: str) -> None:
    """Bad input is reported beside the field, and nothing is made."""
    page = admin_client.post(reverse(ADD), {**FORM, **wrong, "_save": "Save"})
    assert (page.status_code, problem in page.content.decode()) == (200, True)
    assert not Reminder.objects.exists()


@pytest.mark.parametrize(("repeats", "choice"), [("", "Once"), ("FREQ=WEEKLY", "Every week")])
def test_a_typed_rule_is_not_dropped(admin_client: Client, repeats: str, choice: str) -> None:
    """A rule beside another choice of how it repeats is refused on both fields: it would be ignored without a word."""
    page = admin_client.post(reverse(ADD), {**FORM, "repeats": repeats, "rule": "FREQ=DAILY;COUNT=3", "_save": "Save"})
    assert page.context["adminform"].form.errors == {
        "repeats": [f"“{choice}” does not use the rule below. Choose “By the rule below”, or empty the rule."],
        "rule": [f"This rule is not used with “{choice}”. Empty it, or choose “By the rule below”."],
    }
    assert not Reminder.objects.exists()


def test_the_list_tells_the_living_from_the_dead(admin_client: Client, alarm_clock: FakeClock) -> None:
    """What is set, snoozed, cancelled, over, or lost its alarm to an operator looks different, and can be filtered."""
    soon = alarm_clock.now() + HOUR
    for name in ("a-set", "b-snoozed", "c-cancelled", "d-over", "e-stopped"):
        Reminder.objects.get_by_name(name).set_reminder(f"m of {name}", soon, person="ada", recurrence="FREQ=YEARLY")
    Reminder.objects.get_by_name("b-snoozed").snooze(HOUR)
    Reminder.objects.get_by_name("c-cancelled").cancel()
    Reminder.objects.get_by_name("d-over").edit_reminder(recurrence="FREQ=YEARLY;COUNT=1")
    Reminder.objects.get_by_name("d-over").skip()
    actions.cancel(Reminder.objects.get_by_name("e-stopped"))
    text = text_of(admin_client, list_url(Reminder))
    for name, state in (("a", "set in 1h"), ("b", "snoozed in 2h"), ("c", "cancelled -"), ("d", "over -")):
        assert f"-{state.split()[0]} {state}" in text, name
    assert "e-stopped stopped in 1h" in text
    assert "b-snoozed" in text_of(admin_client, f"{list_url(Reminder)}?plan=snoozed")
    cancelled = text_of(admin_client, f"{list_url(Reminder)}?plan=cancelled&q=ada")
    assert ("c-cancelled" in cancelled, "a-set" in cancelled) == (True, False)
    page = text_of(admin_client, page_url(Reminder, Reminder.objects.get(name="c-cancelled").pk))
    assert "cancelled Nothing will be delivered. Saving sets it again." in page
    assert "Snooze: 1 hour" not in page


def test_verbs(admin_client: Client, alarm_clock: FakeClock, sent: Sent) -> None:
    """Snooze, skip, test-send and cancel from the list, each by the reminder's own method and in the log."""
    start = alarm_clock.now() + HOUR
    reminder = Reminder.objects.get_by_name("tea")
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY")
    (problem,) = confirm(admin_client, Reminder, "snooze_20-minutes", [reminder.pk])
    assert problem.startswith("Snooze: 20 minutes: tea (from ")
    assert reminder.storage.get_alarm() == start + timedelta(minutes=20)
    confirm(admin_client, Reminder, "skip", [reminder.pk])
    assert reminder.storage.get_alarm() == start + timedelta(days=1)
    confirm(admin_client, Reminder, "test_send", [reminder.pk])
    assert ([message.text for message in sent], Delivery.objects.exists()) == (["[Test] tea"], False)

    def fail(message: object) -> None:
        raise OSError("line is dead")

    sent.act = fail
    assert "line is dead" in confirm(admin_client, Reminder, "test_send", [reminder.pk])[0]
    confirm(admin_client, Reminder, "cancel_reminders", [reminder.pk])
    assert (reminder.get_reminder(), LogEntry.objects.count()) == (None, 4)


def test_who_may_only_look(alarm_clock: FakeClock) -> None:
    """A user with the view permission sees what is set, and neither form nor verbs."""
    reminder = Reminder.objects.get_by_name("tea")
    reminder.set_reminder("<b>tea</b>", alarm_clock.now() + HOUR, person="ada")
    looker = staff(["reminders.view_reminder"])
    text = text_of(looker, page_url(Reminder, reminder.pk))
    assert "Message: <b>tea</b> Person: ada" in text
    assert "Snooze" not in text
    assert looker.post(page_url(Reminder, reminder.pk), FORM).status_code == 403
    assert looker.get(reverse(ADD)).status_code == 403


def test_a_recipient_and_its_secret(admin_client: Client) -> None:
    """Zone and hours are checked; the webhook's secret is never shown, and kept when its field is left empty."""
    add = reverse("admin:reminders_recipient_add")
    wrong = {"name": "ada", "time_zone": "Mars", "quiet_hours": "late"}
    page = admin_client.post(add, wrong).content.decode()
    assert "time_zone is" in page
    assert "quiet_hours is" in page
    good = {"name": "ada", "time_zone": "Asia/Tokyo", "quiet_hours": "22:00-07:00", "webhook_secret": SECRET}
    assert admin_client.post(add, good).status_code == 302
    row = Recipient.objects.get()
    body = admin_client.get(page_url(Recipient, row.pk)).content.decode()
    assert "c2VjcmV0" not in body
    assert "/remind/calendar/" in body
    admin_client.post(page_url(Recipient, row.pk), {"time_zone": "UTC", "quiet_hours": ""})
    row.refresh_from_db()
    assert (row.time_zone, row.webhook_secret, row.name) == ("UTC", SECRET, "ada")


def test_a_delivery(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Each delivery is listed with its key, channel and outcome, found by the reminder's name, and on its page."""
    reminder = Reminder.objects.get_by_name("once")
    reminder.set_reminder("Now!", alarm_clock.now())
    run_due_alarms(raise_errors=True)
    delivery = Delivery.objects.get()
    listed = text_of(admin_client, f"{list_url(Delivery)}?q=on")
    assert f"{str(delivery.key)[:8]} delivered" in listed
    assert "delivered" in listed
    assert "0 deliveries" in text_of(admin_client, f"{list_url(Delivery)}?q=twice")
    assert "Now!" in text_of(admin_client, page_url(Delivery, delivery.pk))
    assert admin_client.post(page_url(Delivery, delivery.pk), {"message": "x"}).status_code == 403
    page = text_of(admin_client, page_url(Reminder, reminder.pk))
    assert "over Nothing more is planned: Deliveries show what became of the last one." in page
    assert str(delivery.key) in page
    assert outcomes(alarm_clock) == []


def test_a_snooze_says_from_when_to_when(admin_client: Client) -> None:
    """Question, answer and log name both times, by the reminder's clock: a day later is counted from its own time."""
    other = Reminder.objects.get_by_name("other")
    reminder = Reminder.objects.get_by_name("backup")
    berlin = ZoneInfo("Europe/Berlin")
    with FakeClock(datetime(2030, 3, 27, tzinfo=UTC)) as clock:
        # A Saturday, the day before the clocks are put forward: a day later is 23 hours later.
        reminder.set_reminder("tea", datetime(2030, 3, 30, 5, 55, tzinfo=berlin), time_zone="Europe/Berlin")
        other.set_reminder("cake", clock.now() + HOUR)
        data = {"action": "snooze_tomorrow", "_selected_action": [reminder.pk, other.pk]}
        question = unescape(admin_client.post(list_url(Reminder), data).content.decode())
        shown = "rom Sat 30 Mar 2030, 05:55 to Sun 31 Mar 2030, 05:55 (Europe/Berlin)"
        assert f"F{shown}." in question
        assert "From Wed 27 Mar 2030, 01:00 to Thu 28 Mar 2030, 01:00 (UTC)." in question
        assert "1 day later" in question
        assert "tomorrow</" not in question
        assert confirm(admin_client, Reminder, "snooze_tomorrow", [reminder.pk]) == [
            f"Snooze: 1 day later: backup (f{shown})."
        ]
        assert reminder.storage.get_alarm() == datetime(2030, 3, 31, 5, 55, tzinfo=berlin)
        entry = LogEntry.objects.get()
        assert entry.get_change_message() == f"Snooze: 1 day later: f{shown}."
        clock.advance(HOUR * 2)  # overdue: counted from now
        assert confirm(admin_client, Reminder, "snooze_hour", [other.pk]) == [
            "Snooze: 1 hour: other (from Wed 27 Mar 2030, 01:00 to Wed 27 Mar 2030, 03:00 (UTC))."
        ]
