"""The database as it is in the end, read past the engine and past Django."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.storm import record
from tests.chaos.storm.evidence import Event, Evidence

#: Rows of a query.
Ask = Callable[[str], list[tuple[Any, ...]]]

_LOGS = """
    SELECT o.name, e.value FROM durable_objects_entry e JOIN durable_objects_object o ON o.id = e.object_id
    WHERE e.key LIKE 'log:%' ORDER BY o.id, e.key
"""
_RUNS = """
    SELECT o.name, r.scheduled_at, r.due_at, r.started_at, r.ended_at, r.retry_count, r.outcome,
           r.schedule, r.set_number, r.error
    FROM durable_objects_alarmrun r JOIN durable_objects_object o ON o.id = r.object_id ORDER BY r.id
"""
ARMED = """
    SELECT o.name FROM durable_objects_alarm a JOIN durable_objects_object o ON o.id = a.object_id
    WHERE a.wake_at IS NOT NULL
"""
_OWN = "SELECT name, mark FROM tests_mark ORDER BY id"
_COLUMNS = ("object", "scheduled", "due", "started", "ended", "retry", "outcome", "schedule", "set_number", "error")


def ask_postgresql(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query. Raises ``ConnectionError`` when the server is away."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            return connection.execute(query.encode()).fetchall()
    except psycopg.OperationalError as error:
        raise ConnectionError(str(error)) from error


def ask_sqlite(path: Path, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query.replace("clock_timestamp()", "strftime('%Y-%m-%d %H:%M:%f')")).fetchall()


def evidence(history: Path, ask: Ask) -> Evidence:
    """What the checker is to judge."""
    logs: dict[str, list[Event]] = defaultdict(list)
    for name, value in ask(_LOGS):
        logs[name].append(json.loads(value))
    rows = [dict(zip(_COLUMNS, map(_plain, row), strict=True)) for row in ask(_RUNS)]
    own: dict[str, list[str]] = defaultdict(list)
    for name, mark in ask(_OWN):
        own[name].append(mark)
    return Evidence(record.read(history), dict(logs), rows, [name for (name,) in ask(ARMED)], dict(own))


def _plain(value: Any) -> Any:
    """A moment as ISO text in UTC, whatever the driver gave (SQLite: text without an offset)."""
    if isinstance(value, str) and value[:2] == "20" and value[4:5] == "-":
        return datetime.fromisoformat(value).replace(tzinfo=UTC).isoformat()
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
