"""Which alarms are in which state: conditions for lists and counts, each answered by an index, without a full scan."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet

from durable_objects import kinds
from durable_objects.alarms import retry
from durable_objects.conf import engine
from durable_objects.tables import Alarm

#: A lost wake-up is rung again within this time: what is due for longer is worth a look.
OVERDUE_AFTER = retry.LOST_AFTER
#: Nobody counts further than this.
COUNTED_TO = 10_000

#: The states that one can ask for, as a title says them.
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
    """Alarms in one of ``STATES`` at ``now``. ``at``: where the alarm's columns are, ``"alarm_row__"`` from objects.

    What is parked is not late: it is neither due nor overdue, however long ago its time was. ``unknown``: what
    ``kinds.unknown`` answered, where it was asked before.
    """

    def where(**values: Any) -> Q:
        return Q(**{at + name: value for name, value in values.items()})

    def gone() -> list[ContentType]:
        return kinds.unknown() if unknown is None else unknown

    def parked(without: list[ContentType]) -> Q:
        return Q(**{"kind__in" if at else "object__kind__in": without})

    def known() -> Q:
        without = gone()
        return ~parked(without) if without else Q()  # without a join, where it can be

    armed = where(state=Alarm.State.ARMED)
    free = where(leased_until=None) | where(leased_until__lte=now)
    conditions = {
        "idle": lambda: where(state=Alarm.State.IDLE) | (Q(alarm_row=None) if at else Q()),
        "armed": lambda: armed,
        "due": lambda: armed & where(due_at__lte=now) & free & known(),
        "overdue": lambda: armed & where(due_at__lte=now - OVERDUE_AFTER) & free & known(),
        "retrying": lambda: armed & where(retry_count__gt=0),
        "running": lambda: where(leased_until__gt=now),
        "dead": lambda: where(state=Alarm.State.DEAD),
        "parked": lambda: armed & parked(gone()),
        "hour": lambda: armed & where(due_at__gt=now, due_at__lte=now + timedelta(hours=1)),
        "day": lambda: armed & where(due_at__gt=now, due_at__lte=now + timedelta(days=1)),
    }
    return conditions[state]()


def alarms_in(state: str, now: datetime, unknown: list[ContentType] | None = None) -> QuerySet[Alarm]:
    """The alarms in this state, unordered. ``unknown`` as for ``condition``."""
    return Alarm.objects.using(engine.DATABASE).filter(condition(state, now, unknown=unknown)).order_by()


def count(rows: QuerySet[Any], at_most: int = COUNTED_TO) -> int:
    """How many rows there are, or ``at_most`` if there are more."""
    return rows.order_by().values("pk")[:at_most].count()
