"""What the limits of a class hold back, in sentences."""

from __future__ import annotations

from datetime import datetime

from durable_objects.alarms import limits
from durable_objects.alarms.limits import Standing
from durable_objects.formatting import absolute, relative
from durable_objects.models import DurableObject


def held_back(handle: DurableObject, now: datetime) -> tuple[str, str] | None:
    """Say why alarms of this class wait for its limits just now, and what comes next; None where they do not."""
    limit = limits.of(handle)
    if limit is None:
        return None
    standing = limits.standing(handle.kind_pk(), limit, now)
    return _sentences(handle, standing, now) if standing.holds_back(now) else None


def _sentences(handle: DurableObject, standing: Standing, now: datetime) -> tuple[str, str]:
    label, limit, start = handle.key[0], standing.limit, standing.start(now)
    if standing.is_full:
        going = f"{standing.taken} {'runs' if standing.taken == 1 else 'run'}"
        why = f"Its class is full: {going}, and alarm_concurrency of {label} is {limit.concurrency}."
        return why, "When a run of the class ends, that which is due for longest is sent."
    if limit.rate is not None and start > now:
        why = f"alarm_rate of {label} is {limit.rate:g} a second: the next run may start {relative(start, now)}."
        return (
            why,
            f"From {absolute(start, 'milliseconds')} on the next one starts: what is due for longest goes first.",
        )
    why = f"{label} has limits, and its alarms run one after the other: it waits for its turn."
    return why, "A pass of the dispatcher sends as many as may run, the longest due first."
