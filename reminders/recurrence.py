"""When a reminder recurs: the engine's series by the names of its fields, and occurrences for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from durable_objects import InvalidAlarmTime
from durable_objects.recurrence import series, zones
from durable_objects.recurrence.rrule import FIRST_YEAR, LAST_YEAR
from durable_objects.recurrence.rrule_parsing import RRule
from durable_objects.recurrence.wall_clock import ANY_CHANGE, in_gap
from durable_objects.validation import refusal


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An occurrence for people: on the wall clock of its zone, with a ``note`` where that clock is changed then."""

    at: datetime
    local: datetime
    note: str = ""


class Series(series.Series):
    """The times of a reminder: those of ``rule`` with ``start`` as DTSTART, as the engine's ``Series`` has them.

    ``rule`` is an RRULE, and below it lines of ``EXDATE`` if times are left out. Raises ``InvalidInput`` for a rule or
    a zone that is invalid, and for a start that is not in the years from 1900 to 9990.
    """

    def __init__(self, start: datetime, rule: str | RRule | None, zone: str | tzinfo) -> None:
        clocks = zone if isinstance(zone, tzinfo) else check_zone(zone)
        check_year(start)
        parsed = rule if rule is None or isinstance(rule, RRule) else RRule.parse(rule, called="recurrence")
        super().__init__(start, parsed, clocks)

    def preview(self, count: int, moment: datetime) -> list[Occurrence]:
        """Return the next occurrences after this moment, ``count`` at most."""
        return [self._shown(place.at) for place in islice(self._places(None, moment), count)]

    def _shown(self, at: datetime) -> Occurrence:
        local = at.astimezone(self._zone)
        return Occurrence(at, local, _note(local, self._local))


def check_zone(name: str) -> ZoneInfo:
    """Return the zone of this name. Raises ``InvalidInput``."""
    return zones.check_zone(name, "time_zone")


def check_year(start: datetime) -> None:
    """Raise ``InvalidAlarmTime`` for a start that is too early or too late for a series."""
    if not FIRST_YEAR <= start.year <= LAST_YEAR:
        raise refusal(
            f"fire_at is {start.isoformat()}", f"the years from {FIRST_YEAR} to {LAST_YEAR}", InvalidAlarmTime
        )


def _note(local: datetime, start: datetime) -> str:
    """Return a note for a time at which the clocks of its zone are changed; empty for any other."""
    other = local.replace(fold=1 - local.fold)
    if other.utcoffset() != local.utcoffset():
        which = "second" if local.fold else "first"
        return f"The clocks are put back: {local:%H:%M} comes twice, this is the {which}."
    before = (local.astimezone(UTC) - ANY_CHANGE).astimezone(local.tzinfo)
    moved = (local.utcoffset() or timedelta(0)) - (before.utcoffset() or timedelta(0))
    meant = (local - moved).replace(fold=0)
    if moved > timedelta(0) and in_gap(meant) and meant.time().minute == start.time().minute:
        return f"The clocks are put forward: {meant:%H:%M} does not exist that day, so it is {local:%H:%M}."
    return ""
