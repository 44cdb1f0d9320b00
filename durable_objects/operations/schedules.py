"""The schedules of all objects, for lists: which there are in a state, and what one looks like."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from durable_objects.alarms.schedules import ARMED, CANCELLED
from durable_objects.conf import engine
from durable_objects.formatting import absolute, gist, label, relative
from durable_objects.recurrence.rules import Rule
from durable_objects.tables import Schedule

#: Schedules of an object that an explanation shows.
SHOWN = 10

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


def sentences(object_id: int, now: datetime) -> list[str]:
    """Describe when each of the object's schedules runs next, or why not: of the first ``SHOWN``."""
    rows = list(
        Schedule.objects.using(engine.DATABASE).filter(object=object_id).order_by("due_at", "name")[: SHOWN + 1]
    )
    more = ["There are more schedules: `manage.py schedules list` has them all."] if len(rows) > SHOWN else []
    return [_sentence(row, now) for row in rows[:SHOWN]] + more


def _sentence(row: Schedule, now: datetime) -> str:
    what = f"Schedule {label(row.name)} ({Rule.from_text(row.rule).describe()})"
    if row.state == CANCELLED:
        return f"{what} is declared by the class and cancelled on this object."
    dead = f" Its occurrence of {absolute(row.died_at)} is dead: {gist(row.last_error)}" if row.died_at else ""
    if row.state == ARMED and row.due_at is not None:
        retry = f", retry {row.retry_count} after: {gist(row.last_error)}" if row.retry_count else ""
        return f"{what} runs {row.method}() {relative(row.due_at, now)}{retry}.{dead}"
    return f"{what} runs no more.{dead}"


def word_of(row: Schedule, now: datetime | None) -> str:
    """Return the schedule's state in a word: first that something of it is dead. ``due`` only with ``now``."""
    if row.died_at is not None:
        return "dead"
    if row.state == ARMED and row.retry_count:
        return "retrying"
    is_due = now is not None and row.state == ARMED and row.due_at is not None and row.due_at <= now
    return "due" if is_due else row.state


def schedules_in(state: str, now: datetime) -> QuerySet[Schedule]:
    """Return the schedules in this state, unordered."""
    return Schedule.objects.using(engine.DATABASE).filter(condition(state, now)).order_by()
