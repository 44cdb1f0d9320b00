"""Rules: when they come, what they are as text and in words, and what is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from durable_objects import InvalidInput, InvalidSchedule
from durable_objects.recurrence import rules
from durable_objects.recurrence.rrule_parsing import RRule
from durable_objects.recurrence.rules import Rule
from durable_objects.recurrence.series import Series

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EVERY_MINUTE = ",".join(map(str, range(60)))


def make(**given: Any) -> Rule:
    """A rule that is made at ``NOW``."""
    return rules.make(now=NOW, **given)


def moments(rule: Rule, after: str, count: int) -> list[str]:
    """The next times after a moment, in UTC, to the minute."""
    found = islice(rule.following(datetime.fromisoformat(after).replace(tzinfo=UTC)), count)
    return [at.strftime("%Y-%m-%d %H:%M") for at in found]


def test_once_comes_once() -> None:
    """A moment comes once, a past one too as long as it is asked for from before."""
    assert list(make(at=NOW - DAY).following(NOW - 2 * DAY)) == [NOW - DAY]
    assert make(at=NOW).after(NOW) is None


def test_the_first_for_whoever_sets_it() -> None:
    """The first is ahead of now, but for a single moment that is past; of a rule that is over it is refused."""
    assert make(at=NOW - DAY).first(NOW) == NOW - DAY
    assert make(every=HOUR, start=NOW).first(NOW) == NOW + HOUR
    with pytest.raises(InvalidSchedule, match="never comes after"):
        make(every=HOUR, end=NOW + DAY).first(NOW + DAY)


@pytest.mark.parametrize("start", [None, NOW + 7 * MINUTE, NOW - 1000 * DAY, datetime(1950, 6, 1, tzinfo=UTC)])
@pytest.mark.parametrize("every", [SECOND, HOUR, timedelta(days=1, microseconds=1), timedelta(days=10_000)])
def test_every_counts_from_a_fixed_instant(start: datetime | None, every: timedelta) -> None:
    """Each time is a whole number of intervals from the start or the epoch, none before the start, none left out."""
    rule, base = make(every=every, start=start), start or datetime(1970, 1, 1, tzinfo=UTC)
    found = list(islice(rule.following(NOW), 5))
    assert all((at - base) % every == timedelta(0) and at > NOW and at >= base for at in found)
    assert [later - at for at, later in pairwise(found)] == [every] * 4
    assert found[0] == base or found[0] - every <= NOW


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # Put forward from 02:00 to 03:00: what is in the gap is shifted by it, and comes once.
        ("Europe/Berlin", "30 2 * * *", "2030-03-30 12:00", ["2030-03-31 01:30", "2030-04-01 00:30"]),
        ("Europe/Berlin", "0 * * * *", "2030-03-31 00:30", ["2030-03-31 01:00", "2030-03-31 02:00"]),
        ("Europe/Berlin", "30 2,3 * * *", "2030-03-31 00:00", ["2030-03-31 01:30", "2030-04-01 00:30"]),
        # Asked from inside of what was shifted: 03:10 follows 03:05, which 02:05 became.
        ("Europe/Berlin", "*/5 2 * * *", "2030-03-31 01:05", ["2030-03-31 01:10", "2030-03-31 01:15"]),
        ("Europe/Berlin", "50 2,3 * * *", "2030-03-31 01:40", ["2030-03-31 01:50", "2030-04-01 00:50"]),
        # Put back from 03:00 to 02:00: the first of the two.
        ("Europe/Berlin", "30 2 * * *", "2030-10-26 12:00", ["2030-10-27 00:30", "2030-10-28 01:30"]),
        ("Europe/Berlin", "0 * * * *", "2030-10-26 23:30", ["2030-10-27 00:00", "2030-10-27 02:00"]),
        ("Europe/Berlin", "*/30 2 * * *", "2030-10-27 00:45", ["2030-10-28 01:00", "2030-10-28 01:30"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2030-10-05 00:00", ["2030-10-05 15:45", "2030-10-06 15:15"]),
        # 02:10 is shifted to 02:40, past two times that are not.
        ("Australia/Lord_Howe", "10,35,38 2 * * *", "2030-10-05 15:35", ["2030-10-05 15:38", "2030-10-05 15:40"]),
        # Samoa left out 30 December 2011.
        ("Pacific/Apia", "0 9 * * *", "2011-12-29 00:00", ["2011-12-29 19:00", "2011-12-30 19:00"]),
        # Midnight does not exist on the day on which the clocks are put forward then.
        ("America/Santiago", "0 0 * * *", "2024-09-07 06:00", ["2024-09-08 04:00", "2024-09-09 03:00"]),
    ],
)  # fmt: skip
def test_cron_goes_by_the_wall_clock(zone: str, cron: str, after: str, expected: list[str]) -> None:
    """In a gap a time is shifted forward, of one that comes twice the first counts, and no moment comes twice."""
    assert moments(make(cron=cron, zone=zone), after, 2) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 13 * FRI", ["2030-01-04", "2030-01-11", "2030-01-13"]),  # either
        ("0 0 */2 * FRI", ["2030-01-11", "2030-01-25", "2030-02-01"]),  # both: one begins with a star
        ("0 0 L * *", ["2030-01-31", "2030-02-28", "2030-03-31"]),
        ("0 0 LW 3 *", ["2030-03-29", "2031-03-31", "2032-03-31"]),
        ("0 0 * * 5L", ["2030-01-25", "2030-02-22", "2030-03-29"]),
        ("0 0 * * 1#2", ["2030-01-14", "2030-02-11", "2030-03-11"]),
        ("0 0 29 2 *", ["2032-02-29", "2036-02-29", "2040-02-29"]),
        ("0 0 * * 7", ["2030-01-06", "2030-01-13", "2030-01-20"]),
        ("0 0 1-7/3 jan,jul mon-fri", ["2030-01-02", "2030-01-03", "2030-01-04"]),
    ],
)
def test_the_dialect_of_cron(cron: str, expected: list[str]) -> None:
    """Days are those of Debian's cron, with the last day and weekday of a month, and the n-th weekday."""
    assert [at[:10] for at in moments(make(cron=cron), "2030-01-01 12:30", 3)] == expected


