"""Which alarms are in which state: conditions for lists and counts, each answered by an index, without a full scan."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet

from durable_objects import retry
from durable_objects.conf import engine
from durable_objects.rows import Alarm, Object

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


def condition(state: str, now: datetime, at: str = "") -> Q:
    """Alarms in one of ``STATES`` at ``now``. ``at``: where the alarm's columns are, ``"alarm_row__"`` from objects."""

    def where(**values: Any) -> Q:
        return Q(**{at + name: value for name, value in values.items()})

    armed = where(state=Alarm.State.ARMED)
    free = where(leased_until=None) | where(leased_until__lte=now)
    conditions = {
        "idle": lambda: where(state=Alarm.State.IDLE) | (Q(alarm_row=None) if at else Q()),
        "armed": lambda: armed,
        "due": lambda: armed & where(due_at__lte=now) & free,
        "overdue": lambda: armed & where(due_at__lte=now - OVERDUE_AFTER) & free,
        "retrying": lambda: armed & where(retry_count__gt=0),
        "running": lambda: where(leased_until__gt=now),
        "dead": lambda: where(state=Alarm.State.DEAD),
        "parked": lambda: armed & Q(**{"kind__in" if at else "object__kind__in": unknown_kinds()}),
        "hour": lambda: armed & where(due_at__gt=now, due_at__lte=now + timedelta(hours=1)),
        "day": lambda: armed & where(due_at__gt=now, due_at__lte=now + timedelta(days=1)),
    }
    return conditions[state]()


def alarms_in(state: str, now: datetime) -> QuerySet[Alarm]:
    """The alarms in this state, unordered."""
    return Alarm.objects.using(engine.DATABASE).filter(condition(state, now)).order_by()


def count(rows: QuerySet[Any], at_most: int = COUNTED_TO) -> int:
    """How many rows there are, or ``at_most`` if there are more."""
    return rows.order_by().values("pk")[:at_most].count()


def unknown_kinds() -> list[ContentType]:
    """Content types of objects whose class this code does not have."""
    rows = Object.objects.using(engine.DATABASE)
    gone = [kind for kind in ContentType.objects.all() if kind.model_class() is None]
    return [kind for kind in gone if rows.filter(kind=kind).exists()]
