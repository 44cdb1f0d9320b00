"""The choices for a snooze: 20 minutes, an hour, a day, a week, each counted from the time that is put off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from durable_objects import now


@dataclass(frozen=True)
class Preset:
    """One choice: a duration, or the same time of day a number of days later."""

    name: str
    label: str
    time: timedelta = timedelta(0)
    days: int = 0

    def span(self, zone: tzinfo, since: datetime | None = None) -> timedelta:
        """Return how long that is from a moment (default: now), by the wall clock of the zone."""
        if not self.days:
            return self.time
        since = since or now()
        local = since.astimezone(zone)
        return (local + timedelta(days=self.days)).astimezone(UTC) - since


PRESETS = (
    Preset("20-minutes", "20 minutes", timedelta(minutes=20)),
    Preset("hour", "1 hour", timedelta(hours=1)),
    Preset("tomorrow", "1 day later", days=1),
    Preset("next-week", "1 week later", days=7),
)
