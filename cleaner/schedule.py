"""The planned times of something periodic, and what is too old. Pure arithmetic."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any


def following(planned: datetime, interval: timedelta, now: datetime) -> datetime:
    """The first of ``planned``, ``planned + interval`` … that is still ahead: late runs make no drift."""
    if planned > now:
        return planned
    return planned + ((now - planned) // interval + 1) * interval


def is_expired(value: Any, limit: datetime) -> bool:
    """Whether an entry's value is a dict whose ``timestamp`` lies before ``limit``.

    A number is milliseconds since the epoch, a datetime without a zone is taken as UTC; anything else never expires.
    """
    stamp = value.get("timestamp") if isinstance(value, dict) else None
    if isinstance(stamp, datetime):
        return (stamp if stamp.utcoffset() is not None else stamp.replace(tzinfo=limit.tzinfo)) < limit
    if isinstance(stamp, (int, float)) and not isinstance(stamp, bool):
        return stamp < limit.timestamp() * 1000
    return False
