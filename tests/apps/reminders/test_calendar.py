"""The calendar feed, judged by two independent readers: the times there are those of what will be delivered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import accumulate, count, islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from icalendar import Calendar, Event

from durable_objects import InvalidInput
from durable_objects.testing import FakeClock
from reminders import calendar_feed, links
from reminders.models import Plan, Recipient, Reminder
from tests.support.calendar_readers import by_library, by_rfc
from tests.support.examples import examples
from tests.support.passing_time import follow, outcomes
from tests.support.recurrence_by_counting import any_rules, any_starts
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

EXAMPLES = examples(40)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
#: A Friday; the clocks are put forward on the Sunday.
FRIDAY = datetime(2030, 3, 29, 9, tzinfo=BERLIN)
#: How many times are compared, and over how long at most.
COMPARED, WINDOW = 30, timedelta(days=1500)
_numbers = count()


@pytest.fixture
def ada() -> Recipient:
    return Recipient.objects.create(name="ada", time_zone="Europe/Berlin")


def to_come(plan: Plan) -> Iterator[datetime]:
    """What will be delivered when, if nothing happens in between."""
    recipient = Recipient.find(plan.person)
    at = plan.next_at if plan.urgent else recipient.undisturbed(plan.next_at)
    yield at
    place = plan.following(at)
    while place is not None:
        at = place.at if plan.urgent else recipient.undisturbed(place.at)
        yield at
        place = plan.series.following(place, at)


def judge(recipient: Recipient, reminder: Reminder) -> list[datetime]:
    """See that both readers have the times that come; and give them."""
    plan = reminder.plan()
    assert plan is not None
    end = plan.next_at + WINDOW
    wanted = [at.replace(microsecond=0) for at in islice(to_come(plan), COMPARED) if at <= end]
    end = wanted[-1] if len(wanted) == COMPARED else end
    feed = calendar_feed.calendar_of(recipient)
    assert by_library(feed, end) == wanted
    assert by_rfc(feed, end) == wanted
    return wanted


def events_of(recipient: Recipient) -> list[Any]:
    return Calendar.from_ical(calendar_feed.calendar_of(recipient)).walk("VEVENT")


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", [1, 8, 15]),  # a start that the rule leaves out
        ("FREQ=DAILY;COUNT=4;BYDAY=MO,FR\nEXDATE:20300401T090000", [29, 5, 8]),
        ("FREQ=DAILY;COUNT=3\nEXDATE:20300329T090000", [30, 31]),  # the first is left out, and counts
        ("FREQ=DAILY;COUNT=3\nEXDATE;TZID=America/New_York:20300330T040000", [29, 31]),
        ("FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2;COUNT=3", [3, 10, 17]),
        ("FREQ=YEARLY;BYWEEKNO=14;COUNT=1", [5]),
        ("FREQ=DAILY;BYHOUR=1;COUNT=2\nEXDATE:20300331T000000", [30, 31]),  # it names no time of the rule
        ("FREQ=HOURLY;INTERVAL=5;COUNT=5\nEXDATE:20300330T000000", [29, 29, 29, 30]),
        ("FREQ=YEARLY;BYMONTH=12,4;BYDAY=53MO,1SA;COUNT=1", [6]),
        ("FREQ=MONTHLY;BYDAY=SU,-1MO;BYMONTH=4;COUNT=5", [7, 14, 21, 28, 29]),
        ("FREQ=DAILY;UNTIL=20300331T070000Z", [29, 30, 31]),
    ],
)
def test_readers_have_the_times_that_we_have(ada: Recipient, reminder: Reminder, rule: str, days: list[int]) -> None:
    """Neither one too many at the beginning nor one too few at the end."""
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder("tea", FRIDAY, recurrence=rule, person="ada", time_zone="Europe/Berlin")
        assert [at.day for at in judge(ada, reminder)] == days


def test_what_was_delivered_or_skipped_is_not_there(ada: Recipient, reminder: Reminder, sent: Sent) -> None:
    """The calendar begins with what comes next; COUNT goes on from there."""
    with FakeClock(FRIDAY - HOUR) as clock:
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY;COUNT=5", person="ada", time_zone="Europe/Berlin")
        outcomes(clock, HOUR)
        assert [at.day for at in judge(ada, reminder)] == [30, 31, 1, 2]
        reminder.skip()
        reminder.skip()
        assert [at.day for at in judge(ada, reminder)] == [1, 2]
        reminder.skip()
        reminder.skip()
        assert events_of(ada) == []


@pytest.mark.parametrize("by", [HOUR, DAY, DAY * 3, DAY * 30])
def test_what_is_snoozed_stands_where_it_comes(ada: Recipient, reminder: Reminder, sent: Sent, by: timedelta) -> None:
    """Once, at its new time; what it passes over is not there, and the rest stays where it was."""
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY;COUNT=20", person="ada", time_zone="Europe/Berlin")
        reminder.snooze(by)
        times = judge(ada, reminder)
    assert times[0] == FRIDAY.astimezone(UTC) + by
    assert len(times) == max(20 - by // DAY, 1)


@pytest.mark.parametrize(
    ("quiet", "rule", "hours"),
    [
        ("08:00-12:00", "FREQ=DAILY;COUNT=2", [12, 12]),
        ("22:00-07:00", "FREQ=DAILY;COUNT=4;BYHOUR=23;BYMINUTE=30", [7, 7, 7, 7]),
        ("22:00-07:00", "FREQ=DAILY;COUNT=4;BYHOUR=12,23", [12, 7, 12, 7]),
        ("22:00-07:00", "FREQ=HOURLY;INTERVAL=7;COUNT=6", [9, 16, 7, 13, 20]),
        (
            "22:00-07:00",
            "FREQ=HOURLY;BYHOUR=6,7,8;COUNT=6",
            [7, 8, 7, 8],
        ),  # one that is held takes along what is due then
        ("03:00-04:00", "FREQ=DAILY;BYHOUR=2;COUNT=3", [2, 4, 2]),  # held on the day of the gap only
        ("22:00-07:00", "FREQ=DAILY;COUNT=3", [9, 9, 9]),
    ],
)
def test_what_quiet_hours_hold_stands_at_their_end(
    ada: Recipient, reminder: Reminder, quiet: str, rule: str, hours: list[int]
) -> None:
    """Each time of a series is where it is delivered, the later ones as well as the coming one."""
    ada.quiet_hours = quiet
    ada.save()
    with FakeClock(FRIDAY - HOUR * 2) as clock:
        reminder.set_reminder("tea", FRIDAY, recurrence=rule, person="ada", time_zone="Europe/Berlin")
        times = judge(ada, reminder)
        assert [at.astimezone(BERLIN).hour for at in times] == hours
        delivered = list(
            accumulate(follow(clock, reminder, FRIDAY + DAY * 10), initial=FRIDAY.astimezone(UTC) - HOUR * 2)
        )
    assert delivered[1:] == times


def test_a_series_that_quiet_hours_let_alone_is_a_rule(ada: Recipient, reminder: Reminder) -> None:
    """Outside of them, or urgent, it is one event; quiet hours are on the recipient's clock, the series on its own."""
    ada.quiet_hours = "22:00-07:00"
    ada.save()
    with FakeClock(FRIDAY - HOUR):
        for zone, urgent, is_rule in (
            ("Europe/Berlin", False, True), ("Asia/Tokyo", False, False), ("Asia/Tokyo", True, True)
        ):  # fmt: skip
            at = FRIDAY.replace(tzinfo=ZoneInfo(zone))
            reminder.set_reminder("tea", at, recurrence="FREQ=DAILY", person="ada", time_zone=zone, urgent=urgent)
            judge(ada, reminder)
            assert ("rrule" in events_of(ada)[-1]) is is_rule


