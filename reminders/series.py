"""When a reminder recurs: an RRULE from its first time on, on the wall clocks of a zone. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from itertools import islice

from dateutil.rrule import rrule

from reminders.rules import Rule, check_zone, has_any

_TICK = timedelta(microseconds=1)

Found = tuple[datetime, int, datetime]
"""What the rule gave: the moment, which one it is, and the wall time."""


@dataclass(frozen=True, slots=True)
class Place:
    """One occurrence. ``at`` is its moment (aware UTC); ``number`` and ``wall`` (ISO 8601, without an offset) are from
    where the rule is followed on: all that a caller has to keep so that finding the next one costs no more with time.
    """

    at: datetime
    number: int
    wall: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An occurrence for people: on the wall clock of its zone, with a ``note`` where that clock is changed then."""

    at: datetime
    local: datetime
    note: str = ""


class Series:
    """The times of a reminder: those that dateutil gives for ``rule`` with ``start`` as DTSTART on local wall time.

    ``rule`` is an RRULE, and below it lines of ``EXDATE`` if times are left out (on the wall clock, or in UTC with a
    ``Z``; they count towards COUNT). In a gap a time is shifted forward, in a fold it is the first; no moment comes
    twice. Without a rule ``start`` is the only one. Raises ``InvalidInput`` for a rule or a zone that is none.
    """

    def __init__(self, start: datetime, rule: str | None, zone: str) -> None:
        self._zone = check_zone(zone)
        self._start = start.astimezone(UTC)
        self._local = start.astimezone(self._zone)
        self._rule = None if rule is None else Rule.parse(rule, self._local)

    def opening(self) -> Place | None:
        """The first place; None where the rule has no time at all, which is told in some 50 ms at most."""
        if self._rule is not None and not has_any(self._rule.rule, self._local):
            return None
        return next(self.places(), None)

    def places(self, since: Place | None = None) -> Iterator[Place]:
        """The places in order, all of them or those after ``since``."""
        if self._rule is None:
            if since is None or since.at < self._start:
                yield Place(self._start, 1, self._local.replace(tzinfo=None).isoformat())
            return
        number, rule = self._from(self._rule, since)
        yield from self._in_order(self._rule, rule, number, self._start - _TICK if since is None else since.at)

    def first(self) -> datetime | None:
        """The first time (aware UTC); None where the rule has none at all."""
        opening = self.opening()
        return opening.at if opening else None

    def following(self, since: Place, moment: datetime) -> Place | None:
        """The first place after ``since`` that is also after this moment; None when the series is over."""
        return next((place for place in self.places(since) if place.at > moment), None)

    def after(self, moment: datetime) -> datetime | None:
        """The first time after this moment (aware UTC), looked for from the start on; None when the series is over."""
        return next((place.at for place in self.places() if place.at > moment), None)

    def preview(self, count: int, moment: datetime) -> list[Occurrence]:
        """The next occurrences after this moment, ``count`` at most."""
        if self._rule is not None and not has_any(self._rule.rule, self._local):
            return []
        ahead = (place.at for place in self.places() if place.at > moment)
        return [self._shown(at) for at in islice(ahead, count)]

    def _from(self, rule: Rule, since: Place | None) -> tuple[int, rrule]:
        """The rule as it goes on from a place, and the number of what it gives first."""
        if since is None or not rule.can_start_anywhere:
            return 1, rule.rule
        wall = datetime.fromisoformat(since.wall).replace(tzinfo=self._zone)
        left = None if rule.count is None else rule.count - since.number + 1
        return since.number, rule.rule.replace(dtstart=wall, count=left)

    def _in_order(self, rule: Rule, walls: rrule, number: int, last: datetime) -> Iterator[Place]:
        """What the rule gives, by moment, each moment once: a time that was shifted may lie behind others."""
        shifted: list[Found] = []
        for count, found in enumerate(walls, number):
            if found.year >= MAXYEAR:
                break
            wall = found.replace(microsecond=self._local.microsecond)  # dateutil drops it: early by that much
            at = self._start if wall == self._local else wall.astimezone(UTC)
            heapq.heappush(shifted, (at, count, wall))
            if in_gap(wall):
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
    """This one, to be followed on from the first that still waits: none of those is to be skipped."""
    at, number, wall = found
    for _, other, earlier in waiting:
        if other < number:
            number, wall = other, earlier
    return Place(at, number, wall.replace(tzinfo=None).isoformat())


def in_gap(wall: datetime) -> bool:
    """Whether the clocks of its zone were put forward over this wall time, so that it does not exist."""
    before, after = wall.utcoffset(), wall.replace(fold=1).utcoffset()
    return before is not None and after is not None and before < after


def _note(local: datetime, start: datetime) -> str:
    """What is to be said of a time at which the clocks of its zone are changed."""
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
