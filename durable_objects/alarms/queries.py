"""The states that one can ask for, for lists and counts: each is answered by an index, without a full scan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet

from durable_objects import kinds
from durable_objects.alarms import limits, pauses, predicates
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
    "paused": "Paused",
    "limited": "Waiting for limits",
    "hour": "Due within an hour",
    "day": "Due within a day",
}


@dataclass(frozen=True, slots=True)
class SetAside:
    """What is not late, however long ago its time was: of a class that this code does not have, paused, or of a class
    that has reached its limits.
    """

    unknown: list[ContentType]
    paused: pauses.Paused
    limited: frozenset[int]

    @classmethod
    def look(cls, now: datetime) -> SetAside:
        """Ask the database, for several conditions at the same ``now``."""
        return cls(kinds.unknown(), pauses.paused(now), limits.held_back(now))

    def parked(self, at: str) -> Q:
        """Return the condition of what has no class; ``at`` as in ``predicates``."""
        return Q(**{"kind__in" if at else "object__kind__in": self.unknown})

    def waiting(self, at: str) -> Q:
        """Return the condition of what waits for the limits of its class."""
        return Q(**{"kind__in" if at else "object__kind__in": self.limited})

    def runnable(self, at: str, *, limited: bool = False) -> Q:
        """Return the condition of what is none of these, or with ``limited`` may only be the last: without a join,
        where it can be.
        """
        found = ~self.parked(at) if self.unknown else Q()
        if self.paused.is_any:
            found &= ~self.paused.condition(at)
        return found & ~self.waiting(at) if self.limited and not limited else found


def condition(state: str, now: datetime, at: str = "", aside: SetAside | None = None) -> Q:
    """Return the condition of alarms in one of ``STATES`` at ``now``; ``at`` as in ``predicates``.

    What is parked, paused or limited is not late: it is neither due nor overdue. ``aside``: that, where it was asked
    for before.
    """

    def set_aside() -> SetAside:
        return SetAside.look(now) if aside is None else aside

    def runnable() -> Q:
        return predicates.free(now, at) & set_aside().runnable(at)

    conditions = {
        "idle": lambda: predicates.idle(at) & ~predicates.awaited(at) | (Q(alarm_row=None) if at else Q()),
        "armed": lambda: predicates.awaited(at),
        "due": lambda: predicates.due(now, at) & runnable(),
        "overdue": lambda: predicates.overdue(now, at) & runnable(),
        "retrying": lambda: predicates.retrying(at),
        "running": lambda: predicates.leased(now, at),
        "dead": lambda: predicates.dead(at),
        "parked": lambda: predicates.awaited(at) & set_aside().parked(at),
        "paused": lambda: predicates.awaited(at) & set_aside().paused.condition(at),
        "limited": lambda: (
            predicates.due(now, at)
            & predicates.free(now, at)
            & set_aside().waiting(at)
            & set_aside().runnable(at, limited=True)
        ),
        "hour": lambda: predicates.due_within(now, timedelta(hours=1), at),
        "day": lambda: predicates.due_within(now, timedelta(days=1), at),
    }
    return conditions[state]()


def alarms_in(state: str, now: datetime, aside: SetAside | None = None) -> QuerySet[Alarm]:
    """Return the alarms in this state, unordered. ``aside`` as for ``condition``."""
    return Alarm.objects.using(engine.DATABASE).filter(condition(state, now, aside=aside)).order_by()


def count(rows: QuerySet[Any], at_most: int = COUNTED_TO) -> int:
    """Count the rows, up to ``at_most``."""
    return rows.order_by().values("pk")[:at_most].count()