def test_quiet_hours_that_came_later_count_too(ada: Recipient, reminder: Reminder) -> None:
    """What was set or snoozed before they were entered is held by them all the same."""
    once = Reminder.objects.get_by_name("once")
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY;COUNT=2", person="ada", time_zone="Europe/Berlin")
        once.set_reminder("cake", FRIDAY, person="ada")
        ada.quiet_hours = "08:30-12:00"
        ada.save()
        times = [event["dtstart"].dt.astimezone(BERLIN).strftime("%d %H") for event in events_of(ada)]
    assert sorted(times) == ["29 12", "29 12", "30 12"]


def test_what_was_delivered_and_snoozed_comes_again(ada: Recipient, reminder: Reminder, sent: Sent) -> None:
    """By the link in a message: once more at its new time, beside the rest."""
    with FakeClock(FRIDAY - HOUR) as clock:
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY;COUNT=3", person="ada", time_zone="Europe/Berlin")
        plan = reminder.plan()
        assert plan is not None
        outcomes(clock, HOUR)
        reminder.remind_again(plan.series_id, plan.place, HOUR)
        assert [at.astimezone(BERLIN).strftime("%d %H") for at in judge(ada, reminder)] == ["29 10", "30 09", "31 09"]


@pytest.mark.parametrize(
    ("start", "rule"),
    [
        (datetime(2030, 3, 31, 2, 30, tzinfo=BERLIN), "FREQ=DAILY;COUNT=3"),
        (datetime(2030, 3, 30, 2, 30, tzinfo=BERLIN), "FREQ=DAILY;COUNT=3"),
        (datetime(2030, 3, 31, 0, 45, tzinfo=BERLIN), "FREQ=HOURLY;BYMINUTE=0,45;COUNT=8"),
        (datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN), "FREQ=DAILY;COUNT=3"),
        (datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN, fold=1), "FREQ=DAILY;COUNT=3"),
        (datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN, fold=1), None),
    ],
)
def test_where_the_clocks_are_changed(ada: Recipient, reminder: Reminder, start: datetime, rule: str | None) -> None:
    """Times in a gap and in a fold are the moments that we deliver at, from each of them on."""
    with FakeClock(start - DAY):
        reminder.set_reminder("tea", start, recurrence=rule, person="ada", time_zone="Europe/Berlin")
        while reminder.get_reminder() is not None:
            judge(ada, reminder)
            reminder.skip()


