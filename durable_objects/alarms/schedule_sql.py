"""Reads and stores schedules. Only this module writes their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms.error_groups import fingerprint
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.database import clock, round_trip
from durable_objects.database.backends import backend_of
from durable_objects.database.fields import microseconds
from durable_objects.database.round_trip import Row, Statement
from durable_objects.tables import Schedule

_TABLE = Schedule._meta.db_table
_TIMES = ("scheduled_at", "due_at", "follow_at", "died_at")
_FLAGS = ("declared", "is_decided")
_NUMBERS = ("set_number", "retry_count")
#: At most this many rows are stored by one statement: SQLite takes 32,766 parameters, unless it was built for more.
AT_ONCE = 1_000
_COLUMNS = [f.name for f in Schedule._meta.concrete_fields if f.name not in {"id", "object", "kind", "error_group"}]
#: What else is stored: computed of the others, and never read by a turn.
_STORED = [*_COLUMNS, "error_group"]


def load(conn: BaseDatabaseWrapper, object_id: int) -> dict[str, ScheduledCall]:
    """Return the object's schedules by name. Reads them under its lock, where they are about to change."""
    rows = round_trip.send(conn, [_select(conn, "object_id = %s", [object_id])])
    calls = [_call_of(row) for row in rows]
    return {call.name: call for call in calls}


def _select(conn: BaseDatabaseWrapper, where: str, params: list[Any]) -> Statement:
    moment = backend_of(conn).select_moment
    columns = ", ".join(moment(name) if name in _TIMES else name for name in _COLUMNS)
    return f"SELECT {columns} FROM {_TABLE} WHERE {where} ORDER BY name", params


def _call_of(row: Row) -> ScheduledCall:
    return ScheduledCall(**{name: _read(name, value) for name, value in zip(_COLUMNS, row, strict=True)})


def _read(name: str, value: Any) -> Any:
    """Return a column's value, which the driver may have given as text."""
    if name in _TIMES:
        return None if value is None else clock.from_database(value)
    if name in _FLAGS:
        return value in {True, "t", "1"}
    if name in _NUMBERS:
        return int(value)
    if name == "grace":
        return None if value is None else timedelta(microseconds=int(value))
    return value


def storing(
    conn: BaseDatabaseWrapper, changes: Mapping[tuple[int, int], Mapping[str, ScheduledCall | None]]
) -> Iterator[Statement]:
    """Yield the statements that store what turns changed, by object with its kind, and name. Needs the
    objects' locks.
    """
    rows: list[list[Any]] = []
    for (object_id, kind_id), calls in changes.items():
        if deleted := [name for name, call in calls.items() if call is None]:
            marks = ", ".join(["%s"] * len(deleted))
            yield f"DELETE FROM {_TABLE} WHERE object_id = %s AND name IN ({marks})", [object_id, *deleted]
        kept = [call for call in calls.values() if call is not None]
        rows += [[object_id, kind_id, *(_stored(conn, call, name) for name in _STORED)] for call in kept]
    for begin in range(0, len(rows), AT_ONCE):
        some = rows[begin : begin + AT_ONCE]
        marks = ", ".join([f"({', '.join(['%s'] * (len(_STORED) + 2))})"] * len(some))
        assignments = ", ".join(f"{name} = excluded.{name}" for name in _STORED if name != "name")
        insert = f"INSERT INTO {_TABLE} (object_id, kind_id, {', '.join(_STORED)}) VALUES {marks}"
        values = [value for row in some for value in row]
        yield f"{insert} ON CONFLICT (object_id, name) DO UPDATE SET {assignments}", values


def _stored(conn: BaseDatabaseWrapper, call: ScheduledCall, name: str) -> Any:
    if name == "error_group":
        return fingerprint(call.last_error)
    value = getattr(call, name)
    if name in _TIMES:
        return clock.to_database(conn, value)
    return microseconds(value) if name == "grace" else value
