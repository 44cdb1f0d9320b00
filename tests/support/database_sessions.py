"""What other sessions of this PostgreSQL database are doing."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection


def one_value(sql: str) -> object:
    """Return the first column of the first row, in this thread's session."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def waiting(count: int = 1) -> Callable[[], bool]:
    """Return a condition: ``count`` sessions of this database wait for a lock."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return lambda: (one_value("SELECT pg_stat_clear_snapshot()"), one_value(sql))[1] == count
