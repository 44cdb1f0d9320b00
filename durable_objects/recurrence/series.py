"""The times of an RRULE from its start on, on the wall clock of a zone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from durable_objects.recurrence.rrule import Parts, RuleDays
from durable_objects.recurrence.rrule_parsing import RRule
from durable_objects.recurrence.wall_clock import ANY_CHANGE, Found, earliest_later, in_gap, in_order

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """One occurrence. ``at`` is its moment (aware UTC); ``number`` and ``wall_time`` (ISO 8601, without an offset) are
    from where the rule is followed on: all that a caller has to keep so that finding the next one costs no more with
    time. Where there is a COUNT, ``number`` counts the rule's times from 1.
    """

    at: datetime
    number: int
    wall_time: str


class Series:
    """The times of ``rule`` with ``start`` as DTSTART on local wall time, by RFC 5545.

    Times that EXDATE lines leave out (on the wall clock, in a zone of their own with a TZID, or in UTC with a ``Z``)
    count towards COUNT. A start that the rule leaves out is not part of it. In a gap a time is shifted forward, in a
    fold it is the first; no moment comes twice. Without a rule ``start`` is the only one. A start that is given in
    ``zone`` is a wall time there, also one that the clocks leave out.
    Every method takes a bounded time, however far back the start lies, from the year 1900 (``rrule.FIRST_YEAR``) on.
    """

    def __init__(self, start: datetime, rule: RRule | None, zone: tzinfo) -> None:
        self._zone = zone
        self._start = start.astimezone(UTC)
        self._local = start.astimezone(zone)
        self._rule = rule
        self._rule_days = RuleDays(rule.parts if rule else Parts("DAILY"), self._local)

    def opening(self) -> Place | None:
        """Return the first place; None where the rule has no time at all."""
        return next(self.places(), None)

    def places(self, since: Place | None = None) -> Iterator[Place]:
        """Yield the places in order, all of them or those after ``since``."""
        return self._places(since, self._start - _TICK if since is None else since.at)

    def same(self, place: Place) -> Place | None:
        """Return this place by the zone's clocks as they are known now: the same wall time, at another moment where
        they were changed since. None where the rule has ended before that.
        """
        if next(self._from(place, place.at - _TICK), None) == place:
            return place
        return next(self._from(place, place.at - ANY_CHANGE), None)

    def minutes_of_days(self) -> tuple[int, ...]:
        """Return at which minutes of a day it may come, by its wall clock."""
        return self._rule_days.times

    def first(self) -> datetime | None:
        """Return the first time (aware UTC); None where the rule has none at all."""
        opening = self.opening()
        return opening.at if opening else None

    def following(self, since: Place | None, moment: datetime) -> Place | None:
        """Return the first place after ``since`` that is also after this moment; None when the series is over."""
        return next(self._places(since, moment if since is None else max(since.at, moment)), None)

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after this moment (aware UTC); None when the series is over."""
        return next(self.times(moment), None)

    def times(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times after this moment (aware UTC), in order."""
        if self._rule is None:
            return iter([self._start] if self._start > moment else [])
        wall_times = self._wall_times(self._rule, 1, self._local, moment)
        return (found[0] for found, _ in self._in_order(self._rule, wall_times, moment))

    def _places(self, since: Place | None, last: datetime) -> Iterator[Place]:
        """Yield the places later than ``last``, and not before the one that ``since`` is followed on from."""
        for place in self._from(since, last):
            # Clocks that were changed since may have made its wall time a later moment: it comes once all the same.
            if since is None or place.wall_time != since.wall_time or in_gap(self._wall_time(since)):
                yield place

    def _from(self, since: Place | None, last: datetime) -> Iterator[Place]:
        """Yield the places later than ``last``, from the wall time of ``since`` on."""
        if self._rule is None:
            if self._start > last:
                yield Place(self._start, 1, self._local.replace(tzinfo=None).isoformat())
            return
        number, wall_time = (1, self._local) if since is None else (since.number, self._wall_time(since))
        for found, waiting in self._in_order(self._rule, self._wall_times(self._rule, number, wall_time, last), last):
            yield _place(found, waiting)

    def _wall_time(self, place: Place) -> datetime:
        return datetime.fromisoformat(place.wall_time).replace(tzinfo=self._zone)

    def _wall_times(
        self, rule: RRule, number: int, wall_time: datetime, last: datetime
    ) -> Iterator[tuple[int, datetime]]:
        """Yield the times of the rule on the wall clock from the ``number``-th on, which is at ``wall_time``, each with
        its number. What is before ``last`` by any clock is passed over, and only counted where there is a COUNT.
        """
        begin, near = wall_time.replace(tzinfo=None), earliest_later(last, self._zone)
        begin_day, near_day = begin.toordinal(), max(begin, near).toordinal()
        passed = [(day.toordinal(), day.hour * 60 + day.minute) for day in (begin, near)]
        second, rest = self._rule_days.second, self._local.microsecond  # without the rest it would be early by that
        for day, minutes in self._rule_days.days(near_day if rule.count is None else begin_day):
            if rule.count is not None and number > rule.count:
                return
            if begin_day < day < near_day:
                number += len(minutes)
                continue
            calendar_day = date.fromordinal(day)
            for minute in minutes:
                if passed[0] < (day, minute) < passed[1]:
                    number += 1
                    continue
                found = datetime.combine(calendar_day, time(minute // 60, minute % 60, second, rest))
                if found < begin:
                    continue
                if rule.count is not None and number > rule.count:
                    return
                yield number, found.replace(tzinfo=self._zone)
                number += 1

    def _in_order(
        self, rule: RRule, wall_times: Iterator[tuple[int, datetime]], last: datetime
    ) -> Iterator[tuple[Found, list[Found]]]:
        """Yield the times of the rule later than ``last`` by moment, each moment once, with those that wait then."""
        for found, waiting in in_order(self._until(rule, wall_times)):
            if found[0] > last and not rule.leaves_out(found[0], found[2]):
                last = found[0]
                yield found, waiting

    def _until(self, rule: RRule, wall_times: Iterator[tuple[int, datetime]]) -> Iterator[Found]:
        """Yield the times up to UNTIL with their moments; one that is shifted beyond it does not end the others."""
        for number, wall_time in wall_times:
            at = self._start if wall_time == self._local else wall_time.astimezone(UTC)
            if rule.until is None or at.replace(microsecond=0) <= rule.until:
                yield at, number, wall_time
            elif not in_gap(wall_time):
                return


def _place(found: Found, waiting: list[Found]) -> Place:
    """Return this place, to be followed on from the first that still waits: none of those is to be skipped."""
    at, number, wall_time = found
    for _, other, earlier in waiting:
        if other < number:
            number, wall_time = other, earlier
    return Place(at, number, wall_time.replace(tzinfo=None).isoformat())
