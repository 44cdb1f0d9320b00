"""Quiet hours: from when to when, each day on the recipient's wall clock, nothing is delivered. Pure."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from durable_objects.recurrence.rrule import LAST_YEAR
from durable_objects.validation import refusal, show

ALLOWED = 'two different times of day, such as "22:00-07:00"'

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True)
class QuietHours:
    """From ``begin`` on, up to ``end``, which is no longer quiet; over midnight when ``end`` is the earlier."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``"22:00-07:00"``. Raises ``InvalidInput``."""
        match = _HOURS.fullmatch(text) if type(text) is str else None
        if match is None or match.group(1, 2) == match.group(3, 4):
            raise refusal(f"quiet_hours is {show(text)}", ALLOWED)
        hours = [int(part) for part in match.groups()]
        return cls(time(hours[0], hours[1]), time(hours[2], hours[3]))

    def over_at(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """Return when it is next not quiet: this moment, or the end of the quiet hours that it is in (aware UTC)."""
        local = moment.astimezone(zone)
        clock = local.time().replace(fold=0)
        overnight = self.begin > self.end
        quiet = (clock >= self.begin or clock < self.end) if overnight else self.begin <= clock < self.end
        if not quiet:
            return moment
        day = local.date() + timedelta(days=1) if overnight and clock >= self.begin else local.date()
        end = datetime.combine(day, self.end, tzinfo=zone)
        first = end.astimezone(UTC)
        return first if first > moment else end.replace(fold=1).astimezone(UTC)


@functools.lru_cache(maxsize=256)
def kinds_of_days(zone: ZoneInfo, other: ZoneInfo, year: int) -> list[date]:
    """Return, of this year and the next, one day for each way in which the clocks of the two zones run on a day and
    around it.
    """
    first = datetime(min(year, LAST_YEAR - 3), 1, 1, tzinfo=UTC)
    nights = [first + timedelta(days=count) for count in range(-1, 2 * 366 + 2)]
    offsets = [(night.astimezone(zone).utcoffset(), night.astimezone(other).utcoffset()) for night in nights]
    found: dict[object, date] = {}
    for count in range(1, len(nights) - 2):
        found.setdefault(tuple(offsets[count - 1 : count + 3]), nights[count].date())
    return list(found.values())
