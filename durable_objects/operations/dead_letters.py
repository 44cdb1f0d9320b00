"""Dead alarms by class and error: what died of the same cause, how many, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database import clock
from durable_objects.formatting import gist
from durable_objects.tables import Alarm, AlarmRun

#: Dead alarms that are grouped, and groups that are returned, at most.
COUNTED_TO = 300_000
GROUPS = 50
#: When they died is read off the newest runs after which one did, at most these.
RUNS = 5_000


@dataclass(frozen=True)
class Group:
    """Dead alarms of a class whose errors differ in values only; ``first`` and ``last`` are None where the newest runs
    on record do not say when they died.
    """

    kind_id: int
    error_group: str
    headline: str
    number: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Dead:
    """All dead alarms, to ``COUNTED_TO``: how many, in how many groups, and the largest of these."""

    number: int
    kinds_of_error: int
    groups: list[Group]

    @property
    def capped(self) -> bool:
        """Whether there are more."""
        return self.number >= COUNTED_TO


def look(now: datetime) -> Dead:
    """Return the dead alarms by class and error. Reads indexes, ``RUNS`` runs, and an error of each group. One
    statement.
    """
    conn = clock.connection()
    with conn.cursor() as cursor:
        cursor.execute(_sql(conn))
        rows = cursor.fetchall()
    groups = [
        Group(
            int(kind_id),
            error_group,
            gist(error),
            int(number),
            first and clock.from_database(first),
            last and clock.from_database(last),
        )
        for kind_id, error_group, error, number, first, last, _, _ in rows
    ]
    return Dead(int(rows[0][-2]) if rows else 0, int(rows[0][-1]) if rows else 0, groups)


def _sql(conn: BaseDatabaseWrapper) -> str:
    """Return the largest groups, the largest first, each with the error of its newest object, when the first and the
    last of it died, how many are dead in all, and of how many groups.
    """
    alarms, runs, of_group = Alarm._meta.db_table, AlarmRun._meta.db_table, "kind_id, error_group"
    dead = (
        f"SELECT kind_id, error_group, object_id FROM {alarms} WHERE state = 'dead' "
        f"ORDER BY error_group, kind_id, object_id LIMIT {COUNTED_TO}"
    )
    grouped = f"SELECT {of_group}, COUNT(*) AS number, MAX(object_id) AS newest FROM ({dead}) dead GROUP BY {of_group}"
    largest = (
        f"SELECT g.*, SUM(number) OVER () AS of_all, COUNT(*) OVER () AS groups FROM ({grouped}) g "
        f"ORDER BY number DESC, newest DESC LIMIT {GROUPS}"
    )
    newest = f"SELECT object_id, ended_at FROM {runs} WHERE outcome = 'dead' ORDER BY id DESC LIMIT {RUNS}"
    died = (
        f"SELECT {of_group}, MIN(ended_at) AS first, MAX(ended_at) AS last FROM ({newest}) r "
        f"JOIN {alarms} a ON a.object_id = r.object_id AND a.state = 'dead' GROUP BY {of_group}"
    )
    moments = f"{clock.selected(conn, 'died.first')}, {clock.selected(conn, 'died.last')}"
    return (
        f"SELECT g.kind_id, g.error_group, a.last_error, g.number, {moments}, g.of_all, g.groups "
        f"FROM ({largest}) g JOIN {alarms} a ON a.object_id = g.newest "
        f"LEFT JOIN ({died}) died ON died.kind_id = g.kind_id AND died.error_group = g.error_group "
        "ORDER BY g.number DESC, g.newest DESC"
    )
