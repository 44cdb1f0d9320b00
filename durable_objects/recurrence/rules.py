"""When something comes: once, every so often, by cron or by an RRULE. One implementation for all who ask. Pure."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, takewhile
from typing import Any, Self

from durable_objects.errors import InvalidSchedule
from durable_objects.recurrence import cron as crons
from durable_objects.recurrence.rrule import FIRST_YEAR, LAST_YEAR
from durable_objects.recurrence.rrule_parsing import RRule
from durable_objects.recurrence.series import Series
from durable_objects.recurrence.zones import check_zone
from durable_objects.validation import refusal, show

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Where an RRULE without a start counts from, on its zone's clocks: the first New Year after the epoch on a Monday.
RRULE_EPOCH = datetime(1973, 1, 1)  # noqa: DTZ001  a wall time
SHORTEST_INTERVAL = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

#: Nothing comes later: beyond it there is no time left to shift to.
_LAST = datetime(LAST_YEAR, 12, 31, tzinfo=UTC)

_KINDS = ("at", "every", "cron", "rrule")
_EVERY_ALLOWED = "a timedelta of 1 second or more"
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True)
class Rule:
    """When something comes. Made by ``make``; ``kind`` is once, every, cron or rrule.

    ``spec`` is the rule as text: the moment, the seconds, the expression, the lines of the RRULE. ``zone`` names the
    zone on whose clocks cron and rrule go. Nothing comes before ``start`` or after ``end``.
    """

    kind: str
    spec: str
    zone: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """Return the first occurrence later than this moment (aware UTC); None when none comes any more.

        Takes a bounded time. Raises ``InvalidSchedule`` where the rule's zone is not known here any more.
        """
        return next(self.following(moment), None)

    def first(self, now: datetime) -> datetime:
        """Return the first occurrence for whoever sets the rule now: after now, but a single moment also a past one.

        Raises ``InvalidSchedule`` where none comes any more, and as ``after`` does.
        """
        at = datetime.fromisoformat(self.spec) if self.kind == "once" else self.after(now)
        if at is None:
            raise refusal(f"{self.describe()} never comes after {_shown(now)}", "a rule that does", InvalidSchedule)
        return at

    def following(self, moment: datetime) -> Iterator[datetime]:
        """Yield the occurrences later than this moment, in order, no moment twice, each found in a bounded time.

        Raises as ``after`` does.
        """
        if self.start is not None:
            moment = max(moment, self.start - TICK)
        last = _LAST if self.end is None else self.end
        times = _TIMES[self.kind](self, max(moment, EPOCH)) if moment < last else iter(())
        return takewhile(lambda at: at <= last, times)

    def to_text(self) -> str:
        """Return the rule as JSON; equal rules have equal text."""
        fields = {self.kind: self.spec, "zone": self.zone, "start": _text(self.start), "end": _text(self.end)}
        return json.dumps({name: text for name, text in fields.items() if text is not None})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the rule that ``to_text`` made this text of. Raises ``InvalidSchedule`` for any other."""
        try:
            fields = json.loads(text)
            (kind,) = fields.keys() & _TIMES.keys()
            start, end = (datetime.fromisoformat(fields[name]) if name in fields else None for name in ("start", "end"))
            return cls(kind, fields[kind], fields.get("zone"), start, end)
        except (ValueError, TypeError, AttributeError):
            raise refusal(f"The text of a rule is {show(text)}", "what Rule.to_text() made", InvalidSchedule) from None

    def describe(self) -> str:
        """Return it in plain words: "every hour", "cron 0 3 * * * in Europe/Berlin"."""
        words = {
            "once": lambda: f"once at {_shown(datetime.fromisoformat(self.spec))}",
            "every": lambda: f"every {_span(_interval(self.spec))}",
            "cron": lambda: f"cron {self.spec} in {self.zone}",
            "rrule": lambda: f"{' '.join(self.spec.splitlines())} in {self.zone}",
        }[self.kind]()
        start = f" from {_shown(self.start)}" if self.start else ""
        return words + start + (f" until {_shown(self.end)}" if self.end else "")


