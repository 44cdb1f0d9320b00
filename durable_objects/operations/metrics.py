"""Figures on all alarms, at a cost that does not grow with their number: nothing is counted beyond a bound."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Count, OuterRef, QuerySet, Subquery

from durable_objects import kinds
from durable_objects.alarms import predicates
from durable_objects.alarms.queries import COUNTED_TO, SetAside, alarms_in, count
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.models import DurableObject
from durable_objects.tables import Alarm

__all__ = [
    "COUNTED_TO",
    "armed",
    "count",
    "count_each",
    "counted",
    "counts",
    "first_due",
    "oldest_of_each",
    "oldest_overdue",
    "paused_due",
    "wake_ups_out",
]


def counts(now: datetime, states: list[str], aside: SetAside | None = None) -> dict[str, int]:
    """Count the alarms in each of these states (of ``alarms.queries.STATES``), up to ``COUNTED_TO``. ``aside``, here
    and below: that, where it was asked for before.
    """
    aside = aside or SetAside.look(now)
    return count_each({state: alarms_in(state, now, aside) for state in states})


def count_each(rows: dict[str, QuerySet[Any]]) -> dict[str, int]:
    """Count these rows, each up to ``COUNTED_TO``, in one statement."""
    conn, parts, params, found = clock.connection(), [], [], dict.fromkeys(rows, 0)
    for name, each in rows.items():
        with suppress(EmptyResultSet):  # whose condition can hold for none
            sql, given = each.values("pk")[:COUNTED_TO].query.get_compiler(connection=conn).as_sql()
            parts.append(f"SELECT %s, COUNT(*) FROM ({sql}) counted")
            params += [name, *given]
    if parts:
        with conn.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), params)
            found |= {str(name): int(number) for name, number in cursor.fetchall()}
    return found


def paused_due(now: datetime, aside: SetAside | None = None) -> int:
    """Count the alarms that would run now if they were not paused, up to ``COUNTED_TO``."""
    return count(alarms_in("paused", now, aside).filter(predicates.due(now)))


def armed(now: datetime) -> int:
    """Count the armed alarms, exactly up to ``COUNTED_TO``; beyond that, on PostgreSQL, as its planner estimates."""
    number = count(alarms_in("armed", now))
    if number < COUNTED_TO:
        return number
    # The partial index has the armed ones and nothing else.
    return max(number, backend_of(clock.connection()).estimated_rows("durable_objects_wake") or 0)


def wake_ups_out(now: datetime) -> int:
    """Count the wake-ups that are on their way, among the ``COUNTED_TO`` alarms that are due first."""
    soon = alarms_in("armed", now).filter(predicates.due_soon(now)).order_by("wake_at")[:COUNTED_TO]
    out: int = soon.aggregate(out=Count("pk", filter=predicates.in_transit(now)))["out"]
    return out


def first_due(model: type[DurableObject], now: datetime, among: int) -> QuerySet[Alarm]:
    """Return the alarms of this class and its subclasses among the ``among`` armed alarms due first, unordered."""
    first = alarms_in("armed", now).order_by("wake_at").values("pk")[:among]
    return Alarm.objects.filter(pk__in=first, kind__in=kinds.of_class(model))


def oldest_overdue(now: datetime, kind_id: int | None = None, aside: SetAside | None = None) -> Alarm | None:
    """Return the alarm, of any class or of one, that has been due for longest and is not running, with its object; None
    if none is due.
    """
    due = alarms_in("due", now, aside).select_related("object__kind").order_by("wake_at")
    return (due if kind_id is None else due.filter(kind_id=kind_id)).first()


def oldest_of_each(now: datetime, kind_ids: Collection[int], aside: SetAside | None = None) -> list[Alarm]:
    """Return, of each of these classes, what ``oldest_overdue`` returns. One statement; each is found by an index."""
    its = alarms_in("due", now, aside).filter(kind=OuterRef("pk")).order_by("wake_at").values("pk")[:1]
    oldest = kinds.content_types().filter(pk__in=kind_ids).values_list(Subquery(its))
    return list(Alarm.objects.using(engine.DATABASE).filter(pk__in=oldest).select_related("object__kind"))


def counted(number: int, at_most: int = COUNTED_TO) -> str:
    """Write a count for people to read: ``1,234``, or ``10,000+`` for one that reached its bound."""
    return f"{number:,}+" if number >= at_most else f"{number:,}"
