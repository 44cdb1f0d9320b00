"""What ran lately: runs by time and outcome, and how late they were, with what still waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Q, Value

from durable_objects.alarms.queries import SetAside, alarms_in, moments_of
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.database.fields import MomentField, by
from durable_objects.tables import AlarmRun

#: No look reads more runs than this, the last that ended.
MOST = 200_000
#: Lateness is that of the newest runs, at most these, and of as many alarms that wait, the longest first.
NEWEST = 5_000

#: Outcomes of runs that did not fail; and of what was no run.
WELL = frozenset({AlarmRun.Outcome.SUCCEEDED.value, AlarmRun.Outcome.SNOOZED.value})
_SKIPPED = AlarmRun.Outcome.SKIPPED.value


@dataclass(frozen=True)
class Recent:
    """Runs that ended, by outcome, in each ``bar`` from ``start`` on. ``capped``: there are more than ``MOST``."""

    start: datetime
    bar: timedelta
    bars: Sequence[Mapping[str, int]]
    capped: bool

    @property
    def number(self) -> int:
        """How many ran."""
        return sum(sum(each.values()) for each in self.bars)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(failed(each) for each in self.bars)


@dataclass(frozen=True)
class Lateness:
    """Time from due to start, of what ran, and of what is due and still waits, for neither a pause nor a limit.

    ``ran_p99`` is that of what ran alone.
    """

    ran: int
    waiting: int
    p50: timedelta
    p95: timedelta
    p99: timedelta
    ran_p99: timedelta | None
    oldest: timedelta | None


def failed(outcomes: Mapping[str, int]) -> int:
    """Return how many of these runs failed."""
    return sum(number for outcome, number in outcomes.items() if outcome not in WELL)


def look(now: datetime, bar: timedelta, bars: int) -> Recent:
    """Return the runs of the last ``bars`` spans of ``bar``, which begin at whole ones. One statement."""
    conn, size = clock.connection(), int(bar.total_seconds())
    first = (int(now.timestamp()) // size - bars + 1) * size
    start = datetime.fromtimestamp(first, UTC)
    lately = (
        f"SELECT ended_at, outcome FROM {AlarmRun._meta.db_table} WHERE ended_at >= %s AND outcome <> %s "
        f"ORDER BY ended_at DESC LIMIT {MOST}"
    )
    number = f"({backend_of(conn).epoch('ended_at')} - {first}) / {size}"
    found: list[dict[str, int]] = [defaultdict(int) for _ in range(bars)]
    with conn.cursor() as cursor:
        sql = f"SELECT {number} AS bar, outcome, COUNT(*) FROM ({lately}) lately GROUP BY 1, 2"
        cursor.execute(sql, [clock.to_database(conn, start), _SKIPPED])
        for at, outcome, runs in cursor.fetchall():
            found[min(max(int(at), 0), bars - 1)][outcome] += int(runs)
    counted = [dict(each) for each in found]
    return Recent(start, bar, counted, sum(sum(each.values()) for each in counted) >= MOST)


def lateness(now: datetime, span: timedelta, aside: SetAside | None = None) -> Lateness | None:
    """Return how late the runs of the last ``span`` were, and what waits; None if nothing ran and nothing waits. One
    statement.
    """
    ran = Q(ended_at__gt=now - span) & ~Q(outcome=_SKIPPED)
    runs = AlarmRun.objects.using(engine.DATABASE).filter(ran).order_by("-ended_at")
    alarms = alarms_in("due", now, aside).order_by(by("wake_at"))
    due = alarms.values_list("wake_at", Value(None, MomentField()))[:NEWEST]
    found = moments_of(runs.values_list("due_at", "started_at")[:NEWEST], due)
    late = [max(started - due, timedelta(0)) for due, started in found if due is not None and started is not None]
    ages = [now - due for due, started in found if due is not None and started is None]
    both = sorted(late + ages)
    if not both:
        return None
    p50, p95, p99 = (_share(both, share) for share in (0.50, 0.95, 0.99))
    alone = _share(sorted(late), 0.99) if late else None
    return Lateness(len(late), len(ages), p50, p95, p99, alone, max(ages, default=None))


def _share(spans: list[timedelta], share: float) -> timedelta:
    return spans[min(int(share * len(spans)), len(spans) - 1)]
