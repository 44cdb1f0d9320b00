"""Reminders in admin: week days as boxes, what comes next, the list by next, the message and a delivery again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from durable_objects.testing import FakeClock, run_due_alarms
from reminders import repeats
from reminders.channels import Message, Refused
from reminders.models import Delivery, Recipient, Reminder
from tests.support.admin_pages import choose, confirm, form_of, list_url, page_url, staff, text_of
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ADD = "admin:reminders_reminder_add"
FORM = {
    "name": "standup", "message": "Stand up!", "local_time": "2030-04-01T09:00", "time_zone": "Europe/Berlin",
    "repeats": "FREQ=WEEKLY", "channels": ["log"], "_save": "Save",
}  # fmt: skip


def test_week_days_write_the_rule(admin_client: Client) -> None:
    """Boxes make a weekly rule on those days; the page shows them ticked again, and unticking one changes the rule."""
    assert admin_client.post(reverse(ADD), {**FORM, "week_days": ["TH", "MO"]}).status_code == 302
    reminder = Reminder.objects.get()
    state = reminder.get_reminder()
    assert state is not None
    assert state["recurrence"] == "FREQ=WEEKLY;BYDAY=MO,TH"
    form = form_of(admin_client, page_url(Reminder, reminder.pk))
    assert (form["repeats"], form["week_days"]) == (["FREQ=WEEKLY"], ["MO", "TH"])
    assert "Every Mon, Thu" in text_of(admin_client, list_url(Reminder))
    admin_client.post(page_url(Reminder, reminder.pk), {**form, "week_days": ["TH"], "_save": "Save"})
    assert (reminder.get_reminder() or {})["recurrence"] == "FREQ=WEEKLY;BYDAY=TH"


def test_week_days_beside_another_choice_are_refused(admin_client: Client) -> None:
    """They would be ignored without a word: the field says so, and nothing is made."""
    page = admin_client.post(reverse(ADD), {**FORM, "repeats": "FREQ=DAILY", "week_days": ["MO"]})
    assert page.context["adminform"].form.errors == {
        "week_days": ["“Every day” does not use week days. Choose “Every week”, or untick them."]
    }
    assert not Reminder.objects.exists()


@pytest.mark.parametrize(
    ("rule", "choice", "text"),
    [
        (None, ("", []), ""),
        ("FREQ=WEEKLY", ("FREQ=WEEKLY", []), "Every week"),
        ("FREQ=WEEKLY;BYDAY=SA,SU", ("FREQ=WEEKLY", ["SA", "SU"]), "Every Sat, Sun"),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", []), "Every weekday"),
        ("FREQ=WEEKLY;BYDAY=1MO", ("custom", []), "FREQ=WEEKLY;BYDAY=1MO"),
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", ("custom", []), "FREQ=WEEKLY;BYDAY=MO;COUNT=3"),
    ],
)
def test_a_rule_is_shown_by_the_choice_that_makes_it(
    rule: str | None, choice: tuple[str, list[str]], text: str
) -> None:
    """Only a rule that the boxes would write is shown as boxes; any other stays as it was typed."""
    assert (repeats.choice_of(rule), repeats.describe(rule)) == (choice, text)


def test_the_list_has_what_comes_next_first(admin_client: Client, alarm_clock: FakeClock) -> None:
    """By its next delivery, a snoozed one by when it was put off to; those that are over come last."""
    for name, hours in (("a", 3), ("b", 1), ("c", 2), ("d", 4)):
        Reminder.objects.get_by_name(name).set_reminder("m", alarm_clock.now() + hours * HOUR)
    Reminder.objects.get_by_name("b").snooze(5 * HOUR)
    Reminder.objects.get_by_name("d").cancel()
    rows = admin_client.get(list_url(Reminder)).context["cl"].result_list
    assert [row.name for row in rows] == ["c", "a", "b", "d"]


def test_a_snoozed_one_is_among_what_comes(admin_client: Client) -> None:
    """The page lists the delivery that was put off, from when, and then the rest of the series."""
    with FakeClock(datetime(2030, 4, 1, 6, tzinfo=UTC)):
        reminder = Reminder.objects.get_by_name("tea")
        at = datetime(2030, 4, 1, 9, tzinfo=UTC)
        reminder.set_reminder("tea", at, recurrence="FREQ=DAILY")
        reminder.snooze(2 * HOUR)
        text = text_of(admin_client, page_url(Reminder, reminder.pk))
        snoozed = text.index("Mon 1 Apr 2030, 11:00 UTC Snoozed: it was to come Mon 01 Apr, 09:00.")
        assert snoozed < text.index("Tue 2 Apr 2030, 09:00")


def test_a_person_elsewhere_has_another_time(admin_client: Client, alarm_clock: FakeClock) -> None:
    """What comes next says which time that is for the person, where their clock shows another."""
    Recipient.objects.create(name="ada", time_zone="Asia/Tokyo")
    page = admin_client.post(reverse(ADD), {**FORM, "person": "ada", "_preview": "Preview"}).content.decode()
    assert "= Mon 16:00 for ada (Asia/Tokyo)" in page
    Recipient.objects.update(time_zone="Europe/Paris")
    assert (
        "for ada (" not in admin_client.post(reverse(ADD), {**FORM, "person": "ada", "_preview": "x"}).content.decode()
    )


def test_the_message_is_seen_before(admin_client: Client, alarm_clock: FakeClock, sent: Sent) -> None:
    """The preview and each question before a delivery show subject and text; nothing is sent by looking."""
    page = admin_client.post(reverse(ADD), {**FORM, "message": "Up!\nAll of you.", "_preview": "Preview"})
    assert '<p class="do-subject">Subject: Up!</p>' in page.content.decode()
    reminder = Reminder.objects.get_by_name("tea")
    reminder.set_reminder("Drink\ntea", alarm_clock.now() + HOUR, channels=["log"])
    for verb in ("deliver_now", "test_send"):
        question = choose(admin_client, Reminder, verb, [reminder.pk]).content.decode()
        assert "By: log\nSubject: Drink\n\nDrink\ntea" in question
    assert sent == []


def test_there_is_one_save_button(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The form is saved beside its preview, and nowhere else; who may only look gets neither."""
    reminder = Reminder.objects.get_by_name("tea")
    reminder.set_reminder("tea", alarm_clock.now() + HOUR)
    for url in (reverse(ADD), page_url(Reminder, reminder.pk)):
        assert admin_client.get(url).content.decode().count('name="_save"') == 1
    page = staff(["reminders.view_reminder"]).get(page_url(Reminder, reminder.pk)).content.decode()
    assert ('name="_save"' in page, 'name="_preview"' in page) == (False, False)