@pytest.mark.parametrize("year", [2035, 2070, 9990])
def test_years_that_are_far_away(ada: Recipient, reminder: Reminder, year: int) -> None:
    """In the last year that there is, and where no calendar says how a zone's clocks go any more."""
    start = datetime(year, 7, 1, 9, tzinfo=BERLIN)
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY;COUNT=3", person="ada", time_zone="Europe/Berlin")
    assert judge(ada, reminder)[0] == start


def test_a_zone_that_is_gone_stands_in_utc(ada: Recipient, reminder: Reminder) -> None:
    """The moments are those of the last offset, and the event says that its zone is gone."""
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY;COUNT=3", person="ada", time_zone="Europe/Berlin")
        Plan.objects.update(time_zone="Europe/Atlantis")
        assert judge(ada, reminder) == [FRIDAY.astimezone(UTC) + DAY * days for days in range(3)]
        assert 'The time zone "Europe/Atlantis" is not known' in str(events_of(ada)[0]["description"])


@pytest.mark.parametrize("end", ["\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1c", "\n"])
def test_no_text_breaks_out_of_its_line(ada: Recipient, reminder: Reminder, end: str) -> None:
    """Line ends of any kind and control characters in a message or a name are nothing that a reader stumbles over."""
    text = f"tea{end}BEGIN:VEVENT\x07 \x1b[31mred\x9b \x7f"
    named = Reminder.objects.get_by_name(f"name{end}\x07")
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder(text, FRIDAY, person="ada")
        named.set_reminder(" ", FRIDAY + HOUR, person="ada")
        assert by_rfc(calendar_feed.calendar_of(ada), FRIDAY + DAY) == [FRIDAY, FRIDAY + HOUR]
    assert [str(event["summary"]) for event in events_of(ada)] == ["tea", "name\n\ufffd"]
    assert str(events_of(ada)[0]["description"]) == "tea\nBEGIN:VEVENT\ufffd \ufffd[31mred\ufffd \ufffd"


