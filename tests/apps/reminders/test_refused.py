"""A delivery that was given up is visible to operators: to the doctor, on the terminal, in admin."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from durable_objects import doctor
from durable_objects.doctor import Finding
from durable_objects.testing import FakeClock
from reminders.models import Delivery, Reminder
from tests.support.admin_pages import page_url, text_of
from tests.support.passing_time import outcomes
from tests.support.upstream import Upstream

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]


def findings(clock: FakeClock) -> list[Finding]:
    """What the doctor reports of deliveries."""
    return [each for each in doctor.examine(clock.now()) if each.code == "reminders.given_up"]


def shown() -> str:
    """What ``reminders show tea`` prints."""
    out = io.StringIO()
    call_command("reminders", "show", "tea", stdout=out)
    return out.getvalue()


@pytest.fixture
def tea() -> Reminder:
    reminder: Reminder = Reminder.objects.get_by_name("tea")
    return reminder


def test_a_refusal_is_reported(
    tea: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any, admin_client: Client
) -> None:
    """A 422 ends a delivery for good and raises no alarm's error: the doctor, ``show`` and the page say so."""
    settings.REMINDERS = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": SECRET}
    upstream.script(422)
    tea.set_reminder("drink", alarm_clock.now(), channels=["webhook"])
    assert (findings(alarm_clock), outcomes(alarm_clock)) == ([], ["succeeded"])
    (finding,) = findings(alarm_clock)
    assert not finding.is_trouble
    assert '1 refused, 0 failed, the newest of "tea" by webhook' in finding.text
    assert "reminders show" in finding.advice
    assert "status=refused" in shown()
    assert "the receiver answered 422" in shown()
    assert "the receiver answered 422" in text_of(admin_client, page_url(Reminder, tea.pk))


def test_no_address_is_reported(tea: Reminder, alarm_clock: FakeClock) -> None:
    """Nor is one without any address forgotten, for a week."""
    tea.set_reminder("drink", alarm_clock.now(), channels=["email"], person="ada")
    outcomes(alarm_clock)
    assert "no e-mail address for person 'ada'" in shown()
    assert "by email" in findings(alarm_clock)[0].text
    alarm_clock.advance(timedelta(days=8))
    assert findings(alarm_clock) == []


def test_a_series_that_went_on_is_reported(
    tea: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any
) -> None:
    """One that failed at each retry, while the series goes on, is counted once it is given up, and not before."""
    settings.REMINDERS = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": SECRET}
    upstream.script(*[503] * 7)
    tea.set_reminder("drink", alarm_clock.now(), recurrence="FREQ=DAILY", channels=["webhook"])
    outcomes(alarm_clock)
    assert (Delivery.objects.get().status, findings(alarm_clock)) == ("failed", [])
    retries = [outcomes(alarm_clock, timedelta(minutes=2)) for _ in range(6)]
    assert retries[-1] == ["dead"]
    assert "0 refused, 1 failed" in findings(alarm_clock)[0].text
