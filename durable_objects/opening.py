"""How a turn's transaction begins: whose it is, its limits, the lock on the object's row; and how it is let go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.conf import engine
from durable_objects.database_errors import is_lock_timeout
from durable_objects.errors import IsolationNotSupported, ObjectBusy, RunSuperseded
from durable_objects.names import check_name
from durable_objects.rows import Object

_TABLE = Object._meta.db_table

#: What Python's sqlite3 waits for a lock when nobody said.
_SQLITE_TIMEOUT_SECONDS = 5

#: A connection that lay idle for longer than this is asked whether it still works before it is used again.
_PING_AFTER_SECONDS = 1.0


def depth(conn: BaseDatabaseWrapper) -> int:
    """How many ``atomic`` blocks are open."""
    return len(conn.atomic_blocks)


def joins_transaction(conn: BaseDatabaseWrapper) -> bool:
    """Whether a turn opened now would be part of a transaction of the caller's. A test case's does not count."""
    if not conn.in_atomic_block:
        return not conn.get_autocommit()
    return any(not getattr(block, "_from_testcase", False) for block in conn.atomic_blocks)


@contextmanager
def waiting_for(conn: BaseDatabaseWrapper, lock_timeout: timedelta | None) -> Iterator[None]:
    """Limits the wait for BEGIN on SQLite, which takes its lock there."""
    if conn.vendor != "sqlite" or conn.in_atomic_block:
        yield
        return
    conn.ensure_connection()
    usual = timedelta(seconds=conn.settings_dict.get("OPTIONS", {}).get("timeout", _SQLITE_TIMEOUT_SECONDS))
    conn.connection.execute(f"PRAGMA busy_timeout = {_milliseconds(lock_timeout or engine.LOCK_TIMEOUT)}")
    try:
        yield
    finally:
        conn.connection.execute(f"PRAGMA busy_timeout = {_milliseconds(usual)}")


def limit_run(conn: BaseDatabaseWrapper, time_limit: timedelta) -> None:
    """Limits of a run, once it has its object: no statement of its handler lasts longer than the run may.

    What the handler waits for is limited as for any other turn.
    """
    if conn.vendor != "postgresql":
        return
    limits = f"SET LOCAL lock_timeout = {_milliseconds(engine.LOCK_TIMEOUT)};"
    if depth(conn) == 1:  # in a test case's transaction it would outlast the run
        limits += f"SET LOCAL statement_timeout = {_milliseconds(time_limit)};"
    with conn.wrap_database_errors:
        conn.connection.execute(limits, prepare=False)


def limit(conn: BaseDatabaseWrapper, lock_timeout: timedelta | None, time_limit: timedelta) -> None:
    """Limits of a transaction that is the turn's own: the server frees the object of a worker that hangs or is gone.

    READ COMMITTED is asked for by name, whatever the database's default: a turn must see what was committed while it
    waited for the lock.
    """
    if conn.vendor != "postgresql":
        return
    limits = f"SET LOCAL lock_timeout = {_milliseconds(lock_timeout or engine.LOCK_TIMEOUT)};"
    if depth(conn) == 1:
        limits += "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
        limits += f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(time_limit)};"
    with conn.wrap_database_errors:
        conn.connection.execute(limits, prepare=False)


def check_isolation(conn: BaseDatabaseWrapper) -> None:
    """Refuse a caller's transaction that would not see what was committed while the turn waited for the lock."""
    if conn.vendor != "postgresql":
        return
    with conn.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        level = cursor.fetchone()[0]
    if level != "read committed":
        raise IsolationNotSupported(
            f"this transaction is {level.upper()}: a turn inside it would decide on rows from before the lock. "
            "Call the object outside of the transaction, or begin it as READ COMMITTED."
        )


def lock(conn: BaseDatabaseWrapper, kind_id: int, name: str, object_id: int | None) -> int:
    """Lock the object's row and answer its key; by name it is made when missing, by key it must be there.

    FOR NO KEY UPDATE, so that inserting rows that point to the object does not wait.
    """
    suffix = " FOR NO KEY UPDATE" if conn.features.has_select_for_no_key_update else ""
    where = "kind_id = %s AND name = %s"
    params: tuple[int | str, ...] = (kind_id, check_name(name))  # a handle made without the manager may have any
    if object_id is not None:
        where, params = "id = %s", (object_id,)
    while True:
        with conn.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {_TABLE} WHERE {where}{suffix}", params)
            row = cursor.fetchone()
        if row is not None:
            return int(row[0])
        if object_id is not None:
            raise RunSuperseded(f"object {object_id} ({name!r}) is gone: it was deleted meanwhile")
        _insert(conn, kind_id, name)


def find(conn: BaseDatabaseWrapper, kind_id: int, name: str) -> int | None:
    """The object's key if it has a row, without a lock."""
    with conn.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {_TABLE} WHERE kind_id = %s AND name = %s", [kind_id, check_name(name)])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def as_busy(error: BaseException, key: tuple[str, str]) -> ObjectBusy | None:
    """The ``ObjectBusy`` that this error of opening a turn means, if it does."""
    if isinstance(error, DatabaseError) and is_lock_timeout(error):
        return ObjectBusy(
            f"{key[0]} {key[1]!r}: not had within the lock timeout; another call on it still runs. "
            "Try again later, or shorten that call with unlocked()."
        )
    return None


def give_back(conn: BaseDatabaseWrapper) -> None:
    """A pooled connection goes back to its pool while its turn is unlocked; any other is kept."""
    if not conn.in_atomic_block and "pool" in conn.settings_dict.get("OPTIONS", {}):
        conn.close()
    conn.__dict__["durable_objects_idle_since"] = time.monotonic()


def wake_up(conn: BaseDatabaseWrapper) -> None:
    """After a pause the server may be another one: a connection that does not answer is dropped and made anew."""
    idle = time.monotonic() - conn.__dict__.get("durable_objects_idle_since", 0.0)
    if conn.in_atomic_block or conn.connection is None or idle < _PING_AFTER_SECONDS:
        return
    if not conn.is_usable():
        conn.close()


def _insert(conn: BaseDatabaseWrapper, kind_id: int, name: str) -> None:
    with conn.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_TABLE} (kind_id, name) VALUES (%s, %s) ON CONFLICT (kind_id, name) DO NOTHING",
            [kind_id, name],
        )


def _milliseconds(span: timedelta) -> int:
    return max(1, int(span.total_seconds() * 1000))
