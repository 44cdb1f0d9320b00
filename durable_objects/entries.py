"""The entries of an object, as text. The only room that writes them; values are encoded and decoded above."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.rows import Entry

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
        """The conditions on ``key`` that an index can use, with their parameters."""
        end_of_prefix = _next_prefix(self.prefix) if self.prefix else None
        bounds = [
            ("key >= %s", self.start),
            ("key > %s", self.after),
            ("key < %s", self.end),
            ("key >= %s", self.prefix or None),
            ("key < %s", end_of_prefix),
        ]
        kept = [(condition, value) for condition, value in bounds if value is not None]
        return "".join(f" AND {condition}" for condition, _ in kept), [value for _, value in kept]


def _next_prefix(prefix: str) -> str | None:
    """The first text after everything that begins with ``prefix``; None when there is nothing after it."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


def get(conn: BaseDatabaseWrapper, object_id: int, keys: Sequence[str]) -> dict[str, str]:
    """The entries among ``keys`` that are there."""
    found: dict[str, str] = {}
    for chunk in _chunks(keys):
        marks = ", ".join(["%s"] * len(chunk))
        with conn.cursor() as cursor:
            cursor.execute(
                f"SELECT key, value FROM {_TABLE} WHERE object_id = %s AND key IN ({marks})", [object_id, *chunk]
            )
            found.update(cursor.fetchall())
    return found


def scan(conn: BaseDatabaseWrapper, object_id: int, where: Range, limit: int | None) -> dict[str, str]:
    """The entries in the range, in key order."""
    conditions, params = where.sql()
    order = "DESC" if where.reverse else "ASC"
    sql = f"SELECT key, value FROM {_TABLE} WHERE object_id = %s{conditions} ORDER BY key {order}"
    if limit is not None:
        sql += f" LIMIT {int(limit)}"
    with conn.cursor() as cursor:
        cursor.execute(sql, [object_id, *params])
        return dict(cursor.fetchall())


def write(conn: BaseDatabaseWrapper, object_id: int, writes: Mapping[str, str | None], *, cleared: bool) -> None:
    """Store a turn's writes (None: deleted); ``cleared`` deletes everything else first. Needs the object's lock."""
    with conn.cursor() as cursor:
        if cleared:
            cursor.execute(f"DELETE FROM {_TABLE} WHERE object_id = %s", [object_id])
        else:
            for gone in _chunks(key for key, value in writes.items() if value is None):
                marks = ", ".join(["%s"] * len(gone))
                cursor.execute(f"DELETE FROM {_TABLE} WHERE object_id = %s AND key IN ({marks})", [object_id, *gone])
        for put in _chunks((key, value) for key, value in writes.items() if value is not None):
            marks = ", ".join(["(%s, %s, %s)"] * len(put))
            params = [parameter for key, value in put for parameter in (object_id, key, value)]
            cursor.execute(
                f"INSERT INTO {_TABLE} (object_id, key, value) VALUES {marks} "
                "ON CONFLICT (object_id, key) DO UPDATE SET value = excluded.value",
                params,
            )


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
