"""Delete an object's entries by what their values say, in the database: no value is loaded, and no call is long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database import clock, connection
from durable_objects.database.backends import backend_of
from durable_objects.database.errors import own_statements
from durable_objects.errors import InvalidInput
from durable_objects.models import DurableObject
from durable_objects.tables import Entry
from durable_objects.turns import lock
from durable_objects.turns.calls import enter

_TABLE = Entry._meta.db_table

#: What is read off ``walked``; the bound is its parameter, twice.
_FIGURES = (
    "COUNT(*) AS walked, COUNT(*) FILTER (WHERE rank < %s AND NOT aside) AS below, "
    "MIN(rank) FILTER (WHERE rank >= %s) AS least_left, MAX(key) AS last, COUNT(*) FILTER (WHERE aside) AS aside"
)


class Swept(NamedTuple):
    """What a sweep found: how many entries it walked over, how many of them rank below the bound (and were deleted),
    the least rank of the others, and the key to go on after; None when the end of the keys was reached. ``aside`` is
    how many were left alone, whatever their rank.
    """

    walked: int
    below: int
    least_left: Any
    last: str | None
    aside: int = 0


def sweep(
    obj: DurableObject,
    rank: str,
    bound: int,
    *,
    item: str = "value",
    aside: str = "FALSE",
    start_after: str | None = None,
    limit: int,
    delete: bool = True,
) -> Swept:
    """Walk over the next ``limit`` entries in key order and delete those whose rank is below ``bound``.

    ``item`` is an SQL expression of the column ``value`` (an entry's JSON text, see ``entries.types``), ``rank`` one of
    ``item`` (found once per entry) that gives a number, or NULL for what is to stay, and ``aside`` a condition on
    ``item`` for what is left alone and counted; all in the SQL of the database in use, every ``%`` doubled.
    They are code, never input.

    A turn, or part of the one that is open, whose own writes are not looked at; a key that it has put stays. Inside a
    savepoint (``storage.transaction()``, or ``alarm()`` while it is not ``unlocked()``) it raises
    ``DurableObjectError``. With ``delete=False`` nothing is locked, deleted or made: a plain read of what is committed.
    """
    if type(limit) is not int or limit < 1:
        raise InvalidInput(f"sweep() limit is {limit!r}: it must be a whole number from 1 on")
    part = _Part(item, rank, aside, bound, start_after, limit)
    if not delete:
        object_id = lock.find(clock.connection(), obj.kind_pk(), obj.name)
        if object_id is None:
            return Swept(0, 0, None, None)
        with connection.reading(clock.connection()):
            return part.walk(clock.connection(), object_id)

    def change() -> Swept:
        with enter(obj) as turn:
            turn.begin_bulk_delete()
            return part.delete(turn.conn, turn.object_id)

    return obj.run_exclusive(change)


def first_below(
    obj: DurableObject,
    rank: str,
    bound: int,
    *,
    item: str = "value",
    aside: str = "FALSE",
    start_after: str | None = None,
    limit: int,
    most: int,
) -> list[tuple[str, Any]]:
    """Return key and rank of the first entries, ``most`` at most, that ``sweep`` with these arguments would delete. A
    plain read of what is committed.
    """
    object_id = lock.find(clock.connection(), obj.kind_pk(), obj.name)
    if object_id is None:
        return []
    with connection.reading(clock.connection()):
        return _Part(item, rank, aside, bound, start_after, limit).first(clock.connection(), object_id, most)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the key order, and what is to go in it."""

    item: str
    rank: str
    aside: str
    bound: int
    after: str | None
    limit: int

    def walk(self, conn: BaseDatabaseWrapper, object_id: int) -> Swept:
        """Count, and delete nothing."""
        walked, params = self._walked(conn, object_id)
        return self._read(conn, f"SELECT {_FIGURES} FROM {walked}", [self.bound, self.bound, *params])

    def first(self, conn: BaseDatabaseWrapper, object_id: int, most: int) -> list[tuple[str, Any]]:
        """Return key and rank of the first that rank below the bound."""
        walked, params = self._walked(conn, object_id)
        sql = f"SELECT key, rank FROM {walked} WHERE rank < %s AND NOT aside ORDER BY key LIMIT %s"
        with own_statements(conn), conn.cursor() as cursor:
            cursor.execute(sql, [*params, self.bound, most])
            return [(key, rank) for key, rank in cursor.fetchall()]

    def delete(self, conn: BaseDatabaseWrapper, object_id: int) -> Swept:
        """Count and delete. Needs the object's lock."""
        walked, params = self._walked(conn, object_id)
        if backend_of(conn).deletes_in_with:
            # By their place in the table, which nobody changes while the object is locked: each value is read once.
            sql = (
                f"WITH found AS (SELECT {_FIGURES}, array_agg(place) FILTER (WHERE rank < %s AND NOT aside) AS places "
                f"FROM {walked}), "
                f"gone AS (DELETE FROM {_TABLE} WHERE ctid = ANY((SELECT places FROM found)::tid[])) "
                "SELECT walked, below, least_left, last, aside FROM found"
            )
            return self._read(conn, sql, [self.bound] * 3 + params)
        found = self.walk(conn, object_id)
        if found.below:
            doomed = f"SELECT place FROM {walked} WHERE rank < %s AND NOT aside"
            with own_statements(conn), conn.cursor() as cursor:
                cursor.execute(f"DELETE FROM {_TABLE} WHERE id IN ({doomed})", [*params, self.bound])
        return found

    def _read(self, conn: BaseDatabaseWrapper, sql: str, params: list[Any]) -> Swept:
        with own_statements(conn), conn.cursor() as cursor:
            cursor.execute(sql, params)
            walked, below, least_left, last, aside = cursor.fetchone()
        return Swept(walked, below, least_left, last if walked == self.limit else None, aside)

    def _walked(self, conn: BaseDatabaseWrapper, object_id: int) -> tuple[str, list[Any]]:
        """Return a subquery ``walked`` of place, key, rank, aside, and its parameters. Limits make each found once."""
        place = backend_of(conn).row_address
        after, params = ("", []) if self.after is None else (" AND key > %s", [self.after])
        items = (
            f"SELECT {place} AS place, key, {self.item} AS item FROM {_TABLE} "
            f"WHERE object_id = %s{after} ORDER BY key LIMIT %s"
        )
        found = f"place, key, {self.rank} AS rank, {self.aside} AS aside"
        sql = f"(SELECT {found} FROM ({items}) AS items LIMIT %s) AS walked"
        return sql, [object_id, *params, self.limit, self.limit]
