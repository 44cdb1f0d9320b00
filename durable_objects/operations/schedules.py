"""The schedules of all objects, for lists: which there are in a state, and what one looks like."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from durable_objects.alarms.schedules import ARMED, CANCELLED
from durable_objects.conf import engine
from durable_objects.tables import Schedule

#: The states that one can ask for, and their titles.
STATES = {
    "armed": "Armed",
    "due": "Due now",
    "retrying": "Retrying",
    "dead": "With a dead occurrence",
    "cancelled": "Cancelled on the object",
}


def condition(state: str, now: datetime) -> Q:
    """Return the condition of schedules in one of ``STATES``."""
    return {
        "armed": Q(state=ARMED),
        "due": Q(state=ARMED, due_at__lte=now),
        "retrying": Q(state=ARMED, retry_count__gt=0),
        "dead": Q(died_at__isnull=False),
        "cancelled": Q(state=CANCELLED),
    }[state]


def schedules_in(state: str, now: datetime) -> QuerySet[Schedule]:
    """Return the schedules in this state, unordered."""
    return Schedule.objects.using(engine.DATABASE).filter(condition(state, now)).order_by()
