"""How a turn's transaction begins: its limits, the lock on the object's row, what is read with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms import sql as alarm_sql
from durable_objects.alarms.slot import Slot
from durable_objects.alarms.sql import OF_KIND
from durable_objects.database import clock, connection, round_trip, savepoints
from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import is_lock_timeout, limits_are_changed, note_limits, own_statements
from durable_objects.database.round_trip import Row, Statement
from durable_objects.errors import InvalidName, IsolationNotSupported, ObjectBusy, RunSuperseded
from durable_objects.tables import Object
from durable_objects.turns import read_ahead
from durable_objects.turns.handle import Key, shown
from durable_objects.validation import check_name

_TABLE = Object._meta.db_table

#: Databases whose tables were partitioned when an object was last locked by name. There that takes a round trip of its
#: own: PostgreSQL leaves out the partitions of other objects, unplanned and unlocked, only where it is given the key.
_in_partitions: set[str] = set()


def restore_limits(conn: BaseDatabaseWrapper, limits: Limits, *, outermost: bool) -> None:
    """Limit what the engine is about to execute as the turn did, where code in it has set others. By a message of their
    own: the server counts reading a long one as well.
    """
    if limits_are_changed(conn):
        round_trip.send(conn, backend_of(conn).restore_limits(limits, outermost=outermost))
        note_limits(conn, are_changed=False)


def check_isolation(conn: BaseDatabaseWrapper) -> None:
    """Refuse a caller's transaction that would not see what was committed while the turn waited for the lock."""
    with own_statements(conn):
        level = backend_of(conn).unfit_isolation()
    if level is not None:
        raise IsolationNotSupported(
            f"this transaction is {level.upper()}: a turn inside it would decide on rows from before the lock. "
            "Call the object outside of the transaction, or begin it as READ COMMITTED."
        )


class OtherKind(Exception):
    """The object with this key is not of the class that was expected, or has a name that no object can have."""


@dataclass(frozen=True, slots=True)
class Whose:
    """The object that is to be locked: by name its row is made when missing, by ``object_id`` it must be there.

    With that, the name may be None: it is read with the lock, for those that know the class only.
    """

    kind_id: int
    name: str | None
    object_id: int | None

    def condition(self) -> Statement:
        """Return the condition on its row, with its parameters."""
        if self.object_id is not None:
            return "id = %s", [self.object_id]
        return f"{OF_KIND} AND name = %s", [self.kind_id, check_name(self.name or "")]

    def key(self) -> Statement:
        """Return SQL for its key, with its parameters."""
        if self.object_id is not None:
            return "%s", [self.object_id]
        where, params = self.condition()
        return f"(SELECT id FROM {_TABLE} WHERE {where})", params

    def lock(self, conn: BaseDatabaseWrapper, *, skip_locked: bool = False) -> Sequence[Statement]:
        """Return what locks its row and reads its key; by name, also whether the engine's tables are partitioned."""
        where, params = self.condition()
        also = f", {backend_of(conn).is_partitioned(alarm_sql.TABLE)}" if self.object_id is None else ""
        select = f"SELECT id{also} FROM {_TABLE} WHERE {where}", params
        return backend_of(conn).lock(select, skip_locked=skip_locked)


class Locked(NamedTuple):
    """An object that is locked with others: its slot, the database's now, its kind and name."""

    slot: Slot
    now: datetime
    kind_id: int
    name: str


class Taken(NamedTuple):
    """What comes with the lock: the object's slot and name, the database's now, what else was wanted; whether the row
    was made.
    """

    slot: Slot
    name: str
    now: datetime
    read: read_ahead.Read
    is_new: bool


class Asked(NamedTuple):
    """What is asked for with the lock. With ``limits`` the transaction is the turn's own: on PostgreSQL it begins here.
    ``for_run``: the slot says whether the object is paused, and who drains it sees this run. ``sends_savepoint``: a
    ``SentBlock`` follows.
    """

    limits: Limits | None
    wanted: read_ahead.Wanted
    for_run: bool
    sends_savepoint: bool


class Opening(NamedTuple):
    """The statements that a turn's transaction opens with, in this order."""

    begin: Sequence[Statement]
    lock: Sequence[Statement]
    note: Sequence[Statement]
    after_lock: Sequence[Statement]
    look: Sequence[Statement]


class Answered(NamedTuple):
    """An opening that was sent, and the results that came: fewer where one of its statements failed."""

    opening: Opening
    results: Sequence[list[Row]]

    @property
    def has_locked(self) -> bool:
        """Whether all of it was executed, and the row is locked."""
        return len(self.results) == sum(map(len, self.opening)) and bool(self.results[len(self.opening.begin)])


