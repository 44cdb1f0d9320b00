"""Links in a message that act, and the calendar feed: by signature, without a login."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from django.core import signing
from django.test import Client
from icalendar import Calendar

from durable_objects import now
from durable_objects.testing import FakeClock
from reminders import links
from reminders.models import Recipient, Reminder
from reminders.tables import Plan
from tests.support.passing_time import outcomes
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SITE = "https://remind.example.org"


@pytest.fixture(autouse=True)
def public(settings: Any) -> None:
    """The site has an address, and takes requests for it."""
    settings.REMINDERS = {"PUBLIC_URL": SITE}


def plan_of(reminder: Reminder) -> Plan:
    plan = reminder.plan()
    assert plan is not None
    return plan


def path(address: str) -> str:
    assert address.startswith(SITE)
    return address.removeprefix(SITE)


def test_a_message_has_links_that_ask_first(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent, client: Client
) -> None:
    """GET changes nothing, however often a mail scanner asks; POST snoozes what was delivered, and it comes again."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("<b>tea</b>", start)
    outcomes(alarm_clock, HOUR)
    snooze = path(sent[0].links["snooze"])
    for _ in range(3):
        page = client.get(snooze)
        assert (page.status_code, "&lt;b&gt;tea" in page.content.decode()) == (200, True)
    assert reminder.get_reminder() is None
    assert "Snoozed until " in client.post(snooze, {"by": "hour"}).content.decode()
    assert reminder.storage.get_alarm() == start + HOUR
    outcomes(alarm_clock, HOUR)
    assert len({message.key for message in sent}) == 2
    assert "no-store" in client.get(snooze)["Cache-Control"]


def test_a_snooze_by_a_link_says_from_when_to_when(reminder: Reminder, sent: Sent, client: Client) -> None:
    """Each button names the time at which it would come again, in the reminder's zone; so does the answer."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2030, 3, 30, 9, tzinfo=berlin)
    with FakeClock(start - HOUR) as clock:
        reminder.set_reminder("tea", start, time_zone="Europe/Berlin")
        outcomes(clock, HOUR)
        clock.advance(HOUR)
        address = path(sent[0].links["snooze"])
        page = client.get(address).content.decode()
        assert "Planned for Saturday, 30 March 2030, 09:00 (Europe/Berlin)." in page
        assert "20 minutes: Saturday, 30 March 2030, 10:20 (Europe/Berlin)" in page
        assert "1 day later: Sunday, 31 March 2030, 10:00 (Europe/Berlin)" in page
        assert "1 week later: Saturday, 06 April 2030, 10:00 (Europe/Berlin)" in page
        page = client.post(address, {"by": "tomorrow"}).content.decode()
        assert "Snoozed until Sunday, 31 March 2030, 10:00 (Europe/Berlin)." in page
        assert "It was planned for Saturday, 30 March 2030, 09:00 (Europe/Berlin)." in page
        assert reminder.storage.get_alarm() == datetime(2030, 3, 31, 10, tzinfo=berlin)


def test_done_and_cancel(reminder: Reminder, alarm_clock: FakeClock, sent: Sent, client: Client) -> None:
    """The link "done" ends what is tried or snoozed, once, and leaves the series; "cancel" ends that."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY")
    outcomes(alarm_clock, HOUR)
    addresses = {verb: path(address) for verb, address in sent[0].links.items()}
    client.post(addresses["snooze"], {"by": "20-minutes"})
    for _ in range(2):
        assert "Done. The next one comes on" in client.post(addresses["done"]).content.decode()
        assert reminder.storage.get_alarm() == start + DAY
    assert "Cancelled" in client.post(addresses["cancel"]).content.decode()
    assert "was over or cancelled already" in client.post(addresses["cancel"]).content.decode()
    assert client.post(addresses["snooze"]).status_code == 409
    assert reminder.get_reminder() is None


