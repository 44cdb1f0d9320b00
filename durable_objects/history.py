"""The history of runs: one row per call of ``alarm()``. The only room that writes and prunes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Max, Q, Window
from django.db.models.functions import RowNumber

from durable_objects import clock
from durable_objects.conf import engine
from durable_objects.round_trip import Statement
from durable_objects.rows import AlarmRun
from durable_objects.run import Run

#: Characters of a traceback that are kept: the end of it, where the cause stands.
ERROR_LENGTH = 8_000

#: Rows that one ``prune`` deletes at most, so that its transaction stays short.
PRUNE_AT_MOST = 2_000


def row_of(run: Run, outcome: str, ended_at: datetime, error: str = "") -> dict[str, Any]:
    """The run as a row of the history: to be stored in the transaction that settles it."""
    return {
        "object_id": run.object_id,
        "scheduled_at": run.scheduled_at,
        "due_at": run.due_at,
        "rung_at": run.rung_at,
        "picked_up_at": run.picked_up_at,
        "started_at": run.started_at,
        "ended_at": max(ended_at, run.started_at),
        "retry_count": run.retry_count,
        "fence": run.fence,
        "outcome": outcome,
        "error": error[-ERROR_LENGTH:],
    }


def storing(conn: BaseDatabaseWrapper, rows: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    """The statement that stores the rows, if there are any."""
    if rows:
        columns = list(rows[0])
        marks = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * len(rows))
        values = [row[name] for row in rows for name in columns]
        params = [clock.to_database(conn, value) if isinstance(value, datetime) else value for value in values]
        yield f"INSERT INTO {AlarmRun._meta.db_table} ({', '.join(columns)}) VALUES {marks}", params


def prune(now: datetime) -> int:
    """Delete runs past ``HISTORY_PER_OBJECT`` and ``HISTORY_FOR``, some at a time, never the last dead one."""
    runs = AlarmRun.objects.using(engine.DATABASE)
    last_dead = runs.filter(outcome=AlarmRun.Outcome.DEAD).values("object").annotate(last=Max("id")).values("last")
    ranked = runs.annotate(rank=Window(RowNumber(), partition_by=F("object_id"), order_by=F("id").desc()))
    too_many = ranked.filter(rank__gt=engine.HISTORY_PER_OBJECT).values("id")
    surplus = Q(ended_at__lt=now - engine.HISTORY_FOR) | Q(id__in=too_many)
    doomed = runs.filter(surplus).exclude(id__in=last_dead).values_list("id", flat=True)[:PRUNE_AT_MOST]
    return runs.filter(id__in=list(doomed)).delete()[0]