def opening(conn: BaseDatabaseWrapper, whose: Whose, asked: Asked, *, skip_locked: bool = False) -> Opening:
    """Return the statements by which ``take`` begins; with ``skip_locked`` they wait for nobody."""
    backend = backend_of(conn)
    begin: Sequence[Statement] = ()
    after: Sequence[Statement] = ()
    if (limits := asked.limits) is not None:
        outermost = connection.depth(conn) == 1
        begin, after = backend.begin(limits, outermost=outermost), backend.after_lock(limits, outermost=outermost)
    if asked.sends_savepoint:
        after = [*after, savepoints.SENDING]
    # After the lock, so that none counts which only waits for it; before the look, so that none is missed.
    note = backend.note_run(whose.kind_id) if asked.for_run else ()
    return Opening(begin, whose.lock(conn, skip_locked=skip_locked), note, after, _looking(conn, whose, asked))


def _looking(conn: BaseDatabaseWrapper, whose: Whose, asked: Asked) -> Sequence[Statement]:
    where, params = whose.condition()
    look = alarm_sql.look(conn, where, params, for_run=asked.for_run)
    return [look, *asked.wanted.statements(*whose.key())]


def take(conn: BaseDatabaseWrapper, whose: Whose, asked: Asked, answered: Answered | None = None) -> Taken:
    """Lock the object's row, and read what is wanted by later statements of the same round trip, or, by name in
    partitions, of another one. ``answered`` is the ``opening`` where it was sent already. Raises ``ObjectBusy``,
    ``RunSuperseded`` and ``OtherKind``.
    """
    backend, wanted = backend_of(conn), asked.wanted
    (before, lock, noted, after, look), came = answered or Answered(opening(conn, whose, asked), ())
    if whose.object_id is None and conn.alias in _in_partitions:
        whose = _locked(conn, whose, [*before, *lock])
        before, lock = (), lock if whose.object_id is None else ()
        look = _looking(conn, whose, asked)
    inserts = is_new = False
    while True:
        statements = [*before, *lock, *noted, *after, *look]
        results, came = came or round_trip.send_each(conn, statements, typed=len(wanted.models)), ()
        rows, *others = results[-len(look) :]
        is_new = is_new or (inserts and (bool(results[0]) or not backend.returns_inserted))
        # A row that came into being after the lock was asked for is not locked.
        if rows and (not lock or results[len(before)]):
            if lock:
                _note_partitions(conn, results[len(before)][0])
            slot, now = alarm_sql.slot_of(rows[0])
            name = _name_in(rows[0], whose) if whose.name is None else whose.name
            return Taken(slot, name, now, wanted.read(others), is_new)
        if whose.object_id is not None:
            raise RunSuperseded(f"object {whose.object_id} ({whose.name!r}) is gone: it was deleted meanwhile")
        insert, values = _inserting(conn, whose.kind_id, [whose.name or ""])
        before, after = [(f"{insert} RETURNING id" if backend.returns_inserted else insert, values)], ()
        inserts = True


def _locked(conn: BaseDatabaseWrapper, whose: Whose, statements: Sequence[Statement]) -> Whose:
    """Lock by a message of its own; return the same by its key, or as it was where there is no row."""
    rows = round_trip.send(conn, statements)
    if not rows:
        return whose
    _note_partitions(conn, rows[0])
    return replace(whose, object_id=int(rows[0][0]))


def _note_partitions(conn: BaseDatabaseWrapper, locked: Row) -> None:
    if len(locked) == 2:  # by name
        (_in_partitions.add if locked[1] == "t" else _in_partitions.discard)(conn.alias)


def _name_in(row: Row, whose: Whose) -> str:
    kind_id, name = int(row[-2]), str(row[-1])
    try:
        if kind_id == whose.kind_id:
            return check_name(name)
    except InvalidName as error:
        raise OtherKind(str(error)) from error
    raise OtherKind(f"object {whose.object_id} is of kind {kind_id}, not {whose.kind_id}")


def take_several(
    conn: BaseDatabaseWrapper,
    where: str,
    params: Sequence[Any],
    limits: Limits | None,
    *,
    skip_locked: bool,
    for_run: bool,
) -> list[Locked]:
    """Lock the rows of these objects in the order of their keys, and return them. ``for_run`` as for ``take``.

    As ``take``, but with a round trip more: the slots are those of the rows that were locked.
    """
    backend, outermost = backend_of(conn), connection.depth(conn) == 1
    lock = backend.lock(
        (f"SELECT id, kind_id FROM {_TABLE} WHERE {where} ORDER BY id", params), skip_locked=skip_locked
    )
    if lock:
        before = backend.begin(limits, outermost=outermost) if limits else ()
        after = backend.after_lock(limits, outermost=outermost) if limits else ()
        locked = round_trip.send(conn, [*before, *lock])
        if not locked:
            return []
        where, params = backend.among("id", [int(row[0]) for row in locked])
        kinds = sorted({int(row[1]) for row in locked}) if for_run else []
        noted = [statement for kind_id in kinds for statement in backend.note_run(kind_id)]
        look = alarm_sql.look(conn, where, params, for_run=for_run)
        *_, rows = round_trip.send_each(conn, [*noted, *after, look], typed=1)
    else:
        rows = round_trip.send(conn, [alarm_sql.look(conn, where, params, for_run=for_run)])
    return [_as_locked(row) for row in rows]


