"""The states that one can ask for, for lists and counts: each is answered by an index, without a full scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import EmptyResultSet
from django.db.models import Q, QuerySet

from durable_objects import kinds
from durable_objects.alarms import limits, pauses, predicates
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.tables import Alarm

#: No count goes further than this.
COUNTED_TO = 10_000

#: Dead alarms that are looked at for the errors that are frequent.
ERRORS_LOOKED_AT = 1_000

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
    that has reached its limits. ``sent``: the classes with objects whose wake-ups are sent.
    """

    unknown: list[ContentType]
    paused: pauses.Paused
    limited: frozenset[int]
    sent: frozenset[int]

    @classmethod
    def look(cls, now: datetime) -> SetAside:
        """Ask the database, for several conditions at the same ``now``."""
        used, held = kinds.used(), pauses.paused(now)
        unknown, runnable = [kind for kind in used if kinds.class_of(kind) is None], kinds.runnable_of(used)
        sent = frozenset() if held.everything else frozenset(runnable) - held.kinds
        return cls(unknown, held, limits.held_back(now, runnable), sent)

    def parked(self) -> Q:
        """Return the condition of what has no class, on alarms or objects: both have their kind."""
        return Q(kind__in=self.unknown)

    def waiting(self) -> Q:
        """Return the condition of what waits for the limits of its class."""
        return Q(kind__in=self.limited)

    def runnable(self, *, limited: bool = False) -> Q:
        """Return the condition of what is none of these, or with ``limited`` may only be the last."""
        found = ~self.parked() if self.unknown else Q()
        if self.paused.is_any:
            found &= ~self.paused.condition()
        return found & ~self.waiting() if self.limited and not limited else found


def condition(state: str, now: datetime, at: str = "", aside: SetAside | None = None) -> Q:
    """Return the condition of alarms in one of ``STATES`` at ``now``; ``at`` as in ``predicates``.

    What is parked, paused or limited is not late: it is neither due nor overdue. ``aside``: that, where it was asked
    for before.
    """

    def set_aside() -> SetAside:
        return SetAside.look(now) if aside is None else aside

    def runnable() -> Q:
        return predicates.free(now, at) & set_aside().runnable()

    conditions = {
        "idle": lambda: predicates.idle(at) & ~predicates.awaited(at) | (Q(alarm_row=None) if at else Q()),
        "armed": lambda: predicates.awaited(at),
        "due": lambda: predicates.due(now, at) & runnable(),
        "overdue": lambda: predicates.overdue(now, at) & runnable(),
        "retrying": lambda: predicates.retrying(at),
        "running": lambda: predicates.leased(now, at),
        "dead": lambda: predicates.dead(at),
        "parked": lambda: predicates.awaited(at) & set_aside().parked(),
        "paused": lambda: predicates.awaited(at) & set_aside().paused.condition(),
        "limited": lambda: (
            predicates.due(now, at)
            & predicates.free(now, at)
            & set_aside().waiting()
            & set_aside().runnable(limited=True)
        ),
        "hour": lambda: predicates.due_within(now, timedelta(hours=1), at),
        "day": lambda: predicates.due_within(now, timedelta(days=1), at),
    }
    return conditions[state]()


def alarms_in(state: str, now: datetime, aside: SetAside | None = None) -> QuerySet[Alarm]:
    """Return the alarms in this state, unordered. ``aside`` as for ``condition``."""
    return Alarm.objects.using(engine.DATABASE).filter(condition(state, now, aside=aside)).order_by()


def frequent_errors(
    at_most: int, of_kinds: Collection[int] | None = None, alarms: QuerySet[Alarm] | None = None
) -> dict[str, str]:
    """Return the groups of errors that most alarms died of, among the newest (of these classes; of these ``alarms``),
    each with an error.
    """
    rows = Alarm.objects.using(engine.DATABASE) if alarms is None else alarms
    dead = rows.filter(predicates.dead())
    if of_kinds is not None:
        dead = dead.filter(kind__in=of_kinds)
    # Which these are is in their index alone: one step with their errors, of a class, might read all that are dead.
    pks = dead.order_by("-pk").values("pk")[:ERRORS_LOOKED_AT]
    found = dead.filter(pk__in=pks).exclude(error_group="").values_list("pk", "error_group")
    newest = dict(sorted(found, reverse=True))
    groups = [group for group, _ in Counter(newest.values()).most_common(at_most)]
    examples = {group: pk for pk, group in newest.items() if group in groups}
    errors = dict(dead.filter(pk__in=examples.values()).values_list("error_group", "last_error"))
    return {group: errors[group] for group in groups if group in errors}


def moments_of(*rows: QuerySet[Any, Any]) -> list[tuple[datetime | None, datetime | None]]:
    """Return the rows of all of these, two moments each, in one statement."""
    conn, parts, params = clock.connection(), [], []
    for each in rows:
        with suppress(EmptyResultSet):  # whose condition can hold for none
            sql, given = each.query.get_compiler(connection=conn).as_sql()
            parts.append(f"SELECT * FROM ({sql}) part")
            params += given
    if not parts:
        return []
    with conn.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), params)
        return [
            (one and clock.from_database(one), other and clock.from_database(other)) for one, other in cursor.fetchall()
        ]


def grouped(rows: QuerySet[Any, Any], columns: str, by: str) -> list[tuple[Any, ...]]:
    """Return these columns, in SQL, of groups of rows that ``values_list`` names and limits, which Django cannot group.
    Moments are text, as ``clock.from_database`` reads it.
    """
    conn = clock.connection()
    try:
        sql, params = rows.query.get_compiler(connection=conn).as_sql()
    except EmptyResultSet:  # whose condition can hold for none
        return []
    with conn.cursor() as cursor:
        cursor.execute(f"SELECT {by}, {columns} FROM ({sql}) found GROUP BY {by}", params)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def count(rows: QuerySet[Any], at_most: int = COUNTED_TO) -> int:
    """Count the rows, up to ``at_most``."""
    return rows.order_by().values("pk")[:at_most].count()
