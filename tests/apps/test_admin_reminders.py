"""Reminders and their deliveries in admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from durable_objects.testing import FakeClock, run_due_alarms
from reminders.models import Delivery, Reminder
from tests.admin_pages import list_url, page_url, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


def test_a_reminder(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The page tells message, next delivery, series and channels; of one that is not set it says so."""
    reminder = Reminder.objects.get_by_name("standup")
    reminder.set_reminder(
        "<b>Up!</b>", alarm_clock.now() + timedelta(hours=2), recurrence="FREQ=DAILY;COUNT=5", time_zone="Europe/Berlin"
    )
    text = text_of(admin_client, page_url(Reminder, reminder.pk))
    assert "Message: <b>Up!</b> Next delivery: " in text
    assert "Recurrence: FREQ=DAILY;COUNT=5 (Europe/Berlin) Channels: log" in text
    assert "standup armed in 2 h" in text_of(admin_client, list_url(Reminder))
    reminder.cancel()
    assert "Message: - Next delivery: - Recurrence: - Channels: -" in text_of(
        admin_client, page_url(Reminder, reminder.pk)
    )


def test_a_delivery(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Each delivery is listed with its key, channel and outcome, and can be found by the reminder's name."""
    Reminder.objects.get_by_name("once").set_reminder("Now!", alarm_clock.now())
    run_due_alarms(raise_errors=True)
    delivery = Delivery.objects.get()
    listed = text_of(admin_client, f"{list_url(Delivery)}?q=on")
    assert f"{delivery.key} once log" in listed
    assert "delivered" in listed
    assert "0 deliveries" in text_of(admin_client, f"{list_url(Delivery)}?q=twice")
    assert "Now!" in text_of(admin_client, page_url(Delivery, delivery.pk))
    assert admin_client.post(page_url(Delivery, delivery.pk), {"message": "x"}).status_code == 403
