"""When what is armed comes due: how many alarms in each span of the hour, day or week to come, and the worst second."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.tables import Alarm

#: No look reads more alarms than this, the first due.
MOST = 300_000


@dataclass(frozen=True)
class Ahead:
    """How many come due in each ``bar`` from ``start`` on; ``peak``: the second with most of them, and how many.

    ``capped``: there are more than ``MOST``; only the first are counted.
    """

    start: datetime
    bar: timedelta
    counts: list[int]
    peak: tuple[datetime, int] | None
    capped: bool


def look(now: datetime, bar: timedelta, bars: int) -> Ahead:
    """Return what comes due in the next ``bars`` spans of ``bar``, a whole number of seconds. One statement."""
    conn, table = clock.connection(), Alarm._meta.db_table
    since = int(now.timestamp())
    first = f"SELECT wake_at FROM {table} WHERE wake_at > %s AND wake_at < %s ORDER BY wake_at LIMIT {MOST}"
    edges = [clock.to_database(conn, edge) for edge in (now, now + bars * bar)]
    second = backend_of(conn).epoch("wake_at")
    seconds = f"SELECT {second} AS at, COUNT(*) AS alarms FROM ({first}) first GROUP BY 1"
    number = f"(at - {since}) / {int(bar.total_seconds())}"
    by_bar = f"SELECT 'bar' AS by, {number} AS bar, SUM(alarms) FROM ahead GROUP BY 2"
    worst = "SELECT 'second' AS by, at, alarms FROM ahead ORDER BY 3 DESC, 2 LIMIT 1"
    with conn.cursor() as cursor:
        cursor.execute(f"WITH ahead AS ({seconds}) {by_bar} UNION ALL SELECT * FROM ({worst}) worst", edges)
        rows = [(by, int(at), int(alarms)) for by, at, alarms in cursor.fetchall()]
    found = {min(at, bars - 1): alarms for by, at, alarms in rows if by == "bar"}
    counts = [found.get(at, 0) for at in range(bars)]
    peak = next(((datetime.fromtimestamp(at, UTC), alarms) for by, at, alarms in rows if by == "second"), None)
    return Ahead(now, bar, counts, peak, sum(counts) >= MOST)
