"""Conditions that alerts may be made of: see ``durable_objects.conditions``."""

from __future__ import annotations

from datetime import datetime

from batcher.tables import Upstream
from durable_objects.conditions import Found, Limits, condition
from durable_objects.formatting import short

#: Upstreams that are looked at.
AT_MOST = 1_000


@condition("batcher.breaker_open", "The circuit breaker of an upstream is open", at_least=1)
def breaker_open(now: datetime, limits: Limits) -> Found | None:
    """Report upstreams to which no post goes but a probe now and then."""
    rows = Upstream.objects.exclude(state=Upstream.State.CLOSED).order_by("origin")[:AT_MOST]
    down = {row.origin: f"{row.origin}: {short(row.last_error, 100)}" for row in rows}
    if len(down) < limits.at_least or not down:
        return None
    return Found("Upstreams that take no batches: their circuit breakers are open.", down)