@pytest.mark.parametrize("refusal", [OSError("line is dead"), Refused("no such number")])
def test_a_delivery_is_tried_again(
    admin_client: Client, alarm_clock: FakeClock, sent: Sent, refusal: Exception
) -> None:
    """One that failed or was refused goes again under its key by the same way, and its record says what came of it."""

    def fail(message: Message) -> None:
        raise refusal

    sent.act = fail
    reminder = Reminder.objects.get_by_name("tea")
    reminder.set_reminder("tea", alarm_clock.now(), channels=["log"])
    run_due_alarms()
    row = Delivery.objects.get()
    assert str(refusal) in confirm(admin_client, Delivery, "try_again", [row.pk])[0]
    sent.act = None
    page = text_of(admin_client, page_url(Delivery, row.pk))
    assert "Try again…" in page
    assert confirm(admin_client, Delivery, "try_again", [row.pk]) == ["Delivered: tea (by log)."]
    row.refresh_from_db()
    assert (row.status, row.attempts, sent[-1].key, sent[-1].text) == ("delivered", 3, str(row.key), "tea")
    assert "is delivered. Allowed: a delivery that failed" in confirm(admin_client, Delivery, "try_again", [row.pk])[0]
    assert len(sent) == 3
    assert LogEntry.objects.get().get_change_message().startswith("Delivered: by log (delivery ")
    assert "Try again…" not in text_of(admin_client, page_url(Delivery, row.pk))


def test_who_may_not_deliver_again(alarm_clock: FakeClock, sent: Sent) -> None:
    """It takes the permission to change reminders; the page leads to the reminder for whoever sees it."""
    reminder = Reminder.objects.get_by_name("tea")
    reminder.save()
    row = Delivery.objects.create(
        reminder_id=reminder.pk, key="b6a0c0de-0000-4000-8000-000000000000", channel="log", message="tea",
        planned_at=alarm_clock.now(), status="failed",
    )  # fmt: skip
    looker = staff(["reminders.view_delivery"])
    page: Any = looker.get(page_url(Delivery, row.pk)).content.decode()
    assert f'href="{page_url(Reminder, reminder.pk)}"' in page
    assert "Try again" not in page
    choose(looker, Delivery, "try_again", [row.pk], confirmed="yes")
    assert sent == []