def test_an_rrule_counts_from_its_start() -> None:
    """DTSTART is the start; without one the rule counts from Monday, 1 January 1973, midnight, on its zone's clocks."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2030, 1, 2, 9, tzinfo=berlin)
    assert moments(make(rrule="FREQ=DAILY;COUNT=2", zone="Europe/Berlin", start=start), "2030-01-01 00:00", 9) == [
        "2030-01-02 08:00",
        "2030-01-03 08:00",
    ]
    weekly = moments(make(rrule="FREQ=WEEKLY", zone="Europe/Berlin"), "2030-01-01 00:00", 2)
    assert weekly == ["2030-01-06 23:00", "2030-01-13 23:00"]
    assert moments(make(rrule="FREQ=MONTHLY;BYHOUR=9"), "2030-01-01 09:00", 1) == ["2030-02-01 09:00"]
    left_out = make(rrule="FREQ=DAILY\nEXDATE:20300102T000000")
    assert moments(left_out, "2030-01-01 12:00", 1) == ["2030-01-03 00:00"]


def test_a_start_that_comes_twice() -> None:
    """A start that is meant as the second of two comes then, also for who asks between the two."""
    second = datetime(2030, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    rule = make(rrule="FREQ=DAILY", zone="Europe/Berlin", start=second)
    series = Series(second, RRule.parse("FREQ=DAILY"), ZoneInfo("Europe/Berlin"))
    for before in ("2030-10-27 00:00", "2030-10-27 00:40", "2030-10-27 01:15"):
        assert moments(rule, before, 2) == ["2030-10-27 01:30", "2030-10-28 01:30"]
        assert series.after(datetime.fromisoformat(before).replace(tzinfo=UTC)) == second.astimezone(UTC)


def test_the_last_time_is_in_a_gap() -> None:
    """A rule whose last time the clocks leave out ends with that, shifted."""
    start = datetime(2030, 3, 30, 1, 30, tzinfo=UTC)
    rule = make(rrule="FREQ=DAILY;COUNT=2", zone="Europe/Berlin", start=start)
    assert moments(rule, "2030-03-29 00:00", 3) == ["2030-03-30 01:30", "2030-03-31 01:30"]


def test_the_zone_of_an_exdate_that_is_gone() -> None:
    """A rule on record goes on where the zone of one of its EXDATE lines is not known here any more."""
    rule = Rule("rrule", "FREQ=DAILY\nEXDATE;TZID=Europe/Atlantis:20300102T000000", "UTC")
    assert moments(rule, "2030-01-01 12:00", 1) == ["2030-01-02 00:00"]


def test_start_and_end_are_part_of_it() -> None:
    """The first time is at the start at the earliest, the last at the end at the latest."""
    start, end = NOW + HOUR, NOW + 3 * HOUR
    for given in ({"every": HOUR}, {"cron": "30 * * * *"}, {"rrule": "FREQ=HOURLY;BYMINUTE=30"}):
        assert list(make(**given, start=start, end=end).following(NOW)) == [start, start + HOUR, end]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"at": NOW}, "once at 2030-01-01 12:30:00 UTC"),
        ({"every": HOUR}, "every hour"),
        ({"every": 90 * MINUTE, "start": NOW}, "every 90 minutes from 2030-01-01 12:30:00 UTC"),
        ({"every": timedelta(seconds=1.5)}, "every 1.5 seconds"),
        ({"cron": " 0  3 * * mon ", "zone": "Europe/Berlin"}, "cron 0 3 * * MON in Europe/Berlin"),
        ({"rrule": "rrule:freq=daily", "end": NOW + DAY}, "FREQ=DAILY in UTC until 2030-01-02 12:30:00 UTC"),
        ({"rrule": "FREQ=DAILY\r\n\nEXDATE:20300105T000000"}, "FREQ=DAILY EXDATE:20300105T000000 in UTC"),
    ],
)
def test_a_rule_as_text_and_in_words(given: dict[str, Any], words: str) -> None:
    """A rule comes back from its text as it was, and says itself in plain words."""
    rule = make(**given)
    assert (Rule.from_text(rule.to_text()), rule.describe()) == (rule, words)


def test_equal_rules_have_equal_text() -> None:
    """Neither spaces nor letters' size, nor the zone that a moment is given in, make another text."""
    berlin = NOW.astimezone(ZoneInfo("Europe/Berlin"))
    assert make(cron="0 3 * * mon").to_text() == make(cron="0 3  * * MON", zone="UTC").to_text()
    assert make(every=HOUR, start=NOW).to_text() == make(every=60 * MINUTE, start=berlin).to_text()
    assert make(rrule="freq=daily\n").to_text() == make(rrule="RRULE:FREQ=DAILY").to_text()
    assert make(every=HOUR).to_text() != make(every=HOUR, start=NOW).to_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"every": "60", "cron": "* * * * *"}', '{"start": "x"}'])
