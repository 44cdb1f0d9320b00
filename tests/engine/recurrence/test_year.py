"""Random rules over a year each, in twenty zones, against an expansion by hand: none missed, none doubled.

The expansion shares nothing with the engine: it goes through all days of the year, all minutes that the fields name,
and makes moments of wall times by the offsets from UTC a day before and a day after. Figures are printed (``-s``).
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from random import Random

import pytest

from durable_objects import InvalidSchedule
from durable_objects.recurrence import rules
from durable_objects.recurrence.rules import Rule
from tests.support.recurrence_by_counting import times
from tests.support.recurrence_by_dateutil import ZONES
from tests.support.wall_clock_by_offsets import moment, shown

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
YEARS = [2011, *range(2024, 2032)]
SEED = 2030
EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "2000"))
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]

Sample = tuple[Rule | None, set[datetime]]
"""A rule (None: it was refused, as one that never comes), and its moments of the year by the other expansion."""


# -- random crons, each as text and as what it means


def any_field(random: Random, least: int, most: int, names: list[str] | None = None) -> tuple[str, set[int]]:
    """A list of numbers, ranges and steps, and what it names."""
    texts, named = [], set[int]()
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        low = random.randint(least, most)
        high, step = random.randint(low, most), random.randint(3, 20)
        ranges = [(f"{low}-{high}/{step}", range(low, high + 1, step))] if high > low else []
        called = names[low - least] if names and low - least < len(names) and random.random() < 0.5 else str(low)
        text, numbers = random.choice(
            [
                (called, range(low, low + 1)),
                (called, range(low, low + 1)),
                (f"{called}-{high}", range(low, high + 1)),
                *ranges,
                (f"{low}/{step}", range(low, most + 1, step)),
                (f"*/{step}", range(least, most + 1, step)),
            ]
        )
        texts.append(text)
        named.update(numbers)
    return ",".join(texts), named


def any_cron(random: Random) -> tuple[str, set[int], set[int], Callable[[date], bool]]:
    """An expression, its minutes, its hours, and whether it names a day."""
    minutes = random.choice([*[(str(each), {each}) for each in (0, 5, 30, 59)], any_field(random, 0, 59)])
    hours = random.choice([*[(str(each), {each}) for each in (0, 1, 2, 3, 23)], any_field(random, 0, 23)])
    months = random.choice([("*", set(range(1, 13))), ("*", set(range(1, 13))), any_field(random, 1, 12, MONTHS)])
    day, weekday = any_day(random), any_weekday(random)
    both = day[0].startswith("*") or weekday[0].startswith("*")
    text = f"{minutes[0]} {hours[0]} {day[0]} {months[0]} {weekday[0]}"

    def names(each: date) -> bool:
        found = (day[1](each), weekday[1](each))
        return each.month in months[1] and (all(found) if both else any(found))

    return text, minutes[1], hours[1], names


def any_day(random: Random) -> tuple[str, Callable[[date], bool]]:
    """A field for days of the month, and whether it names a day."""
    text, days = any_field(random, 1, 31)
    return random.choice(
        [
            ("*", lambda each: True),
            ("*", lambda each: True),
            (text, lambda each: each.day in days),
            ("L", lambda each: (each + DAY).day == 1),
            ("LW", lambda each: each == last_weekday(each)),
        ]
    )


def any_weekday(random: Random) -> tuple[str, Callable[[date], bool]]:
    """A field for days of the week, and whether it names a day."""
    text, weekdays = any_field(random, 0, 7, WEEKDAYS)
    weekday, nth = random.randint(0, 7), random.randint(1, 5)
    return random.choice(
        [
            ("*", lambda each: True),
            ("*", lambda each: True),
            (text, lambda each: each.isoweekday() in weekdays or each.isoweekday() % 7 in weekdays),
            (f"{weekday}#{nth}", lambda each: each.isoweekday() % 7 == weekday % 7 and (each.day - 1) // 7 == nth - 1),
            (f"{weekday}L", lambda each: each.isoweekday() % 7 == weekday % 7 and (each + 7 * DAY).month != each.month),
        ]
    )


def last_weekday(day: date) -> date:
    """The last day of this one's month from Monday to Friday."""
    last = (day.replace(day=1) + 31 * DAY).replace(day=1) - DAY
    while last.isoweekday() > 5:
        last -= DAY
    return last


def crons(random: Random, count: int) -> Iterator[tuple[str, str, datetime, datetime, Sample]]:
    """Random crons."""
    for number in range(count):
        zone, year = ZONES[number % len(ZONES)], random.choice(YEARS)
        begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        text, minutes, hours, is_named = any_cron(random)
        days = (date(year, 1, 1) + each * DAY for each in range(-3, 369))
        wall_times = (
            datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001  a wall time
            for day in days
            if is_named(day)
            for hour in hours
            for minute in minutes
        )
        wanted = {at for at in (moment(each, zone) for each in wall_times) if begin < at <= end}
        try:
            yield text, zone, begin, end, (rules.make(cron=text, zone=zone, now=begin), wanted)
        except InvalidSchedule:
            yield text, zone, begin, end, (None, wanted)


