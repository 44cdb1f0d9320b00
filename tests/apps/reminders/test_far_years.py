"""The first and the last years that there are, wherever reminders and cleaners take a time: an answer in words."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from icalendar import Calendar
from ninja.testing import TestClient

from cleaner.models import PeriodicCleaner
from durable_objects import InvalidAlarmTime, InvalidInput
from durable_objects.testing import FakeClock
from reminders import links
from reminders.api import router
from reminders.models import Recipient, Reminder
from tests.support.admin_pages import confirm, list_url, page_url, text_of
from tests.support.passing_time import follow
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

ZONES = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York"]
DAY = timedelta(days=1)
#: The last moment that a reminder is taken for.
LAST = datetime(9990, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00-12:00", "1969-12-31T23:59:59Z",
     "9991-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59+14:00"],
)  # fmt: skip
def test_a_start_that_is_too_far_is_refused(moment: str, zone: str) -> None:
    """Over HTTP, with and without a rule, and by the command: InvalidAlarmTime, and nothing is made."""
    for rule in (None, "FREQ=DAILY", "FREQ=YEARLY;COUNT=3"):
        body = {"message": "tea", "fire_at": moment, "time_zone": zone, "recurrence": rule}
        with pytest.raises(InvalidAlarmTime):
            TestClient(router).put("/tea", json=body)
    for more in ([], ["--dry-run"]):
        with pytest.raises(CommandError, match=r"alarm time|fire_at is"):
            call_command("reminders", "set", "tea", "tea", moment, "--zone", zone, *more, stdout=io.StringIO())
    assert not Reminder.objects.exists()


@pytest.mark.parametrize(
    "zone",
    [pytest.param(zone, marks=[] if "Pacific" in zone else pytest.mark.slow) for zone in ZONES],
)
@pytest.mark.parametrize("local", ["0001-01-01T00:00", "9999-12-31T23:59", "9991-01-02T00:00", "0000-01-01T00:00"])
@pytest.mark.parametrize("button", ["_save", "_preview"])
def test_the_form_says_so(admin_client: Client, local: str, zone: str, button: str) -> None:
    """Beside the field, and for the preview as well."""
    form = {
        "name": "tea", "message": "tea", "local_time": local, "time_zone": zone, "repeats": "FREQ=DAILY",
        "channels": ["log"], button: "yes",
    }  # fmt: skip
    page = admin_client.post(reverse("admin:reminders_reminder_add"), form)
    assert page.status_code == 200
    assert "errorlist" in page.content.decode()


@pytest.mark.parametrize(
    "rule",
    ["FREQ=DAILY;COUNT=2\nEXDATE:{}", "FREQ=DAILY;COUNT=2\nEXDATE;TZID=Pacific/Kiritimati:{}",
     "FREQ=DAILY;COUNT=2\nEXDATE;TZID=Pacific/Pago_Pago:{}", "FREQ=DAILY;COUNT=2\nEXDATE:{}Z"],
)  # fmt: skip
@pytest.mark.parametrize("year", ["0001", "9999", "9990", "1900"])
def test_times_left_out_that_are_never_there(reminder: Reminder, client: Client, rule: str, year: str) -> None:
    """They leave nothing out, and the reminder, its page in the feed included, is as it would be without them."""
    ada = Recipient.objects.create(name="ada", time_zone="Pacific/Pago_Pago")
    for end in ("0101T000000", "1231T235959"):
        reminder.set_reminder("tea", datetime(2030, 1, 1, tzinfo=UTC), recurrence=rule.format(year + end), person="ada")
        plan = reminder.plan()
        assert plan is not None
        assert len(list(plan.series.places())) == 2
        assert len(Calendar.from_ical(client.get(links.feed_url(ada)).content).walk("VEVENT")) == 1


@pytest.mark.parametrize("until", ["00010101T000000Z", "99991231T235959Z"])
def test_ends_that_are_far_away(reminder: Reminder, until: str) -> None:
    """UNTIL before there is anything is a rule without a time; the last second that there is ends nothing."""
    start = datetime(2030, 1, 1, tzinfo=UTC)
    rule = f"FREQ=YEARLY;UNTIL={until}"
    if until.startswith("0"):
        with pytest.raises(InvalidInput, match="which never occurs"):
            reminder.set_reminder("tea", start, recurrence=rule)
    else:
        assert reminder.set_reminder("tea", start, recurrence=rule) == start


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("rule", [None, "FREQ=DAILY", "FREQ=HOURLY"])
def test_the_last_moment_that_is_taken(
    reminder: Reminder, admin_client: Client, sent: Sent, zone: str, rule: str | None
) -> None:
    """Pages, feed and commands show it, a snooze ends in words, it is delivered, and then the series is over."""
    ada = Recipient.objects.create(name="ada", time_zone=zone, quiet_hours="22:00-07:00")
    start = LAST - timedelta(hours=16)
    with FakeClock(start - DAY) as clock:
        reminder.set_reminder("tea", start, recurrence=rule, time_zone=zone, person="ada", urgent=True)
        assert text_of(admin_client, list_url(Reminder))
        assert "tea" in text_of(admin_client, page_url(Reminder, reminder.pk))
        assert admin_client.get(links.feed_url(ada)).status_code == 200
        call_command("reminders", "show", "tea", stdout=io.StringIO())
        with pytest.raises(InvalidInput, match="the year 9990"):
            reminder.snooze(DAY * 3650)
        assert "9990" in " ".join(confirm(admin_client, Reminder, "snooze_next-week", [reminder.pk]))
        assert reminder.recompute() is None
        follow(clock, reminder, LAST + DAY * 2)
        assert reminder.get_reminder() is None
    assert sent[0].planned_at == start


# -- cleaners


OLD_AND_FAR: dict[str, Any] = {
    "first": {"timestamp": datetime(1, 1, 1, tzinfo=UTC)},
    "first in the east": {"timestamp": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
    "first in the west": {"timestamp": datetime(1, 1, 1, tzinfo=ZoneInfo("America/New_York"))},
    "first, naive": {"timestamp": datetime(1, 1, 1)},  # noqa: DTZ001  taken as UTC
    "first, a number": {"timestamp": -62135596800000},
    "before the first": {"timestamp": -62135596800001},
}
LEFT_AND_FAR: dict[str, Any] = {
    "last": {"timestamp": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
    "last in the east": {"timestamp": datetime(9999, 12, 31, 23, tzinfo=ZoneInfo("Asia/Tokyo"))},
    "last in the west": {"timestamp": datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=12)))},
    "last, naive": {"timestamp": datetime(9999, 12, 31, 23, 59, 59)},  # noqa: DTZ001  taken as UTC
    "after the last": {"timestamp": 253402300800000},
}


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_entries_of_the_first_and_the_last_year(
    admin_client: Client, alarm_clock: FakeClock, settings: Any, zone: str
) -> None:
    """What is too old goes, what lies ahead stays, and list, page, command and report say when the oldest left is."""
    settings.TIME_ZONE = zone
    cleaner = PeriodicCleaner.objects.get_by_name("cache")
    for left in ({name: value} for name, value in LEFT_AND_FAR.items()):
        cleaner.storage.put_many(OLD_AND_FAR | left)
        assert cleaner.cleanup() == len(OLD_AND_FAR)
        assert list(cleaner.storage.list()) == list(left)
        assert text_of(admin_client, list_url(PeriodicCleaner))
        assert "Oldest left" in text_of(admin_client, page_url(PeriodicCleaner, cleaner.pk))
        for verb in ("show", "run"):
            call_command("cleaner", verb, "cache", "--json", stdout=io.StringIO())
            call_command("cleaner", verb, "cache", stdout=io.StringIO())
        cleaner.storage.delete_many(list(left))


@pytest.mark.parametrize("zone", ZONES)
def test_rows_of_the_first_and_the_last_year(
    admin_client: Client, alarm_clock: FakeClock, settings: Any, zone: str
) -> None:
    """Likewise where a model's rows are cleaned."""
    settings.TIME_ZONE = zone
    settings.CLEANER = {"MODELS": {"sessions.Session": "expire_date"}}
    cleaner = PeriodicCleaner.objects.get_by_name("rows")
    cleaner.configure(model="sessions.session")
    Session.objects.create(session_key="old", session_data="", expire_date=datetime(1, 1, 1, tzinfo=UTC))
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    Session.objects.create(session_key="far", session_data="", expire_date=last)
    Session.objects.filter(expire_date__lt=last, expire_date__gt=datetime(2, 1, 1, tzinfo=UTC)).delete()
    assert cleaner.cleanup() == 1
    report = cleaner.last_report()
    assert report is not None
    assert report["oldest_left"] == last
    page = admin_client.get(page_url(PeriodicCleaner, cleaner.pk))
    assert page.status_code in {200, 302}  # its own session was old, too
