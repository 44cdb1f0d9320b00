"""The planned times of something periodic. Pure arithmetic."""

from __future__ import annotations

from datetime import datetime, timedelta


def following(planned: datetime, interval: timedelta, now: datetime) -> datetime:
    """Return the first of ``planned``, ``planned + interval`` … that is still ahead: late runs cause no drift."""
    if planned > now:
        return planned
    return planned + ((now - planned) // interval + 1) * interval
