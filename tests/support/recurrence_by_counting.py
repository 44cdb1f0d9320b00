"""A second reading of RFC 5545's recurrence rules, to hold ours against: slow, by whole periods, and by counting.

It goes from the start's year, month, week, day or hour to the next by the interval, lists all days and times of that
period, strikes out what the parts do not name, takes the positions, and drops what lies before the start. It shares no
line and no idea with ``durable_objects.recurrence.rrule``, which goes by days and kinds of year.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice

from hypothesis import strategies as st

WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
DAY = timedelta(days=1)


def times(rule: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """The times of a rule (RFC 5545's text) on a clock without a zone, in order, up to ``end``."""
    parts = dict(part.split("=") for part in rule.split(";"))
    until = datetime.strptime(parts["UNTIL"], "%Y%m%dT%H%M%SZ") if "UNTIL" in parts else end  # noqa: DTZ007
    found = (at for period in _periods(parts, start, end) for at in _set(parts, start, period) if at >= start)
    return (at for at in islice(found, int(parts.get("COUNT", 10**9))) if at <= min(until, end))


def _periods(parts: dict[str, str], start: datetime, end: datetime) -> Iterator[list[datetime]]:
    """The days (as midnights; for hours: the hour) of each period that the interval comes to."""
    step, frequency = int(parts.get("INTERVAL", "1")), parts["FREQ"]
    midnight = start.replace(hour=0, minute=0, second=0)
    if frequency == "HOURLY":
        at = start.replace(minute=0, second=0)
        while at <= end:
            yield [at]
            at += timedelta(hours=step)
    elif frequency in {"DAILY", "WEEKLY"}:
        length = 1
        if frequency == "WEEKLY":
            length = 7
            while WEEKDAYS[midnight.weekday()] != parts.get("WKST", "MO"):
                midnight -= DAY
        while midnight <= end:
            yield [midnight + DAY * each for each in range(length)]
            midnight += DAY * length * step
    else:
        year, month = start.year, start.month if frequency == "MONTHLY" else 1
        while datetime(year, month, 1) <= end:  # noqa: DTZ001  a clock without a zone
            months = 1 if frequency == "MONTHLY" else 12
            first, year_after, month_after = datetime(year, month, 1), *_later(year, month, months)  # noqa: DTZ001
            count = (datetime(year_after, month_after, 1) - first).days  # noqa: DTZ001
            yield [first + DAY * each for each in range(count)]
            year, month = _later(year, month, months * step)


def _later(year: int, month: int, by: int) -> tuple[int, int]:
    for _ in range(by):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return year, month


def _set(parts: dict[str, str], start: datetime, period: list[datetime]) -> list[datetime]:
    """All times of a period, in order, by their positions if it has such."""
    of_clock = {"BYHOUR": [start.hour], "BYMINUTE": [start.minute], "BYSECOND": [start.second]}
    if parts["FREQ"] == "HOURLY":
        of_clock["BYHOUR"] = list(range(24))
    hours, minutes, seconds = (
        sorted(set(map(int, parts[name].split(",")))) if name in parts else default
        for name, default in of_clock.items()
    )
    if parts["FREQ"] == "HOURLY":
        hours = [hour for hour in hours if hour == period[0].hour]
    found = [
        day.replace(hour=hour, minute=minute, second=second)
        for day in period
        if _is_named(parts, start, day.date())
        for hour in hours
        for minute in minutes
        for second in seconds
    ]
    if "BYSETPOS" in parts:
        at = {int(place) - 1 if int(place) > 0 else len(found) + int(place) for place in parts["BYSETPOS"].split(",")}
        found = [each for place, each in enumerate(found) if place in at]
    return found


def _is_named(parts: dict[str, str], start: datetime, day: date) -> bool:
    """Whether the parts name this day; where they name none, whether it is the start's own."""
    if "BYMONTH" in parts and str(day.month) not in [each.lstrip("0") for each in parts["BYMONTH"].split(",")]:
        return False
    if "BYWEEKNO" in parts and not _counted(parts["BYWEEKNO"], *_week(day, parts.get("WKST", "MO"))):
        return False
    if not {"BYYEARDAY", "BYMONTHDAY", "BYDAY"} & parts.keys():
        return _is_as_the_start(parts, start, day)
    year = [date(day.year, 1, 1), date(day.year, 12, 31)]
    month = [day.replace(day=1), date(*_later(day.year, day.month, 1), 1) - DAY]
    within = month if parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts else year
    return (
        ("BYYEARDAY" not in parts or _counted(parts["BYYEARDAY"], (day - year[0]).days + 1, (year[1] - day).days + 1))
        and ("BYMONTHDAY" not in parts or _counted(parts["BYMONTHDAY"], day.day, (month[1] - day).days + 1))
        and ("BYDAY" not in parts or any(_is_weekday(text, day, *within) for text in parts["BYDAY"].split(",")))
    )


def _is_as_the_start(parts: dict[str, str], start: datetime, day: date) -> bool:
    frequency = parts["FREQ"]
    if frequency == "WEEKLY" or "BYWEEKNO" in parts:
        return day.weekday() == start.weekday()
    if frequency == "MONTHLY" or (frequency == "YEARLY" and "BYMONTH" in parts):
        return day.day == start.day
    return frequency != "YEARLY" or (day.month, day.day) == (start.month, start.day)


def _counted(texts: str, number: int, from_end: int) -> bool:
    return any(int(text) in {number, -from_end} for text in texts.split(","))


def _is_weekday(text: str, day: date, first: date, last: date) -> bool:
    if text[-2:] != WEEKDAYS[day.weekday()]:
        return False
    number, from_end = (day - first).days // 7 + 1, (last - day).days // 7 + 1
    return text[:-2] == "" or int(text[:-2]) in {number, -from_end}


def _week(day: date, begins_on: str) -> tuple[int, int]:
    """The number of the week that the day is in, from the beginning and from the end of the week's year."""
    while WEEKDAYS[day.weekday()] != begins_on:
        day -= DAY
    weeks = next(weeks for year in (day.year, day.year + 1) if day in (weeks := _weeks(year, begins_on)))
    return weeks.index(day) + 1, len(weeks) - weeks.index(day)


@functools.cache
def _weeks(year: int, begins_on: str) -> list[date]:
    """The first days of the weeks of a year."""
    days = [date(year, 1, 1) + DAY * each for each in range(-6, 366)]
    return [day for day in days if _begins_week_of(day, year, begins_on)]


def _begins_week_of(day: date, year: int, begins_on: str) -> bool:
    """A week belongs to the year that at least four of its days are in."""
    return WEEKDAYS[day.weekday()] == begins_on and sum((day + DAY * each).year == year for each in range(7)) >= 4


# -- rules of the grammar's whole width


def _some(least: int, most: int, *, signed: bool = False, at_most: int = 4) -> st.SearchStrategy[str]:
    numbers = st.integers(least, most)
    if signed:
        numbers = st.one_of(numbers, numbers.map(lambda number: -number))
    return st.lists(numbers, min_size=1, max_size=at_most).map(lambda values: ",".join(map(str, values)))


def _weekdays(ordinals: int) -> st.SearchStrategy[str]:
    day = st.sampled_from(WEEKDAYS)
    if ordinals:
        number = st.one_of(st.just(0), st.integers(1, ordinals), st.integers(-ordinals, -1), st.integers(1, 5))
        day = st.tuples(number, day).map(lambda pair: f"{pair[0] or ''}{pair[1]}")
    return st.lists(day, min_size=1, max_size=5).map(",".join)


#: Where RFC 5545's table has each part.
ALLOWED = {
    "BYMONTH": ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"),
    "BYWEEKNO": ("YEARLY",),
    "BYYEARDAY": ("YEARLY", "HOURLY"),
    "BYMONTHDAY": ("YEARLY", "MONTHLY", "DAILY", "HOURLY"),
    "BYDAY": ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"),
    "BYHOUR": ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"),
    "BYMINUTE": ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"),
    "BYSECOND": ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"),
}
_VALUES = {
    "BYMONTH": _some(1, 12),
    "BYWEEKNO": st.one_of(_some(1, 53, signed=True), st.sampled_from(["1", "53", "-1", "52,53", "1,-1"])),
    "BYYEARDAY": st.one_of(_some(1, 366, signed=True), st.sampled_from(["366", "1", "-1", "-366", "60"])),
    "BYMONTHDAY": st.one_of(_some(1, 31, signed=True, at_most=8), st.sampled_from(["29", "31", "-1", "-31"])),
    "BYHOUR": _some(0, 23, at_most=24),
    "BYMINUTE": _some(0, 59, at_most=8),
    "BYSECOND": st.integers(0, 59).map(str),
}


@st.composite
def any_rules(draw: st.DrawFn, *, ends: bool = True) -> str:
    """Any rule that the grammar has and we take: every part, wherever RFC 5545's table has it."""
    frequency = draw(st.sampled_from(["YEARLY", "YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]))
    parts = {"FREQ": frequency}
    fitting = [name for name, allowed in ALLOWED.items() if frequency in allowed]
    for name in draw(st.lists(st.sampled_from(fitting), max_size=4, unique=True)):
        if name == "BYDAY":
            ordinals = {"MONTHLY": 5, "YEARLY": 0 if "BYWEEKNO" in parts else 53}.get(frequency, 0)
            parts[name] = draw(_weekdays(ordinals))
        else:
            parts[name] = draw(_VALUES[name])
    if "BYWEEKNO" in parts and any(character.isdigit() for character in parts.get("BYDAY", "")):
        del parts["BYWEEKNO"]
    if len(parts) > 1 and draw(st.booleans()):
        parts["BYSETPOS"] = draw(st.one_of(_some(1, 4, signed=True), _some(1, 366, signed=True)))
    if draw(st.booleans()):
        parts["INTERVAL"] = str(draw(st.one_of(st.integers(1, 5), st.integers(1, 400))))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(WEEKDAYS))
    end = draw(st.sampled_from(["", "COUNT", "UNTIL"])) if ends else ""
    if end == "COUNT":
        parts["COUNT"] = str(draw(st.integers(1, 40)))
    if end == "UNTIL":
        parts["UNTIL"] = f"{draw(st.integers(2024, 2033))}{draw(st.sampled_from(['0101T000000', '0630T120000']))}Z"
    return ";".join(f"{name}={text}" for name, text in draw(st.permutations(list(parts.items()))))


def any_starts() -> st.SearchStrategy[datetime]:
    """A start near the ends of years and of February as well."""
    days = st.one_of(
        st.dates(date(2023, 1, 1), date(2028, 12, 31)),
        st.sampled_from(
            [date(2024, 2, 29), date(2024, 12, 31), date(2027, 1, 1), date(2026, 8, 31), date(2025, 12, 29)]
        ),
    )
    clocks = st.times().map(lambda time: time.replace(microsecond=0))
    return st.builds(datetime.combine, days, clocks)