def test_what_is_no_link_of_ours(reminder: Reminder, client: Client, settings: Any) -> None:
    """A changed, expired or outlived address, one for another verb than there is, or a feed's, changes nothing."""
    reminder.set_reminder("tea", datetime(2030, 1, 1, tzinfo=UTC))
    good = path(links.for_message(plan_of(reminder))["cancel"])
    feed = links.feed_url(Recipient.objects.create(name="ada")).rpartition("/")[2].removesuffix(".ics")
    assert client.post(good[:-3] + "abc").status_code == 400
    assert client.post(f"/remind/cancel/{feed}").status_code == 400
    assert client.post(good.replace("/cancel/", "/explode/")).status_code == 404
    settings.REMINDERS = {"PUBLIC_URL": SITE, "LINKS_FOR": timedelta(0)}
    assert client.post(good).status_code == 410
    settings.REMINDERS = {"PUBLIC_URL": SITE}
    assert reminder.get_reminder() is not None
    reminder.set_reminder("again", datetime(2030, 1, 1, tzinfo=UTC))
    assert client.post(good).status_code == 409
    assert reminder.get_reminder() is not None


def test_a_link_is_good_for_its_person_only(reminder: Reminder, client: Client) -> None:
    """Once a reminder is for somebody else, a link of before shows nothing of it and does nothing, and says so."""
    reminder.set_reminder("ada's tea", datetime(2030, 1, 1, tzinfo=UTC), person="ada", recurrence="FREQ=DAILY")
    old = links.token_for(plan_of(reminder))
    assert client.get(f"/remind/cancel/{old}").status_code == 200
    reminder.edit_reminder(person="bob", message="bob's secret note")
    for verb in links.VERBS:
        for answer in (client.get(f"/remind/{verb}/{old}"), client.post(f"/remind/{verb}/{old}")):
            assert answer.status_code == 409
            assert "This reminder is for somebody else now." in answer.content.decode()
            assert "secret" not in answer.content.decode()
    assert reminder.get_reminder() is not None
    assert client.post(f"/remind/cancel/{links.token_for(plan_of(reminder))}").status_code == 200


def test_a_link_that_names_no_person(reminder: Reminder, client: Client) -> None:
    """One of an earlier version is good as long as nothing was changed since the reminder was set, then not any more:
    whose it was cannot be known.
    """
    reminder.set_reminder("tea", datetime(2030, 1, 1, tzinfo=UTC), person="ada")
    plan = plan_of(reminder)
    content = [plan.pk, str(plan.series_id), plan.occurrence.isoformat(), plan.number, plan.wall_time]
    address = f"/remind/cancel/{signing.dumps(content, salt=links.SALT, compress=True)}"
    assert client.get(address).status_code == 200
    reminder.edit_reminder(person="bob", message="bob's secret note")
    answer = client.post(address)
    assert answer.status_code == 410
    assert "This link was made by an earlier version" in answer.content.decode()
    assert reminder.get_reminder() is not None


def test_without_an_address_there_are_no_links(reminder: Reminder, settings: Any) -> None:
    """A project that does not say where it is sends messages without links."""
    settings.REMINDERS = {}
    reminder.set_reminder("tea", datetime(2030, 1, 1, tzinfo=UTC))
    assert links.for_message(plan_of(reminder)) == {}


def test_the_calendar_of_a_person(client: Client) -> None:
    """A calendar with rule, EXDATE and zone of each of the person's reminders, and nobody else's."""
    ada = Recipient.objects.create(name="ada", time_zone="Europe/Berlin")
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2030, 3, 29, 9, tzinfo=berlin)
    rule = "FREQ=DAILY;COUNT=5;BYDAY=MO,FR\nEXDATE:20300401T090000\nEXDATE:20300405T070000Z"
    Reminder.objects.get_by_name("series").set_reminder("Stand up!\nNow", start, recurrence=rule, person="ada")
    Reminder.objects.get_by_name("once").set_reminder("Tea", start + HOUR, person="ada", time_zone="Asia/Tokyo")
    Reminder.objects.get_by_name("gone").set_reminder("Cake", start, person="ada")
    Reminder.objects.get_by_name("gone").cancel()
    Reminder.objects.get_by_name("bob's").set_reminder("Secret", start, person="bob")
    answer = client.get(links.feed_url(ada))
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    events = {str(event["summary"]): event for event in Calendar.from_ical(answer.content).walk("VEVENT")}
    assert set(events) == {"Stand up!", "Tea"}
    series = events["Stand up!"]
    assert series.decoded("dtstart") == start
    assert series["dtstart"].params["TZID"] == "Europe/Berlin"
    assert series["rrule"].to_ical() == b"FREQ=DAILY;COUNT=5;BYDAY=MO,FR"
    left_out: Any = series["exdate"]
    assert [each.dt for each in left_out.dts] == [
        datetime(2030, 4, 1, 9, tzinfo=berlin), datetime(2030, 4, 5, 9, tzinfo=berlin)
    ]  # fmt: skip
    assert events["Tea"]["dtstart"].params["TZID"] == "Asia/Tokyo"
    assert b"BEGIN:VTIMEZONE" in answer.content