# -- random RRULEs, by the second reading of RFC 5545


def any_rrule(random: Random) -> str:
    """A rule of any frequency with some parts, a few with a COUNT."""
    frequency = random.choice(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"] * 4 + ["HOURLY"])
    parts = {"FREQ": frequency, "INTERVAL": str(random.choice([1, 1, 1, 2, 3, 7]))}
    ordinals = {"MONTHLY": ["", "", "1", "-1", "3"], "YEARLY": ["", "2", "-1", "20"]}.get(frequency, [""])
    weekdays = [
        f"{random.choice(ordinals)}{day}" for day in random.sample(["MO", "TU", "WE", "TH", "FR", "SA", "SU"], 2)
    ]
    choices = {
        "BYDAY": ",".join(weekdays),
        "BYMONTH": ",".join(str(random.randint(1, 12)) for _ in range(3)),
        "BYHOUR": ",".join(str(random.choice([0, 1, 2, 2, 3, 9, 23])) for _ in range(2)),
        "BYMINUTE": ",".join(str(random.choice([0, 15, 30, 59])) for _ in range(2)),
        "WKST": random.choice(["MO", "SU", "WE"]),
    }
    if frequency in {"YEARLY", "MONTHLY", "DAILY", "HOURLY"}:
        choices["BYMONTHDAY"] = random.choice(["1", "29,30,31", "-1", "25,26,27,28", "10,-3"])
    if frequency == "YEARLY" and not any(day[0] in "-123" for day in weekdays):
        choices["BYWEEKNO"] = random.choice(["1,53", "13", "-9", "43,44"])
    for name in random.sample(sorted(choices), random.randint(0, min(4, len(choices)))):
        parts[name] = choices[name]
    if frequency != "HOURLY" and "BYDAY" in parts and random.random() < 0.3:
        parts["BYSETPOS"] = random.choice(["1", "-1", "2,-2"])
    if random.random() < 0.2:
        parts["COUNT"] = str(random.randint(1, 60))
    return ";".join(f"{name}={text}" for name, text in parts.items())


def rrules(random: Random, count: int) -> Iterator[tuple[str, str, datetime, datetime, Sample]]:
    """Random RRULEs from a start in the year, or shortly before it, often at an hour at which clocks are changed."""
    for number in range(count):
        zone, year = ZONES[number % len(ZONES)], random.choice(YEARS)
        begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        text = any_rrule(random)
        hour, minute = random.choice([0, 1, 2, 2, 2, 3, 9, 23]), random.choice([0, 30, 45])
        start = datetime(year, 1, 5, hour, minute) + random.randint(-40, 30) * DAY  # noqa: DTZ001  a wall time
        wall_times = times(text, start, end.replace(tzinfo=None) + 2 * DAY)
        wanted = {at for at in (moment(each, zone) for each in wall_times) if begin < at <= end}
        given = moment(start, zone)
        assert shown(given, zone) == start
        try:
            yield text, zone, begin, end, (rules.make(rrule=text, zone=zone, start=given, now=begin), wanted)
        except InvalidSchedule:
            yield text, zone, begin, end, (None, wanted)


@pytest.mark.parametrize("count", [60, pytest.param(EXAMPLES, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("kind", [crons, rrules], ids=lambda kind: kind.__name__)
def test_a_year_of_random_rules(
    kind: Callable[[Random, int], Iterator[tuple[str, str, datetime, datetime, Sample]]], count: int
) -> None:
    """Each rule comes at all moments of the year that the other expansion has, in order, once, and at no other; what
    comes after any moment is what comes after it in the whole list.
    """
    random, total, began = Random(SEED), 0, time.perf_counter()
    missed, doubled, unasked, spent = 0, 0, 0, 0.0
    for text, zone, begin, end, (rule, wanted) in kind(random, count):
        at = time.perf_counter()
        found = list(takewhile(lambda at, end=end: at <= end, rule.following(begin))) if rule else []  # type: ignore[misc]
        spent += time.perf_counter() - at
        twice = len(found) - len(set(found))
        wrong = (len(wanted - set(found)), twice, len(set(found) - wanted))
        assert (wrong, found) == ((0, 0, 0), sorted(wanted)), f"{text} in {zone}, {begin.year}"
        missed, doubled, unasked = missed + wrong[0], doubled + wrong[1], unasked + wrong[2]
        total += len(found)
        for _ in range(3 if rule and found else 0):
            near = random.choice(found) + random.choice([-1, 0, 1]) * random.choice([MINUTE, 26 * MINUTE])
            expected = found[place] if (place := bisect_right(found, near)) < len(found) else None
            got = rule.after(near) if rule else None
            assert (None if got is None or got > end else got) == expected, f"{text} in {zone}, {near}"
    took = time.perf_counter() - began
    print(
        f"\n{count:,} {kind.__name__} in {len(ZONES)} zones, a year each: {total:,} times, missed {missed}, doubled "
        f"{doubled}, unasked {unasked}; {1e6 * spent / total:.0f} us each, {took:.0f} s with the comparison"
    )
    assert total > count
