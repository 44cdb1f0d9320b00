"""The days of a recurrence rule and the times on each, by RFC 5545 on a calendar without zones. Pure.

A rule is followed by days, not by occurrences: the days of a year that its parts allow are computed once for each of
the few kinds of year there are, and the next one is searched among them from any day on. So a search is bounded for
every rule that ``rrule_parsing`` accepts, however far back the start lies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import isleap, monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from math import gcd
from operator import itemgetter

#: Years after which the calendar repeats itself, weekdays and leap years alike. What has not come by then never does.
YEARS_AHEAD = 400
#: No start is earlier than in this year, and no occurrence later than in that: beyond it there is no time to shift to.
FIRST_YEAR, LAST_YEAR = 1_900, 9_990

_DAYS_AHEAD = YEARS_AHEAD * 146_097 // 400
#: How long each month is, and the month of each day of a year, without a leap day and with one.
_LENGTHS = {isleap(year): tuple(monthrange(year, month)[1] for month in range(1, 13)) for year in (2000, 2001)}
_MONTH_OF = {
    leap: tuple(month for month, length in enumerate(lengths, 1) for _ in range(length))
    for leap, lengths in _LENGTHS.items()
}

Day = tuple[int, tuple[int, ...]]
"""A day (its proleptic Gregorian ordinal) and the minutes of it at which the rule comes, in order, never none."""


@dataclass(frozen=True)
class Parts:
    """The parts of a rule, each as it was written; empty where it has none. Weekdays are from 0 (Monday), with the
    ordinal before them (0: every one); ``week_start`` is WKST; there is one second at most.
    """

    frequency: str
    interval: int = 1
    week_start: int = 0
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()


class RuleDays:
    """The days on which a rule comes from ``start`` on (a wall time), and the minutes of each day.

    What the rule leaves open is as in the start: a month, a day, a weekday, an hour, a minute. A start that the rule
    leaves out is not part of it.
    """

    def __init__(self, parts: Parts, start: datetime) -> None:
        self._parts = parts
        self._start = start.toordinal()
        #: The second of the minute at which it comes.
        self.second = parts.seconds[0] if parts.seconds else start.second
        self._minute = start.hour * 60 + start.minute + (self.second < start.second)
        self._start_hour = self._start * 24 + start.hour
        self._start_month = start.year * 12 + start.month - 1
        self._start_week = self._week_of(self._start)
        self._start_year = start.year
        self._derive(start)
        self._kinds_of_year: dict[tuple[bool, int, bool, bool], tuple[Day, ...]] = {}

    def days(self, first: int) -> Iterator[Day]:
        """Yield the days of the rule from this ordinal on, in order. Ends where nothing comes for 400 years."""
        first = max(first, self._start)
        year, limit = date.fromordinal(first).year, first + _DAYS_AHEAD
        is_in_step = self._in_step()
        while self.times and year <= LAST_YEAR:
            opening = date(year, 1, 1).toordinal()
            if opening > limit:
                return
            if not self._is_year_in_step(year):
                year += 1
                continue
            matching = self._days_of(year, opening)
            for index, times in matching[bisect_left(matching, first - opening, key=itemgetter(0)) :]:
                day = opening + index
                if is_in_step is not None and not is_in_step(day, year):
                    continue
                minutes = self._minutes_of(day) if self._is_every_few_hours else times
                if day == self._start:
                    minutes = tuple(minute for minute in minutes if minute >= self._minute)
                if minutes:
                    limit = day + _DAYS_AHEAD
                    yield day, minutes
            year += 1

    # -- what the start gives to the rule

    def _derive(self, start: datetime) -> None:
        parts = self._parts
        month_days, months, weekdays = parts.month_days, parts.months, parts.weekdays
        if not (parts.year_days or month_days or weekdays):
            if parts.frequency == "WEEKLY" or parts.weeks:
                weekdays = ((0, start.weekday()),)
            elif parts.frequency in {"MONTHLY", "YEARLY"}:
                month_days = (start.day,)
                months = months or ((start.month,) if parts.frequency == "YEARLY" else ())
        self._months, self._month_days, self._weekdays = frozenset(months), frozenset(month_days), frozenset(weekdays)
        self._weeks, self._year_days = frozenset(parts.weeks), frozenset(parts.year_days)
        minutes = sorted(set(parts.minutes or (start.minute,)))
        hours = sorted(set(parts.hours or (range(24) if parts.frequency == "HOURLY" else (start.hour,))))
        if parts.frequency == "HOURLY":
            minutes = _at(parts.positions, minutes) if parts.positions else minutes
            step = gcd(parts.interval, 24)  # the only hours that are ever reached from the start's
            hours = [hour for hour in hours if (hour - start.hour) % step == 0]
        times = [hour * 60 + minute for hour in hours for minute in minutes]
        #: The minutes of a day at which it comes at all.
        self.times = tuple(_at(parts.positions, times) if parts.frequency == "DAILY" and parts.positions else times)
        self._minutes, self._hours = tuple(minutes), tuple(hours)
        self._is_every_few_hours = parts.frequency == "HOURLY" and parts.interval > 1

    # -- which days

    def _is_year_in_step(self, year: int) -> bool:
        return self._parts.frequency != "YEARLY" or (year - self._start_year) % self._parts.interval == 0

    def _in_step(self) -> Callable[[int, int], bool] | None:
        """Return a test whether a day is in every n-th day, week or month (INTERVAL); None where each is."""
        interval, start, week, month = self._parts.interval, self._start, self._start_week, self._start_month
        if interval == 1:
            return None
        if self._parts.frequency == "DAILY":
            return lambda day, year: (day - start) % interval == 0
        if self._parts.frequency == "WEEKLY":
            return lambda day, year: (day - week) // 7 % interval == 0
        if self._parts.frequency == "MONTHLY":
            return lambda day, year: (_month_of(day, year) - month) % interval == 0
        return None

    def _minutes_of(self, day: int) -> tuple[int, ...]:
        """Return the minutes of this day at which every n-th hour falls, counted from the start's hour."""
        interval = self._parts.interval
        hours = range((self._start_hour - day * 24) % interval, 24, interval)
        return tuple(hour * 60 + minute for hour in hours if hour in self._hours for minute in self._minutes)

    def _week_of(self, day: int) -> int:
        """Return the first day of the week that a day is in."""
        return day - (day - 1 - self._parts.week_start) % 7

    def _days_of(self, year: int, opening: int) -> tuple[Day, ...]:
        """Return the days of a year, from 0, that the parts allow, whatever the interval, with their times."""
        kind = (isleap(year), opening % 7, isleap(year - 1), isleap(year + 1))
        found = self._kinds_of_year.get(kind)
        if found is None:
            matching = self._matching(year, opening)
            timed = ((index, self.times) for index in matching)
            by_position = self._parts.positions and self._parts.frequency not in {"DAILY", "HOURLY"}
            found = tuple(self._chosen(year, opening) if by_position else timed)
            self._kinds_of_year[kind] = found
        return found

    def _matching(self, year: int, opening: int) -> Iterator[int]:
        leap = isleap(year)
        length = 365 + leap
        in_month = self._parts.frequency == "MONTHLY" or bool(self._parts.months)
        month_begins = 0
        for month, month_length in enumerate(_LENGTHS[leap], 1):
            for index in range(month_begins, month_begins + month_length) if self._takes_month(month) else ():
                of_month = index - month_begins
                within = (of_month, month_length) if in_month else (index, length)
                if (
                    (not self._month_days or _is_one_of(self._month_days, of_month + 1, month_length))
                    and (not self._year_days or _is_one_of(self._year_days, index + 1, length))
                    and (not self._weekdays or self._takes_weekday((opening + index - 1) % 7, *within))
                    and (not self._weeks or self._takes_week(opening + index))
                ):
                    yield index
            month_begins += month_length

    def _takes_month(self, month: int) -> bool:
        return not self._months or month in self._months

    def _takes_weekday(self, weekday: int, index: int, length: int) -> bool:
        """Return whether BYDAY names this weekday: each, or its ordinal in its month or year."""
        nth, from_end = index // 7 + 1, -((length - 1 - index) // 7 + 1)
        return not self._weekdays.isdisjoint(((0, weekday), (nth, weekday), (from_end, weekday)))

    def _takes_week(self, day: int) -> bool:
        """Return whether BYWEEKNO names the week of this day, counted in the year that most of the week is in."""
        middle = date.fromordinal(self._week_of(day) + 3)
        number = (middle.timetuple().tm_yday - 1) // 7 + 1
        last = date.fromordinal(self._week_of(date(middle.year, 12, 28).toordinal()) + 3)
        return _is_one_of(self._weeks, number, (last.timetuple().tm_yday - 1) // 7 + 1)

    # -- BYSETPOS

    def _chosen(self, year: int, opening: int) -> Iterator[Day]:
        """Yield, of the times of each year, month or week, those at BYSETPOS, counted from its beginning."""
        length = 365 + isleap(year)
        if self._parts.frequency == "WEEKLY":
            matching, period = self._matching_of_weeks(year, opening), lambda index: self._week_of(opening + index)
        elif self._parts.frequency == "MONTHLY":
            matching, period = self._matching(year, opening), lambda index: _MONTH_OF[isleap(year)][index]
        else:
            matching, period = self._matching(year, opening), lambda index: year
        positive = sorted(position for position in self._parts.positions if position > 0)
        negative = sorted(-position for position in self._parts.positions if position < 0)
        per_day = len(self.times)
        for _, group in groupby(matching, key=period):
            days = list(group)
            total = len(days) * per_day
            places = {place - 1 for place in positive[: bisect_right(positive, total)]}
            places.update(total - place for place in negative[: bisect_right(negative, total)])
            for at, chosen in groupby(sorted(places), key=lambda place: place // per_day):
                if 0 <= days[at] < length:
                    yield days[at], tuple(self.times[place % per_day] for place in chosen)

    def _matching_of_weeks(self, year: int, opening: int) -> Iterator[int]:
        """Yield the days that the parts of a weekly rule allow, to the end of the weeks that the year begins and ends
        in.
        """
        months = _MONTH_OF[isleap(year)]
        first = self._week_of(opening) - opening
        for index in range(first, self._week_of(opening + len(months) - 1) - opening + 7):
            month = 12 if index < 0 else 1 if index >= len(months) else months[index]
            if self._takes_month(month) and (0, (opening + index - 1) % 7) in self._weekdays:
                yield index


def _month_of(day: int, year: int) -> int:
    """Return the number of the month that a day of this year is in, counted from the year 0."""
    return year * 12 + _MONTH_OF[isleap(year)][day - date(year, 1, 1).toordinal()] - 1


def _is_one_of(wanted: frozenset[int], number: int, last: int) -> bool:
    """Return whether a number up to ``last`` is wanted, counted from the beginning or (negative) from the end."""
    return number in wanted or number - last - 1 in wanted


def _at(positions: tuple[int, ...], times: list[int]) -> list[int]:
    """Return those at the positions, from 1 on or from -1 back."""
    return sorted({times[at - (at > 0)] for at in positions if -len(times) <= at <= len(times)})
