"""The states that one can ask for, for lists and counts: each is answered by an index, without a full scan."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet

from durable_objects import kinds
from durable_objects.alarms import predicates
from durable_objects.conf import engine
from durable_objects.tables import Alarm

#: No count goes further than this.
COUNTED_TO = 10_000

#: The states that one can ask for, and their titles.
STATES = {
    "idle": "Idle",
    "armed": "Armed",
    "due": "Due now",
    "overdue": "Overdue",
    "retrying": "Retrying",
    "running": "Running, unlocked",
    "dead": "Dead",
    "parked": "Parked (class unknown here)",
    "hour": "Due within an hour",
    "day": "Due within a day",
}


def condition(state: str, now: datetime, at: str = "", unknown: list[ContentType] | None = None) -> Q:
    """Return the condition of alarms in one of ``STATES`` at ``now``; ``at`` as in ``predicates``.

    What is parked is not late: it is neither due nor overdue, however long ago its time was. ``unknown``: what
    ``kinds.unknown`` answered, where it was asked before.
    """

    def gone() -> list[ContentType]:
        return kinds.unknown() if unknown is None else unknown

    def parked(without: list[ContentType]) -> Q:
        return Q(**{"kind__in" if at else "object__kind__in": without})

    def runnable() -> Q:
        without, free = gone(), predicates.free(now, at)
        return free & ~parked(without) if without else free  # without a join, where it can be

    conditions = {
        "idle": lambda: predicates.idle(at) & ~predicates.awaited(at) | (Q(alarm_row=None) if at else Q()),
        "armed": lambda: predicates.awaited(at),
        "due": lambda: predicates.due(now, at) & runnable(),
        "overdue": lambda: predicates.overdue(now, at) & runnable(),
        "retrying": lambda: predicates.retrying(at),
        "running": lambda: predicates.leased(now, at),
        "dead": lambda: predicates.dead(at),
        "parked": lambda: predicates.awaited(at) & parked(gone()),
        "hour": lambda: predicates.due_within(now, timedelta(hours=1), at),
        "day": lambda: predicates.due_within(now, timedelta(days=1), at),
    }
    return conditions[state]()


def alarms_in(state: str, now: datetime, unknown: list[ContentType] | None = None) -> QuerySet[Alarm]:
    """Return the alarms in this state, unordered. ``unknown`` as for ``condition``."""
    return Alarm.objects.using(engine.DATABASE).filter(condition(state, now, unknown=unknown)).order_by()


def count(rows: QuerySet[Any], at_most: int = COUNTED_TO) -> int:
    """Count the rows, up to ``at_most``."""
    return rows.order_by().values("pk")[:at_most].count()
