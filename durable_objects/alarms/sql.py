"""Reads and stores alarm slots. Only this module, ``leases`` and ``delivery.claims`` write alarm rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms.slot import Slot
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.database.round_trip import Row, Statement
from durable_objects.tables import Alarm, Object, Pause

_TABLE = Alarm._meta.db_table
_OBJECTS = Object._meta.db_table
_PAUSES = Pause._meta.db_table
_TIMES = {"scheduled_at", "due_at", "schedule_due_at", "leased_until", "wake_up_for"}
_COLUMNS = [f.name for f in Alarm._meta.concrete_fields if f.name != "object" and not f.generated]
#: Where ``look`` has the number of pauses, before kind and name.
_PAUSED = len(_COLUMNS) + 2
#: How a column's value is read that the driver may have given as text; all others are whole numbers.
_READ: dict[str, Callable[[Any], Any]] = dict.fromkeys(_TIMES, clock.from_database) | {
    f.name: str for f in Alarm._meta.concrete_fields if isinstance(f, models.CharField | models.TextField)
}


def look(conn: BaseDatabaseWrapper, where: str, params: Sequence[Any], *, for_run: bool = False) -> Statement:
    """Return the statement that reads these objects' slots, the database's now, and their kinds and names; and for a
    run whether they are paused.

    Never joined to the lock.
    """
    expression, now = clock.now_sql(conn)
    moment = backend_of(conn).select_moment
    columns = ", ".join(moment(f"slot.{name}") if name in _TIMES else f"slot.{name}" for name in _COLUMNS)
    both = f"{_OBJECTS} LEFT JOIN {_TABLE} slot ON slot.object_id = id"
    paused, paused_params = _pauses(conn) if for_run else ("", [])
    read = f"id, {expression}, {columns}, {paused}kind_id, name"
    return f"SELECT {read} FROM {both} WHERE {where}", [*now, *paused_params, *params]


def _pauses(conn: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """Return the column that counts the pauses which hold an object."""
    now, params = clock.now_expression(conn)
    held = f"scope = '{Pause.Scope.EVERYTHING}' OR p.kind_id = {_OBJECTS}.kind_id OR p.object_id = {_OBJECTS}.id"
    return f"(SELECT COUNT(*) FROM {_PAUSES} p WHERE (until IS NULL OR until > {now}) AND ({held})), ", params


def slot_of(row: Row) -> tuple[Slot, datetime]:
    """Return the slot in a row that ``look`` gave, as it was then, and the database's now."""
    slot = Slot(int(row[0]))
    if row[2] is not None:
        slot.stored = True
        for name, value in zip(_COLUMNS, row[2:_PAUSED], strict=True):
            if value is not None:
                setattr(slot, name, _READ.get(name, int)(value))
    slot.paused = len(row) > _PAUSED + 2 and int(row[_PAUSED]) > 0
    return slot, clock.from_database(row[1])


def storing(conn: BaseDatabaseWrapper, slots: Iterable[Slot]) -> Iterator[Statement]:
    """Yield the statements that store what turns changed: one for all slots of which the same columns changed.

    Needs the objects' locks.
    """
    by_columns: dict[tuple[str, ...], list[Slot]] = {}
    for slot in slots:
        if slot.changed:
            by_columns.setdefault(tuple(sorted(slot.changed)), []).append(slot)
            slot.stored, slot.changed = True, set()
    for changed, group in by_columns.items():
        values = []
        for slot in group:
            values.append(slot.object_id)
            for name in _COLUMNS:
                value = getattr(slot, name)
                values.append(clock.to_database(conn, value) if name in _TIMES else value)
        marks = ", ".join([f"({', '.join(['%s'] * (len(_COLUMNS) + 1))})"] * len(group))
        assignments = ", ".join(f"{name} = excluded.{name}" for name in changed)
        insert = f"INSERT INTO {_TABLE} (object_id, {', '.join(_COLUMNS)}) VALUES {marks}"
        yield f"{insert} ON CONFLICT (object_id) DO UPDATE SET {assignments}", values