def test_what_is_no_rule_on_record(text: str) -> None:
    """Text that no rule made is refused in words."""
    with pytest.raises(InvalidSchedule, match="The text of a rule is"):
        Rule.from_text(text)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "Given is none"),
    ({"at": NOW, "every": HOUR}, "Given is at and every"),
    ({"every": timedelta(0)}, "every is"),
    ({"every": -HOUR}, "every is"),
    ({"every": timedelta(microseconds=999_999)}, "every is"),
    ({"every": 60}, "every is 60"),
    ({"every": timedelta.max}, "never comes"),
    ({"every": HOUR, "zone": "UTC"}, "zone is"),
    ({"at": NOW, "zone": "UTC"}, "zone is"),
    ({"at": NOW, "start": NOW}, "start or end is given with at"),
    ({"at": NOW.replace(tzinfo=None)}, "at is 2030-01-01T12:30:00. Allowed: an aware datetime"),
    ({"at": "tomorrow"}, "at is"),
    ({"at": datetime(1970, 1, 1, tzinfo=UTC)}, "at is"),
    ({"at": datetime(9991, 1, 1, tzinfo=UTC)}, "at is"),
    ({"every": HOUR, "start": datetime(1899, 1, 1, tzinfo=UTC)}, "start is"),
    ({"every": HOUR, "end": NOW.replace(tzinfo=None)}, "end is"),
    ({"every": HOUR, "end": NOW}, "every hour until 2030-01-01 12:30:00 UTC never comes after"),
    ({"every": DAY, "start": NOW + HOUR, "end": NOW + MINUTE}, "never comes"),
    ({"cron": "0 0 30 2 *"}, "cron is"),
    ({"cron": "0 0 */31 * 1#5"}, "never comes"),
    ({"cron": "* * * * * *"}, "6 fields"),
    ({"cron": "@daily"}, "1 fields"),
    ({"cron": "60 * * * *"}, "Bad minute"),
    ({"cron": "* * * * L-3"}, "cron is"),
    ({"cron": "*/0 * * * *"}, "cron is"),
    ({"cron": "0 5-5/10 * * *"}, "5-5/10 is one value with a step"),
    ({"cron": "* * " + "1," * 300 + "1 * *"}, "cron is"),
    ({"cron": "\u0661 * * * *"}, "cron is"),
    ({"cron": b"* * * * *"}, "cron is"),
    ({"cron": "0 3 * * *", "zone": "Europe/Atlantis"}, 'zone is "Europe/Atlantis"'),
    ({"cron": "0 3 * * *", "zone": 3}, "zone is 3"),
    ({"rrule": "FREQ=MINUTELY"}, "rrule is"),
    ({"rrule": "FREQ=DAILY;COUNT=3"}, "COUNT counts from start"),
    ({"rrule": "FREQ=DAILY;COUNT=3", "start": NOW - 30 * DAY}, "never comes"),
    ({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "never comes"),
    ({"rrule": "FREQ=DAILY;UNTIL=20200101T000000Z"}, "never comes"),
    ({"rrule": "FREQ=DAILY\nEXDATE;TZID=Europe/Atlantis:20300101T000000"}, "rrule is"),
]


