"""The history of runs: one row per call of ``alarm()``. Only this module writes and prunes it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from durable_objects.alarms.run import Run
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.database.round_trip import Statement
from durable_objects.handler_errors import ERROR_LENGTH
from durable_objects.tables import AlarmRun, Object

#: At most this many rows are read or deleted by one statement of the pruning, so that its transaction stays short.
AT_ONCE = 1_000
#: Surplus runs of this many objects are looked for by one statement: where each object has one again and again, a
#: statement for each would be most of what pruning costs.
OBJECTS_AT_ONCE = 100
_TIMES = ("scheduled_at", "due_at", "wake_up_for", "picked_up_at", "started_at", "ended_at")


def row_of(run: Run, outcome: str, ended_at: datetime, error: str = "") -> dict[str, Any]:
    """Return the run as a row of the history, to be stored in the transaction that settles the run."""
    return {
        "object_id": run.object_id,
        "scheduled_at": run.scheduled_at,
        "due_at": run.due_at,
        "wake_up_for": run.wake_up_for,
        "picked_up_at": run.picked_up_at,
        "started_at": run.started_at,
        "ended_at": max(ended_at, run.started_at),
        "retry_count": run.retry_count,
        "fence": run.fence,
        "outcome": outcome,
        "error": error[-ERROR_LENGTH:],
        "schedule": run.schedule.name if run.schedule else "",
        "set_number": run.set_number,
    }


def storing(conn: BaseDatabaseWrapper, rows: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    """Yield the statement that stores the rows, if there are any."""
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        for name in _TIMES:
            columns[name] = [clock.to_database(conn, value) for value in columns[name]]
        query, values = backend_of(conn).rows(AlarmRun, columns)
        yield f"INSERT INTO {AlarmRun._meta.db_table} ({', '.join(columns)}) {query}", values


class Pruning:
    """Deletes runs past ``HISTORY_PER_OBJECT`` and ``HISTORY_FOR``, in short transactions, never the last dead one.

    Only an object that ran can have got too many: so it goes through the runs once, the new ones as they come, and
    checks their objects.
    """

    def __init__(self) -> None:
        #: The ``id`` of the last run that was checked; a new process starts from the first.
        self._seen = 0

    def go_on(self, now: datetime, budget: float) -> tuple[int, bool]:
        """Work for at most ``budget`` seconds; return how many runs were deleted, and whether all that was due."""
        end, pruned, old, new = time.monotonic() + budget, 0, True, True
        while old or new:
            if old:
                deleted = _delete(_runs().filter(ended_at__lt=now - engine.HISTORY_FOR).order_by("ended_at"))
                pruned, old = pruned + deleted, deleted == AT_ONCE
            if new:
                deleted, new = self._prune_new(end)
                pruned += deleted
            if time.monotonic() >= end:
                break
        return pruned, not old and not new

    def _prune_new(self, end: float) -> tuple[int, bool]:
        """Delete surplus runs of the next runs' objects, of some of them at least.

        Return how many were deleted, and whether there may be more.
        """
        runs = list(_runs().filter(id__gt=self._seen).order_by("id").values_list("id", "object_id")[:AT_ONCE])
        if not runs:
            return 0, False
        kept, pruned = engine.HISTORY_PER_OBJECT, 0
        beyond = _runs().filter(object=OuterRef("pk")).order_by("-id").values("id")[kept : kept + 1]
        objects = Object.objects.using(engine.DATABASE).filter(pk__in={object_id for _, object_id in runs})
        found = objects.annotate(beyond=Subquery(beyond)).exclude(beyond=None).values_list("pk", "beyond")
        surplus = [Q(object=pk, id__lte=last) for pk, last in found]
        for start in range(0, len(surplus), OBJECTS_AT_ONCE):
            theirs = _runs().filter(reduce(or_, surplus[start : start + OBJECTS_AT_ONCE]))
            while some := _delete(theirs):
                pruned += some
                if time.monotonic() >= end:
                    return pruned, True
        self._seen = runs[-1][0]
        return pruned, len(runs) == AT_ONCE


def _runs() -> QuerySet[AlarmRun]:
    return AlarmRun.objects.using(engine.DATABASE)


def _delete(surplus: QuerySet[AlarmRun]) -> int:
    """Delete at most ``AT_ONCE`` of these, but never the last dead run of an object."""
    later = _runs().filter(object=OuterRef("object"), outcome=AlarmRun.Outcome.DEAD, id__gt=OuterRef("id"))
    doomed = surplus.filter(~Q(outcome=AlarmRun.Outcome.DEAD) | Exists(later)).values_list("id", flat=True)[:AT_ONCE]
    return _runs().filter(id__in=list(doomed)).delete()[0]