def test_one_bad_event_does_not_end_the_feed(
    ada: Recipient, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails in telling of a reminder, it is left out with a word in the log; the others come."""
    for name in ("good", "bad", "better"):
        Reminder.objects.get_by_name(name).set_reminder(name, FRIDAY, recurrence="FREQ=DAILY", person="ada")
    tell = calendar_feed._event

    def fail(plan: Plan, *args: Any, **kwargs: Any) -> Any:
        if plan.message == "bad":
            raise ZeroDivisionError
        return tell(plan, *args, **kwargs)

    monkeypatch.setattr(calendar_feed, "_event", fail)
    answer = client.get(links.feed_url(ada))
    assert [str(event["summary"]) for event in Calendar.from_ical(answer.content).walk("VEVENT")] == ["good", "better"]
    assert "reminder 'bad' is left out" in caplog.text


#: A rule that stands in the feed time by time.
LISTED_RULE = "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2"


def set_many(total: int, message: str, rule: str = LISTED_RULE) -> None:
    for number in range(total):
        reminder = Reminder.objects.get_by_name(f"many {number}")
        reminder.set_reminder(message, FRIDAY + HOUR * number, recurrence=rule, person="ada", time_zone="UTC")


def test_a_long_message_is_cut_and_written_once(ada: Recipient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event has the first 2,000 characters of its message, and is written once."""
    written: list[Event] = []
    write = Event.to_ical

    def watched(event: Event, *args: Any) -> Any:
        written.append(event)
        return write(event, *args)

    monkeypatch.setattr(Event, "to_ical", watched)
    with FakeClock(FRIDAY - HOUR):
        set_many(8, "tea " * 22_500)
        feed = calendar_feed.calendar_of(ada)
    events = Calendar.from_ical(feed).walk("VEVENT")
    assert {len(str(event["description"])) for event in events} == {2_000}
    assert str(events[0]["description"]).endswith("tea tea…")
    assert len(written) == len(events) == 8 * 50
    assert b"X-WR-CALDESC" not in feed


def test_a_feed_has_its_size(ada: Recipient) -> None:
    """What would make it larger than 2 MB is left out, the latest first, and the feed says so."""
    with FakeClock(FRIDAY - HOUR):
        set_many(8, "\N{TEACUP WITHOUT HANDLE}" * 20_000)
        feed = calendar_feed.calendar_of(ada)
    assert 1_000_000 < len(feed) <= 2_000_000
    calendar: Any = Calendar.from_ical(feed)
    included = {str(event["uid"]).rpartition("-")[0] for event in calendar.walk("VEVENT")}
    assert 0 < len(included) < 8
    assert calendar["x-wr-caldesc"] == f"Only the next {len(included)} of 8 reminders are here."


def test_many_series_share_the_events_of_a_feed(ada: Recipient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reminder is there with its next times, as many as fit, and the feed says how many."""
    monkeypatch.setattr(calendar_feed, "EVENTS", 40)
    with FakeClock(FRIDAY - HOUR):
        set_many(8, "tea")
        Reminder.objects.get_by_name("once").set_reminder("cake", FRIDAY + DAY * 300, person="ada")
        calendar: Any = Calendar.from_ical(calendar_feed.calendar_of(ada))
    events = calendar.walk("VEVENT")
    assert len(events) == 8 * 4 + 1
    assert str(events[-1]["summary"]) == "cake"
    assert calendar["x-wr-caldesc"] == "Of series that calendars cannot show as a rule, only the next 4 times are here."


def test_more_reminders_than_a_feed_has_events(ada: Recipient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes next is there, and the feed says of how many."""
    monkeypatch.setattr(calendar_feed, "EVENTS", 5)
    with FakeClock(FRIDAY - HOUR):
        set_many(8, "tea", "FREQ=DAILY")
        calendar: Any = Calendar.from_ical(calendar_feed.calendar_of(ada))
    assert [event["dtstart"].dt for event in calendar.walk("VEVENT")] == [FRIDAY + HOUR * number for number in range(5)]
    assert "Only the next 5 of 8 reminders are here." in calendar["x-wr-caldesc"]


def test_a_series_that_is_always_in_the_gap_ends(
    ada: Recipient, reminder: Reminder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes at a time that does not exist that day, each year, is listed time by time, and not till 9999."""
    monkeypatch.setattr(calendar_feed, "LISTED", 5)
    with FakeClock(FRIDAY - HOUR):
        rule = "FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU;BYHOUR=2;BYMINUTE=30"
        reminder.set_reminder("tea", FRIDAY, recurrence=rule, person="ada", time_zone="Europe/Berlin")
        assert len(events_of(ada)) == 5


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes 50 ms: to make it smaller takes minutes
)  # fmt: skip
@pytest.mark.slow
@given(
    rule=any_rules(),
    start=any_starts(),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]),
    steps=st.tuples(st.integers(0, 3), st.sampled_from([None, HOUR, DAY * 2])),
)
def test_any_rule_is_read_as_it_is_delivered(
    rule: str, start: datetime, zone: str, steps: tuple[int, timedelta | None]
) -> None:
    """Each rule of the grammar, from any place on, snoozed or not: both readers have what will come."""
    name = f"r{next(_numbers)}"
    recipient, reminder = Recipient(name=name, time_zone=zone), Reminder.objects.get_by_name(name)
    start = start.replace(tzinfo=ZoneInfo(zone))
    skips, snooze = steps
    with FakeClock(start - HOUR):
        try:
            left_out = f"EXDATE:{start + DAY:%Y%m%dT%H%M%S}"
            reminder.set_reminder("tea", start, recurrence=f"{rule}\n{left_out}", person=name, time_zone=zone)
            for _ in range(skips):
                reminder.skip()
            if snooze:
                reminder.snooze(snooze)
        except InvalidInput:
            pass  # it never comes, or not so often
        if reminder.get_reminder() is not None:
            judge(recipient, reminder)


def test_the_clocks_of_each_zone_are_in_the_calendar(ada: Recipient, reminder: Reminder) -> None:
    """For readers that know no zone by its name, as far ahead as its events may be."""
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY", person="ada", time_zone="Europe/Berlin")
        (zone,) = Calendar.from_ical(calendar_feed.calendar_of(ada)).walk("VTIMEZONE")
    clocks: Any = zone
    july = datetime(2055, 7, 1, 12)  # noqa: DTZ001  a wall time
    assert clocks.to_tz(lookup_tzid=False).utcoffset(july) == timedelta(hours=2)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_summer_time_begins_by_the_clock_before_it(ada: Recipient, reminder: Reminder, zone: str) -> None:
    """The onset of an observance is a local time by TZOFFSETFROM (RFC 5545, 3.6.5): 02:00 is put forward to 03:00."""
    with FakeClock(FRIDAY - HOUR):
        reminder.set_reminder("tea", FRIDAY, recurrence="FREQ=DAILY", person="ada", time_zone=zone)
        summer: Any = Calendar.from_ical(calendar_feed.calendar_of(ada)).walk("DAYLIGHT")[-1]
    onsets = [summer["dtstart"].dt, *(each.dt for each in summer["rdate"].dts)]
    assert (len(onsets) > 20, {onset.time() for onset in onsets}) == (True, {time(2)})
    standard, daylight = summer["tzoffsetfrom"].td, summer["tzoffsetto"].td
    for onset in onsets:
        change = (onset - standard).replace(tzinfo=UTC)
        offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in (change - timedelta(seconds=1), change)]
        assert offsets == [standard, daylight], onset


def test_icalendar_is_loaded_by_the_feed_only() -> None:
    """A process that loads the addresses, as each worker does for its checks, does not load icalendar."""
    code = "import django, sys; django.setup(); import project.urls; print('icalendar' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False"]