@pytest.mark.parametrize(
    ("rule", "first"),
    [("FREQ=WEEKLY;BYDAY=MO;COUNT=3", 1), ("FREQ=DAILY;COUNT=2;BYDAY=MO\nEXDATE:20300401T090000", 8)],
)
def test_a_series_in_a_calendar_begins_with_a_time_of_its_own(client: Client, rule: str, first: int) -> None:
    """DTSTART is the first time that comes, not one that is left out: readers have the times that we have."""
    ada = Recipient.objects.create(name="ada", time_zone="Europe/Berlin")
    friday = datetime(2030, 3, 29, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    Reminder.objects.get_by_name("series").set_reminder("Stand up", friday, recurrence=rule, person="ada")
    (event,) = Calendar.from_ical(client.get(links.feed_url(ada)).content).walk("VEVENT")
    rule_there: Any = event["rrule"]
    read = rrulestr(rule_there.to_ical().decode(), dtstart=event.decoded("dtstart"))
    exdate: Any = event.get("exdate")
    left_out = {each.dt for each in exdate.dts} if exdate else set()
    assert event.decoded("dtstart") == datetime(2030, 4, first, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert [at for at in read if at not in left_out] == [place.at for place in Plan.objects.get().series.places()]


def test_one_bad_reminder_does_not_end_a_calendar(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A reminder whose rule is none any more is left out and logged; the person's others are there."""
    ada = Recipient.objects.create(name="ada")
    for name in ("good", "bad"):
        Reminder.objects.get_by_name(name).set_reminder(name, now() + HOUR, recurrence="FREQ=DAILY", person="ada")
    Plan.objects.filter(message="bad").update(recurrence="FREQ=DAILY;COUNT=99999999999999999999")
    answer = client.get(links.feed_url(ada))
    assert [str(event["summary"]) for event in Calendar.from_ical(answer.content).walk("VEVENT")] == ["good"]
    assert "reminder 'bad' is left out of the calendar" in caplog.text


def test_the_calendar_is_saved_under_a_name_that_calendars_open(client: Client) -> None:
    """A browser that saves the feed gives the file the suffix of calendars, ``.ics``."""
    answer = client.get(links.feed_url(Recipient.objects.create(name="ada")))
    assert answer["Content-Disposition"] == 'inline; filename="reminders.ics"'


def test_a_calendar_address_can_be_taken_back(client: Client) -> None:
    """With another feed version the old address is nobody's; one that was never given out is neither."""
    ada = Recipient.objects.create(name="ada")
    old = links.feed_url(ada)
    assert client.get(old).status_code == 200
    ada.feed_version += 1
    ada.save()
    assert (client.get(old).status_code, client.get(links.feed_url(ada)).status_code) == (404, 200)
    assert client.get("/remind/calendar/abc.ics").status_code == 404
    assert client.post(links.feed_url(ada)).status_code == 405


def test_an_address_does_not_come_back(client: Client) -> None:
    """Who is deleted and entered again under the same name has another address: the old one stays nobody's."""
    olds = []
    for _ in range(3):
        ada = Recipient.objects.create(name="ada")
        olds.append(links.feed_url(ada))
        ada.feed_version += 1
        ada.save()
        olds.append(links.feed_url(ada))
        assert client.get(olds[-1]).status_code == 200
        ada.delete()
    Recipient.objects.create(name="ada")
    assert [client.get(old).status_code for old in olds] == [404] * 6
