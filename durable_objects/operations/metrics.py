"""Figures on all alarms, at a cost that does not grow with their number: nothing is counted beyond a bound."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from durable_objects import kinds
from durable_objects.alarms import predicates
from durable_objects.alarms.queries import COUNTED_TO, SetAside, alarms_in, count
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.models import DurableObject
from durable_objects.tables import Alarm, AlarmRun

__all__ = [
    "COUNTED_TO",
    "Lateness",
    "armed",
    "count",
    "counted",
    "counts",
    "first_due",
    "lateness",
    "load_ahead",
    "oldest_overdue",
    "paused_due",
    "wake_ups_out",
]

#: The load ahead: ``BARS`` bars of ``BAR`` each, counted to ``BAR_COUNTED_TO``.
BARS = 30
BAR = timedelta(minutes=2)
BAR_COUNTED_TO = 1_000

#: Lateness covers the runs of the last ``RUNS_FOR``, of these the newest ``RUNS``.
RUNS_FOR = timedelta(hours=1)
RUNS = 5_000

#: Outcomes of runs that did not fail.
_WELL = {AlarmRun.Outcome.SUCCEEDED, AlarmRun.Outcome.SNOOZED}


@dataclass(frozen=True)
class Lateness:
    """Time from due to start of the last hour's runs; ``failed`` counts those that did not succeed."""

    runs: int
    failed: int
    p50: timedelta
    p95: timedelta
    p99: timedelta
    capped: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, spans in seconds."""
        spans = {name: getattr(self, name).total_seconds() for name in ("p50", "p95", "p99")}
        return {"runs": self.runs, "failed": self.failed, **spans}


def counts(now: datetime, states: list[str]) -> dict[str, int]:
    """Count the alarms in each of these states (of ``alarms.queries.STATES``), up to ``COUNTED_TO``."""
    aside = SetAside.look(now)
    return {state: count(alarms_in(state, now, aside)) for state in states}


def paused_due(now: datetime) -> int:
    """Count the alarms that would run now if they were not paused, up to ``COUNTED_TO``."""
    return count(alarms_in("paused", now).filter(predicates.due(now)))


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
    of_class = [pk for pk, known in kinds.runnable().items() if issubclass(known, model)]
    return Alarm.objects.filter(pk__in=first, object__kind__in=of_class)


def oldest_overdue(now: datetime) -> Alarm | None:
    """Return the alarm that has been due for longest and is not running, with its object; None if none is due."""
    return alarms_in("due", now).select_related("object__kind").order_by("wake_at").first()


def counted(number: int, at_most: int = COUNTED_TO) -> str:
    """Write a count for people to read: ``1,234``, or ``10,000+`` for one that reached its bound."""
    return f"{number:,}+" if number >= at_most else f"{number:,}"


def load_ahead(now: datetime) -> list[int]:
    """Count the alarms due in each of the next ``BARS`` spans of ``BAR``, up to ``BAR_COUNTED_TO``. One statement."""
    conn, table = clock.connection(), Alarm._meta.db_table
    bar = (
        f"SELECT %s, COUNT(*) FROM (SELECT 1 FROM {table} "
        f"WHERE wake_at >= %s AND wake_at < %s LIMIT {BAR_COUNTED_TO}) bar"
    )
    edges = [clock.to_database(conn, now + number * BAR) for number in range(BARS + 1)]
    params = [value for number in range(BARS) for value in (number, edges[number], edges[number + 1])]
    with conn.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([bar] * BARS), params)
        found = {int(number): int(alarms) for number, alarms in cursor.fetchall()}
    return [found[number] for number in range(BARS)]


def lateness(now: datetime) -> Lateness | None:
    """Return how late the last hour's runs were, judged by the newest ``RUNS``; None if nothing ran."""
    ran = Q(ended_at__gt=now - RUNS_FOR) & ~Q(outcome=AlarmRun.Outcome.SKIPPED)  # which are no runs
    rows = AlarmRun.objects.using(engine.DATABASE).filter(ran).order_by("-ended_at")
    read = list(rows.values_list("started_at", "due_at", "outcome")[:RUNS])
    if not read:
        return None
    late = sorted(max(started - due, timedelta(0)) for started, due, _ in read)
    failed = sum(outcome not in _WELL for _, _, outcome in read)
    p50, p95, p99 = (late[min(int(share * len(late)), len(late) - 1)] for share in (0.50, 0.95, 0.99))
    return Lateness(len(read), failed, p50, p95, p99, len(read) == RUNS)
