"""Read and write entries, as encoded text. No other module writes them; ``bulk_delete`` deletes some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database import round_trip
from durable_objects.database.backends import backend_of
from durable_objects.database.round_trip import Statement
from durable_objects.tables import Entry

_TABLE = Entry._meta.db_table

#: Rows per statement: three parameters each stay below every database's limit.
_CHUNK = 5_000

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Range:
    """A part of the key order. ``start`` inclusive, ``after`` exclusive, ``end`` exclusive (DO-66)."""

    start: str | None = None
    after: str | None = None
    end: str | None = None
    prefix: str | None = None
    reverse: bool = False

    def __contains__(self, key: str) -> bool:
        return (
            (self.start is None or key >= self.start)
            and (self.after is None or key > self.after)
            and (self.end is None or key < self.end)
            and (self.prefix is None or key.startswith(self.prefix))
        )

    def sql(self) -> tuple[str, list[str]]:
        """Return conditions on ``key`` that an index can use, with their parameters."""
        end_of_prefix = next_prefix(self.prefix) if self.prefix else None
        bounds = [
            ("key >= %s", self.start),
            ("key > %s", self.after),
            ("key < %s", self.end),
            ("key >= %s", self.prefix),
            ("key < %s", end_of_prefix),
        ]
        kept = [(condition, value) for condition, value in bounds if value is not None]
        return "".join(f" AND {condition}" for condition, _ in kept), [value for _, value in kept]


@dataclass(frozen=True, slots=True)
class Change:
    """What a turn wrote into its object's storage (None: deleted); ``cleared`` deletes everything else first."""

    object_id: int
    writes: Mapping[str, str | None]
    cleared: bool = False


def next_prefix(prefix: str) -> str | None:
    """Return the first text after all that begin with ``prefix``; None when there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


def get(conn: BaseDatabaseWrapper, owner: int | Statement, keys: Sequence[str]) -> dict[str, str]:
    """Return the texts of those of the keys that are there. ``owner``: the object's key, or the query for it."""
    object_sql, params = _owner(owner)
    found: dict[str, str] = {}
    for chunk in _chunks(keys):
        found.update(round_trip.send(conn, [reading(object_sql, params, chunk)]))
    return found


def reading(object_sql: str, params: Sequence[Any], keys: Sequence[str]) -> Statement:
    """Return the statement that reads those of the keys that are there; ``object_sql`` is the object's key."""
    marks = ", ".join(["%s"] * len(keys))
    return f"SELECT key, value FROM {_TABLE} WHERE object_id = {object_sql} AND key IN ({marks})", [*params, *keys]


def scan(conn: BaseDatabaseWrapper, owner: int | Statement, where: Range, limit: int | None) -> dict[str, str]:
    """Return the entries in the range, in key order. ``owner`` as for ``get``."""
    (object_sql, of), (conditions, params) = _owner(owner), where.sql()
    order = "DESC" if where.reverse else "ASC"
    sql = f"SELECT key, value FROM {_TABLE} WHERE object_id = {object_sql}{conditions} ORDER BY key {order}"
    if limit is not None:
        sql += f" LIMIT {int(limit)}"
    return dict(round_trip.send(conn, [(sql, [*of, *params])]))


def _owner(owner: int | Statement) -> tuple[str, Sequence[Any]]:
    return ("%s", [owner]) if isinstance(owner, int) else (f"({owner[0]})", owner[1])


def storing(conn: BaseDatabaseWrapper, turns: Iterable[Change]) -> Iterator[Statement]:
    """Yield the statements that store what turns wrote: deletes, then one insert. Needs the objects' locks."""
    puts: list[tuple[int, str, str]] = []
    for change in turns:
        if change.cleared:
            yield f"DELETE FROM {_TABLE} WHERE object_id = %s", [change.object_id]
        else:
            for gone in _chunks(key for key, text in change.writes.items() if text is None):
                marks = ", ".join(["%s"] * len(gone))
                yield f"DELETE FROM {_TABLE} WHERE object_id = %s AND key IN ({marks})", [change.object_id, *gone]
        for key, text in change.writes.items():
            if text is not None:
                puts.append((change.object_id, key, text))
    for chunk in _chunks(puts):
        columns = dict(zip(("object_id", "key", "value"), zip(*chunk, strict=True), strict=True))
        rows, values = backend_of(conn).rows(Entry, columns)
        upsert = "ON CONFLICT (object_id, key) DO UPDATE SET value = excluded.value"
        yield f"INSERT INTO {_TABLE} (object_id, key, value) {rows} {upsert}", values


def _chunks(items: Iterable[Item], size: int = _CHUNK) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
