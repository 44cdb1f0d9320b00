"""When a reminder recurs: an RRULE from its first time on, on the wall clock of a zone. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice

from durable_objects import InvalidAlarmTime
from reminders.errors import refusal
from reminders.rrule import FIRST_YEAR, LAST_YEAR, Parts, RuleDays
from reminders.rrule_parsing import Rule
from reminders.time_zones import check_zone

_TICK = timedelta(microseconds=1)
#: How far back to look for what was shifted over a gap: Samoa left out a whole day.
_OVER_A_GAP = timedelta(hours=26)
#: No change of a zone's clocks moves the moment of a wall time further than this: Samoa's moved it by 24 hours.
_ANY_CHANGE = timedelta(hours=26)

Found = tuple[datetime, int, datetime]
"""A time of the rule: the moment, its number, and the wall time."""


@dataclass(frozen=True, slots=True)
class Place:
    """One occurrence. ``at`` is its moment (aware UTC); ``number`` and ``wall_time`` (ISO 8601, without an offset) are
    from where the rule is followed on: all that a caller has to keep so that finding the next one costs no more with
    time. Where there is a COUNT, ``number`` counts the rule's times from 1.
    """

    at: datetime
    number: int
    wall_time: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An occurrence for people: on the wall clock of its zone, with a ``note`` where that clock is changed then."""

    at: datetime
    local: datetime
    note: str = ""


class Series:
    """The times of a reminder: those of ``rule`` with ``start`` as DTSTART on local wall time, by RFC 5545.

    ``rule`` is an RRULE, and below it lines of ``EXDATE`` if times are left out (on the wall clock, in a zone of their
    own with a TZID, or in UTC with a ``Z``; they count towards COUNT). A start that the rule leaves out is not part of
    it. In a gap a time is shifted forward, in a fold it is the first; no moment comes twice. Without a rule ``start``
    is the only one. A start that is given in ``zone`` is a wall time there, also one that the clocks leave out.
    Every method takes a bounded time, however far back the start lies. Raises ``InvalidInput`` for a rule or a zone
    that is invalid, and for a start that is not in the years from 1900 to 9990.
    """

    def __init__(self, start: datetime, rule: str | Rule | None, zone: str | tzinfo) -> None:
        self._zone = zone if isinstance(zone, tzinfo) else check_zone(zone)
        check_year(start)
        self._start = start.astimezone(UTC)
        self._local = start.astimezone(self._zone)
        self._rule = rule if rule is None or isinstance(rule, Rule) else Rule.parse(rule)
        self._rule_days = RuleDays(self._rule.parts if self._rule else Parts("DAILY"), self._local)

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
        return next(self._from(place, place.at - _ANY_CHANGE), None)

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
        following = self.following(None, moment)
        return following.at if following else None

    def preview(self, count: int, moment: datetime) -> list[Occurrence]:
        """Return the next occurrences after this moment, ``count`` at most."""
        return [self._shown(place.at) for place in islice(self._places(None, moment), count)]

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
        yield from self._in_order(self._rule, self._wall_times(self._rule, number, wall_time, last), last)

    def _wall_time(self, place: Place) -> datetime:
        return datetime.fromisoformat(place.wall_time).replace(tzinfo=self._zone)

    def _wall_times(
        self, rule: Rule, number: int, wall_time: datetime, last: datetime
    ) -> Iterator[tuple[int, datetime]]:
        """Yield the times of the rule on the wall clock from the ``number``-th on, which is at ``wall_time``, each with
        its number. What is well before ``last`` is passed over: by days, and only counted where there is a COUNT.
        """
        near = max(wall_time.replace(tzinfo=None), (last.astimezone(self._zone) - _OVER_A_GAP).replace(tzinfo=None))
        begin, near_day = wall_time.replace(tzinfo=None), near.toordinal()
        second, rest = self._rule_days.second, self._local.microsecond  # without the rest it would be early by that
        for day, minutes in self._rule_days.days(near_day if rule.count is None else begin.toordinal()):
            if rule.count is not None and number > rule.count:
                return
            if begin.toordinal() < day < near_day:
                number += len(minutes)
                continue
            calendar_day = date.fromordinal(day)
            for minute in minutes:
                found = datetime.combine(calendar_day, time(minute // 60, minute % 60, second, rest))
                if found < begin:
                    continue
                if rule.count is not None and number > rule.count:
                    return
                yield number, found.replace(tzinfo=self._zone)
                number += 1

    def _in_order(self, rule: Rule, wall_times: Iterator[tuple[int, datetime]], last: datetime) -> Iterator[Place]:
        """Yield the times of the rule by moment, each moment once: one that was shifted may come after later ones."""
        shifted: list[Found] = []
        for number, wall_time in wall_times:
            at = self._start if wall_time == self._local else wall_time.astimezone(UTC)
            if rule.until is None or at.replace(microsecond=0) <= rule.until:
                heapq.heappush(shifted, (at, number, wall_time))
            elif not in_gap(wall_time):
                break
            if in_gap(wall_time):
                continue
            while shifted and shifted[0][0] <= at:
                place = heapq.heappop(shifted)
                if place[0] > last and not rule.leaves_out(place[0], place[2]):
                    last = place[0]
                    yield _place(place, shifted)
        for place in sorted(shifted):  # the rule ends in a gap
            if place[0] > last and not rule.leaves_out(place[0], place[2]):
                last = place[0]
                yield _place(place, shifted)

    def _shown(self, at: datetime) -> Occurrence:
        local = at.astimezone(self._zone)
        return Occurrence(at, local, _note(local, self._local))


def _place(found: Found, waiting: list[Found]) -> Place:
    """Return this place, to be followed on from the first that still waits: none of those is to be skipped."""
    at, number, wall_time = found
    for _, other, earlier in waiting:
        if other < number:
            number, wall_time = other, earlier
    return Place(at, number, wall_time.replace(tzinfo=None).isoformat())


def check_year(start: datetime) -> None:
    """Raise ``InvalidAlarmTime`` for a start that is too early or too late for a series."""
    if not FIRST_YEAR <= start.year <= LAST_YEAR:
        raise refusal(
            f"fire_at is {start.isoformat()}", f"the years from {FIRST_YEAR} to {LAST_YEAR}", InvalidAlarmTime
        )


def in_gap(wall_time: datetime) -> bool:
    """Return whether the clocks of its zone were put forward over this wall time, so that it does not exist."""
    before, after = wall_time.utcoffset(), wall_time.replace(fold=1).utcoffset()
    return before is not None and after is not None and before < after


def comes_twice(wall_time: datetime) -> bool:
    """Return whether the clocks of its zone were put back over this wall time."""
    before, after = wall_time.replace(fold=0).utcoffset(), wall_time.replace(fold=1).utcoffset()
    return before is not None and after is not None and before > after


def _note(local: datetime, start: datetime) -> str:
    """Return a note for a time at which the clocks of its zone are changed; empty for any other."""
    other = local.replace(fold=1 - local.fold)
    if other.utcoffset() != local.utcoffset():
        which = "second" if local.fold else "first"
        return f"The clocks are put back: {local:%H:%M} comes twice, this is the {which}."
    before = (local.astimezone(UTC) - timedelta(hours=26)).astimezone(local.tzinfo)
    moved = (local.utcoffset() or timedelta(0)) - (before.utcoffset() or timedelta(0))
    meant = (local - moved).replace(fold=0)
    if moved > timedelta(0) and in_gap(meant) and meant.time().minute == start.time().minute:
        return f"The clocks are put forward: {meant:%H:%M} does not exist that day, so it is {local:%H:%M}."
    return ""
