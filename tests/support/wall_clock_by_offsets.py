"""What a wall time is as a moment, worked out another way: by a zone's offsets from UTC a day before and a day after.

It makes no use of ``fold``, and shares no line with ``durable_objects.recurrence``.
"""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


@functools.cache
def offsets(zone: str, day: date) -> tuple[timedelta, timedelta]:
    """A zone's offsets from UTC a day before this one and a day after it."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return offset(zone, noon - 1.5 * DAY), offset(zone, noon + 1.5 * DAY)


def moment(wall_time: datetime, zone: str) -> datetime:
    """The first moment at which clocks show this time; where none does, later by what the clocks were put forward."""
    as_utc = wall_time.replace(tzinfo=UTC)
    before, after = offsets(zone, wall_time.date())
    if before == after:
        return as_utc - before
    showing = [at for at in (as_utc - before, as_utc - after) if shown(at, zone) == wall_time]
    return min(showing) if showing else as_utc - before


def shown(at: datetime, zone: str) -> datetime:
    """What clocks in the zone show at a moment."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def changes(zone: str, year: int) -> list[tuple[datetime, timedelta]]:
    """The moments of a year at which the clocks of a zone are changed, to the minute, and by how much. None are closer
    than a week.
    """
    found = []
    for days in range(0, 365, 5):
        low = datetime(year, 1, 1, tzinfo=UTC) + days * DAY
        high = low + 5 * DAY
        before, after = offset(zone, low), offset(zone, high)
        while before != after and high - low > timedelta(minutes=1):
            middle = low + (high - low) / 2
            low, high = (middle, high) if offset(zone, middle) == before else (low, middle)
        if before != after:
            found.append((high.replace(second=0, microsecond=0), after - before))
    return found


def offset(zone: str, at: datetime) -> timedelta:
    """A zone's offset from UTC at a moment."""
    return at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()