def make_several(conn: BaseDatabaseWrapper, kind_id: int, names: Sequence[str], limits: Limits | None) -> list[Locked]:
    """Make the rows of those objects that have none, and return these as ``take_several`` does; with ``limits``, a
    transaction of one's own begins with it. Nobody else can see them before the commit, so that they need no lock.
    """
    backend = backend_of(conn)
    if not backend.returns_inserted:
        return _make_missing(conn, kind_id, names)
    insert, values = _inserting(conn, kind_id, names)
    before = backend.begin(limits, outermost=connection.depth(conn) == 1) if limits else ()
    expression, params = clock.now_sql(conn)
    statements = [(f"{insert} RETURNING id, name", values), (f"SELECT {expression}", params)]
    *_, made, [(now,)] = round_trip.send_each(conn, [*before, *statements], typed=len(statements))
    now = clock.from_database(now)
    return [Locked(Slot(object_id, kind_id), now, kind_id, name) for object_id, name in made]


def _make_missing(conn: BaseDatabaseWrapper, kind_id: int, names: Sequence[str]) -> list[Locked]:
    """Do so in a database that one transaction at a time writes to: nobody else makes what is missing."""

    def where(names: Sequence[str]) -> Statement:
        return f"{OF_KIND} AND name IN ({', '.join(['%s'] * len(names))})", [kind_id, *names]

    condition, params = where(names)
    there = {name for (name,) in round_trip.send(conn, [(f"SELECT name FROM {_TABLE} WHERE {condition}", params)])}
    if not (missing := [name for name in names if name not in there]):
        return []
    rows = round_trip.send(conn, [_inserting(conn, kind_id, missing), alarm_sql.look(conn, *where(missing))])
    return [_as_locked(row) for row in rows]


def _as_locked(row: Row) -> Locked:
    return Locked(*alarm_sql.slot_of(row), int(row[-2]), row[-1])


def peek(conn: BaseDatabaseWrapper, kind_id: int, name: str) -> tuple[Slot, datetime] | None:
    """Return the object's slot and the database's now, without a lock; None for an object without a row."""
    rows = round_trip.send(conn, [alarm_sql.look(conn, f"{OF_KIND} AND name = %s", [kind_id, check_name(name)])])
    return alarm_sql.slot_of(rows[0]) if rows else None


def key_of(kind_id: int, name: str) -> Statement:
    """Return the query for the object's primary key, without a lock; part of another statement in parentheses."""
    return f"SELECT id FROM {_TABLE} WHERE kind_id = %s AND name = %s", [kind_id, check_name(name)]


def find(conn: BaseDatabaseWrapper, kind_id: int, name: str) -> int | None:
    """Return the object's primary key if it has a row, without a lock."""
    rows = round_trip.send(conn, [key_of(kind_id, name)])
    return int(rows[0][0]) if rows else None


def find_by_key(conn: BaseDatabaseWrapper, object_id: int) -> tuple[int, str] | None:
    """Return kind and name of the object with this key, without a lock; None when it is gone."""
    rows = round_trip.send(conn, [(f"SELECT kind_id, name FROM {_TABLE} WHERE id = %s", [object_id])])
    return (int(rows[0][0]), rows[0][1]) if rows else None


def as_busy(error: BaseException, key: Key, limits: Limits | None, *, number: int = 1) -> ObjectBusy | None:
    """Return the ``ObjectBusy`` for this object when opening its turn raised that for a lock timeout, else None."""
    cause = error.__cause__ if isinstance(error, ObjectBusy) and error.key is None else None
    return busy(key, limits, number=number) if cause is not None and is_lock_timeout(cause) else None


def busy(key: Key, limits: Limits | None, *, number: int = 1) -> ObjectBusy:
    """Return the error for an object that could not be locked in time; without limits, in those of the caller. For a
    number of them, of which this is the first, it names none: the database does not say which one was not free.
    """
    if limits is None:
        timeout = "the lock timeout of the transaction around it"
    else:
        seconds = f"{limits.lock_timeout.total_seconds():g} s"
        timeout = seconds if limits.is_run else f"LOCK_TIMEOUT ({seconds})"
    if number == 1:
        what, whose = shown(key), "it"
    else:
        what, whose = f"all of {number:,} objects of {key[0]}, from {key[1]!r} on,", "one of them"
    error = ObjectBusy(
        f"could not lock {what} within {timeout}: another call on {whose} still runs. "
        "Try again later, or shorten that call with unlocked()."
    )
    error.key = key if number == 1 else None
    return error


def _inserting(conn: BaseDatabaseWrapper, kind_id: int, names: Sequence[str]) -> Statement:
    """Return what makes those of these rows that are missing. The names have been checked."""
    rows, values = backend_of(conn).pairs(kind_id, names)
    return f"INSERT INTO {_TABLE} (kind_id, name) {rows} ON CONFLICT (kind_id, name) DO NOTHING", values
