"""Reads and stores alarm slots. Only this module, ``leases`` and ``delivery.claims`` write alarm rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms.error_groups import fingerprint
from durable_objects.alarms.slot import Slot
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Backend
from durable_objects.database.round_trip import Row, Statement
from durable_objects.tables import Alarm, Object, Pause

TABLE = Alarm._meta.db_table
_OBJECTS = Object._meta.db_table
_PAUSES = Pause._meta.db_table
_TIMES = {"scheduled_at", "due_at", "schedule_due_at", "leased_until", "wake_up_for"}
#: Objects of one content type: alarms have a column of that name as well.
OF_KIND = f"{_OBJECTS}.kind_id = %s"
#: The columns that a turn reads and changes.
_COLUMNS = [
    f.name for f in Alarm._meta.concrete_fields if f.name not in {"object", "kind", "error_group"} and not f.generated
]
#: New rows from this number on are copied: fewer are not worth a message of their own.
MANY = 100
#: Where ``look`` says whether a pause holds the object, before kind and name.
_PAUSED = len(_COLUMNS) + 2
#: How a column's value is read that the driver may have given as text; all others are whole numbers.
_READ: dict[str, Callable[[Any], Any]] = dict.fromkeys(_TIMES, clock.from_database) | {
    f.name: str for f in Alarm._meta.concrete_fields if isinstance(f, models.CharField | models.TextField)
}
_READERS = [_READ.get(name, int) for name in _COLUMNS]


def look(conn: BaseDatabaseWrapper, where: str, params: Sequence[Any], *, for_run: bool = False) -> Statement:
    """Return the statement that reads these objects' slots, the database's now, and their kinds and names; and for a
    run whether they are paused.

    Never joined to the lock. ``where`` is a condition on the objects' table, such as ``OF_KIND``.
    """
    expression, now = clock.now_expression(conn)
    text = _looking(type(backend_of(conn)), expression, where, for_run=for_run)
    return text, [*now, *(now if for_run else ()), *params]


@functools.lru_cache
def _looking(backend: type[Backend], now: str, where: str, *, for_run: bool) -> str:
    moment = backend.select_moment
    columns = ", ".join(moment(f"slot.{name}") if name in _TIMES else f"slot.{name}" for name in _COLUMNS)
    paused = f"{_pauses(now)}, " if for_run else ""
    read = f"id, {moment(now)}, {columns}, {paused}{_OBJECTS}.kind_id, name"
    return f"SELECT {read} FROM {_OBJECTS} LEFT JOIN {TABLE} slot ON slot.object_id = id WHERE {where}"


def _pauses(now: str) -> str:
    """Return the column that is 1 where a pause holds the object, else 0."""
    held = f"scope = '{Pause.Scope.EVERYTHING}' OR p.kind_id = {_OBJECTS}.kind_id OR p.object_id = {_OBJECTS}.id"
    found = f"SELECT 1 FROM {_PAUSES} p WHERE (until IS NULL OR until > {now}) AND ({held})"
    return f"CAST(EXISTS ({found}) AS integer)"


def slot_of(row: Row) -> tuple[Slot, datetime]:
    """Return the slot in a row that ``look`` gave, as it was then, and the database's now."""
    slot = Slot(int(row[0]), int(row[-2]), stored=row[2] is not None)
    if slot.stored:
        for name, reader, value in zip(_COLUMNS, _READERS, row[2:_PAUSED], strict=True):
            if value is not None:
                setattr(slot, name, reader(value))
    if len(row) > _PAUSED + 2:
        slot.paused = int(row[_PAUSED]) > 0
    return slot, clock.from_database(row[1])


def copy_new(conn: BaseDatabaseWrapper, slots: Sequence[Slot]) -> None:
    """Store those that have no row yet, where they are many and the database has a faster way; leave the others to
    ``storing``. Needs the objects' locks, which keep such a row from being made meanwhile.
    """
    new = [slot for slot in slots if not slot.stored]
    if len(new) < MANY or (copy := backend_of(conn).copier(TABLE)) is None:
        return
    for changed, group in _by_columns(new).items():
        copy(["object_id", "kind_id", *changed], _rows(conn, group, changed))


def storing(conn: BaseDatabaseWrapper, slots: Iterable[Slot]) -> Iterator[Statement]:
    """Yield the statements that store what turns changed: one for all slots of which the same columns changed. The
    other columns of a row that is new have the database's defaults, which are those of ``Slot``.

    Needs the objects' locks.
    """
    for changed, group in _by_columns(slots).items():
        names = ("object_id", "kind_id", *changed)
        rows, values = backend_of(conn).rows(Alarm, {name: list(_column(conn, group, name)) for name in names})
        assignments = ", ".join(f"{name} = excluded.{name}" for name in changed)
        insert = f"INSERT INTO {TABLE} ({', '.join(names)}) {rows}"
        yield f"{insert} ON CONFLICT (object_id) DO UPDATE SET {assignments}", values


def _by_columns(slots: Iterable[Slot]) -> dict[tuple[str, ...], list[Slot]]:
    """Return those that were changed, by what was, which is about to be stored."""
    by_columns: dict[tuple[str, ...], list[Slot]] = {}
    for slot in slots:
        if slot.changed:
            if "last_error" in slot.changed:
                slot.changed.add("error_group")
            by_columns.setdefault(tuple(sorted(slot.changed)), []).append(slot)
            slot.stored, slot.changed = True, set()
    return by_columns


def _rows(conn: BaseDatabaseWrapper, slots: Iterable[Slot], columns: Sequence[str]) -> Iterator[Row]:
    """Return the rows' values: of each those of its key and its kind, then of these columns."""
    return zip(*(_column(conn, slots, name) for name in ("object_id", "kind_id", *columns)), strict=True)


def _column(conn: BaseDatabaseWrapper, slots: Iterable[Slot], name: str) -> Iterator[Any]:
    if name == "error_group":
        return (fingerprint(slot.last_error) for slot in slots)
    values = map(attrgetter(name), slots)
    return (clock.to_database(conn, value) for value in values) if name in _TIMES else values