@pytest.mark.parametrize(("given", "problem"), REFUSED, ids=lambda each: str(each)[:60])
def test_what_is_no_rule_is_refused(given: dict[str, Any], problem: str) -> None:
    """What is out of range, an interval of nothing, or never comes is refused at once, with what is allowed."""
    began = time.perf_counter()
    with pytest.raises(InvalidSchedule, match="Allowed: ") as caught:
        make(**given)
    assert problem in str(caught.value)
    assert isinstance(caught.value, InvalidInput)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "given",
    [
        {"every": HOUR}, {"cron": "* * * * *"}, {"cron": "0 0 29 2 */7"}, {"cron": "* * * * *", "zone": "Pacific/Apia"},
        {"rrule": "FREQ=HOURLY", "zone": "Europe/Berlin"}, {"rrule": f"FREQ=HOURLY;BYMINUTE={EVERY_MINUTE}"},
    ],
    ids=str,
)  # fmt: skip
def test_the_end_of_the_calendar(given: dict[str, Any]) -> None:
    """Asked at any moment of Python's calendar a rule answers: a later time, or that none comes any more."""
    rule = make(**given)
    first, last = (each.replace(tzinfo=UTC) for each in (datetime.min, datetime.max))  # noqa: DTZ901  UTC at once
    for moment in (first, first + DAY, last - 3300 * DAY, last - 3000 * DAY, last - DAY, last):
        at = rule.after(moment)
        assert at is None or at > moment
    assert rule.after(last) is None


def test_a_zone_that_is_gone() -> None:
    """A rule whose zone this machine does not know is read and described; asked for its next time it says so."""
    rule = Rule.from_text('{"cron": "0 3 * * *", "zone": "Europe/Atlantis"}')
    assert rule.describe() == "cron 0 3 * * * in Europe/Atlantis"
    with pytest.raises(InvalidSchedule, match="Europe/Atlantis"):
        rule.after(NOW)
