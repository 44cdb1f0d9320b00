"""The schedules of all objects, for lists: which there are in a state, and what one looks like."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from durable_objects.alarms.pauses import paused
from durable_objects.alarms.schedules import ARMED, CANCELLED
from durable_objects.conf import engine
from durable_objects.formatting import absolute, gist, label, relative
from durable_objects.operations.selection import Selection
from durable_objects.operations.selection.qualifiers import has_error
from durable_objects.recurrence.rules import Rule
from durable_objects.tables import Schedule

#: Schedules of an object that an explanation shows.
SHOWN = 10

#: The states that one can ask for, and their titles.
STATES = {
    "armed": "Armed",
    "due": "Due now",
    "retrying": "Retrying",
    "paused": "Paused",
    "dead": "With a dead occurrence",
    "cancelled": "Cancelled on the object",
}


#: The qualifiers of a selection that schedules are searched by.
SEARCHED_BY = ("class:", "name:", "error:")


def matching(selection: Selection) -> Q:
    """Return the condition of the schedules that a selection by ``SEARCHED_BY`` means."""
    error = selection.get("error:")
    failed = Q(died_at__isnull=False) | Q(state=ARMED, retry_count__gt=0)
    of_error = Q() if error is None else failed & has_error(error, "last_error", "error_group")
    return selection.of_rows() & of_error


def condition(state: str, now: datetime) -> Q:
    """Return the condition of schedules in one of ``STATES``."""
    if state == "paused":
        return Q(state=ARMED) & paused(now).condition("object")
    return {
        "armed": Q(state=ARMED),
        "due": Q(state=ARMED, due_at__lte=now),
        "retrying": Q(state=ARMED, retry_count__gt=0),
        "dead": Q(died_at__isnull=False),
        "cancelled": Q(state=CANCELLED),
    }[state]


def first_of(object_id: int) -> list[Schedule]:
    """Return the object's schedules by due time: the first ``SHOWN``, and one more if there are more."""
    rows = Schedule.objects.using(engine.DATABASE).filter(object=object_id)
    return list(rows.order_by("due_at", "name")[: SHOWN + 1])


def sentences(rows: list[Schedule], now: datetime) -> list[str]:
    """Describe when each of an object's schedules (``first_of``) runs next, or why not."""
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
