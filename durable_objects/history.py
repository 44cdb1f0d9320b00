"""The history of runs: one row per call of ``alarm()``. The only room that writes and prunes it."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Max, Q, Window
from django.db.models.functions import RowNumber

from durable_objects.conf import engine
from durable_objects.rows import AlarmRun
from durable_objects.run import Run

#: Characters of a traceback that are kept: the end of it, where the cause stands.
ERROR_LENGTH = 8_000

#: Rows that one ``prune`` deletes at most, so that its transaction stays short.
PRUNE_AT_MOST = 2_000


def record(run: Run, outcome: str, ended_at: datetime, error: str = "") -> AlarmRun:
    """Write the run down, in the transaction that settles it."""
    return AlarmRun.objects.using(engine.DATABASE).create(
        object_id=run.object_id,
        scheduled_at=run.scheduled_at,
        due_at=run.due_at,
        rung_at=run.rung_at,
        picked_up_at=run.picked_up_at,
        started_at=run.started_at,
        ended_at=max(ended_at, run.started_at),
        retry_count=run.retry_count,
        fence=run.fence,
        outcome=outcome,
        error=error[-ERROR_LENGTH:],
    )


def prune(now: datetime) -> int:
    """Delete runs past ``HISTORY_PER_OBJECT`` and ``HISTORY_FOR``, some at a time, never the last dead one."""
    runs = AlarmRun.objects.using(engine.DATABASE)
    last_dead = runs.filter(outcome=AlarmRun.Outcome.DEAD).values("object").annotate(last=Max("id")).values("last")
    ranked = runs.annotate(rank=Window(RowNumber(), partition_by=F("object_id"), order_by=F("id").desc()))
    too_many = ranked.filter(rank__gt=engine.HISTORY_PER_OBJECT).values("id")
    surplus = Q(ended_at__lt=now - engine.HISTORY_FOR) | Q(id__in=too_many)
    doomed = runs.filter(surplus).exclude(id__in=last_dead).values_list("id", flat=True)[:PRUNE_AT_MOST]
    return runs.filter(id__in=list(doomed)).delete()[0]