def make(
    *,
    at: datetime | None = None,
    every: timedelta | None = None,
    cron: str | None = None,
    rrule: str | None = None,
    zone: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    now: datetime,
) -> Rule:
    """Return the rule that comes at ``at``, ``every`` so often, by ``cron`` or by ``rrule``: exactly one of them.

    ``every`` counts from ``start``, else from the epoch. ``cron`` and ``rrule`` go by the clocks of ``zone`` (UTC when
    none is given); ``start`` is an RRULE's DTSTART, without which it counts from Monday, 1 January 1973, midnight.
    Nothing comes before ``start``, and nothing after ``end``.

    Raises ``InvalidSchedule`` for bad input, and for a rule that never comes after ``now``; a past ``at`` is taken.
    """
    given = {name: value for name, value in zip(_KINDS, (at, every, cron, rrule), strict=True) if value is not None}
    if len(given) != 1:
        named = " and ".join(given) or "none"
        raise refusal(f"Given is {named} of at, every, cron and rrule", "exactly one of them", InvalidSchedule)
    ((name, value),) = given.items()
    if zone is not None and name not in {"cron", "rrule"}:
        raise refusal(f"zone is {show(zone)}, but {name} goes by no clock", "zone with cron or rrule", InvalidSchedule)
    if at is not None:
        if start is not None or end is not None:
            raise refusal("start or end is given with at", "start and end with every, cron or rrule", InvalidSchedule)
        return Rule("once", _moment("at", at, EPOCH + TICK).isoformat())
    earliest = datetime(FIRST_YEAR, 1, 2, tzinfo=UTC)
    start = None if start is None else _moment("start", start, earliest)
    end = None if end is None else _moment("end", end, earliest)
    if name in {"cron", "rrule"}:
        zone = check_zone("UTC" if zone is None else zone).key
    rule = Rule(name, _CANONICAL[name](value), zone, start, end)
    if name == "rrule" and start is None and _rrule(rule.spec).count is not None:
        raise refusal(f"rrule is {show(rrule)}, and COUNT counts from start", "start with COUNT", InvalidSchedule)
    rule.first(now)
    return rule


# -- each kind


def _once(rule: Rule, moment: datetime) -> Iterator[datetime]:
    at = datetime.fromisoformat(rule.spec)
    return iter([at] if at > moment else [])


def _every(rule: Rule, moment: datetime) -> Iterator[datetime]:
    base, interval = rule.start or EPOCH, _interval(rule.spec)
    for number in count((moment - base) // interval + 1):
        try:
            yield base + number * interval
        except OverflowError:
            return


def _by_cron(rule: Rule, moment: datetime) -> Iterator[datetime]:
    return crons.times(rule.spec, check_zone(rule.zone or "UTC"), moment)


def _by_rrule(rule: Rule, moment: datetime) -> Iterator[datetime]:
    return _series(rule.spec, rule.zone or "UTC", rule.start).times(moment)


_TIMES: dict[str, Callable[[Rule, datetime], Iterator[datetime]]] = {
    "once": _once,
    "every": _every,
    "cron": _by_cron,
    "rrule": _by_rrule,
}


@functools.lru_cache(maxsize=256)
def _series(spec: str, zone: str, start: datetime | None) -> Series:
    clocks = check_zone(zone)
    return Series(start or RRULE_EPOCH.replace(tzinfo=clocks), _rrule(spec), clocks)


def _rrule(spec: str) -> RRule:
    return RRule.parse(spec, on_record=True)


def _interval(spec: str) -> timedelta:
    seconds, _, rest = spec.partition(".")
    return timedelta(seconds=int(seconds), microseconds=int(rest.ljust(6, "0")))


# -- what is given


def _canonical_every(value: Any) -> str:
    if not isinstance(value, timedelta) or value < SHORTEST_INTERVAL:
        raise refusal(f"every is {show(value)}", _EVERY_ALLOWED, InvalidSchedule)
    whole, rest = value // timedelta(seconds=1), value.microseconds
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


def _canonical_rrule(value: Any) -> str:
    line = RRule.parse(value).line
    others = [each.strip(" \t\r") for each in value.split("\n")]
    return "\n".join([line, *[each for each in others if each][1:]])


_CANONICAL: dict[str, Callable[[Any], str]] = {
    "every": _canonical_every,
    "cron": crons.canonical,
    "rrule": _canonical_rrule,
}


def _moment(called: str, when: Any, earliest: datetime) -> datetime:
    """Return this moment in UTC. Raises ``InvalidSchedule``."""
    try:
        if isinstance(when, datetime) and when.utcoffset() is not None:
            at = when.astimezone(UTC)
            plain = datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=UTC)
            if earliest <= plain and plain.year <= LAST_YEAR:
                return plain
    except (OverflowError, TypeError, ValueError):
        pass  # beyond the calendar; pandas' NaT
    allowed = f"an aware datetime from {earliest.year} to the year {LAST_YEAR}"
    raise refusal(f"{called} is {when.isoformat() if type(when) is datetime else show(when)}", allowed, InvalidSchedule)


# -- for people


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat(' ')} UTC"


def _span(interval: timedelta) -> str:
    seconds = interval // timedelta(seconds=1)
    if interval.microseconds:
        return f"{interval.total_seconds():,.15g} seconds"
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return unit if seconds == size else f"{seconds // size:,} {unit}s"
