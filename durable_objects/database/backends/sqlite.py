"""SQLite, by Python's own driver."""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database.backends.base import Backend, Meaning, Reason, Row, Statement, milliseconds
from durable_objects.database.monotonic import monotonic

#: Primary result codes: BUSY, LOCKED.
_BUSY = {5, 6}
#: NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOLFS, NOTADB.
_TROUBLE = {7, 8, 9, 10, 11, 13, 14, 15, 22, 26} | _BUSY

#: What Python's sqlite3 waits for a lock where OPTIONS has no ``timeout``.
_TIMEOUT_SECONDS = 5


class Queue:
    """One at a time; who came first is next."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def enter(self, seconds: float) -> bool:
        """Wait for this thread's turn, at most that long. Returns whether it came."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            if mine.acquire(timeout=seconds):
                return True
        except BaseException:
            self._give_up(mine)
            raise
        return not self._give_up(mine, is_kept=True)

    def leave(self) -> None:
        """Let the next one in."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _give_up(self, mine: threading.Lock, *, is_kept: bool = False) -> bool:
        """Leave the queue; False when it was this thread's turn already, which is passed on unless it is kept."""
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return True
        if not is_kept:
            self.leave()
        return False


#: By the name of the database. A forked process has none of the threads that wait.
_queues: defaultdict[str, Queue] = defaultdict(Queue)
os.register_at_fork(after_in_child=_queues.clear)


class SQLite(Backend):
    """A file that this process reads and writes itself, with one write lock for all of it, taken by BEGIN IMMEDIATE."""

    long_turn = 1.0

    def __init__(self, conn: BaseDatabaseWrapper) -> None:
        super().__init__(conn)
        self._queue: Queue | None = None

    def late_mode(self) -> str | None:
        """Return the ``transaction_mode`` unless it takes the write lock at once."""
        mode = str(self.conn.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED")
        return mode if mode.upper() not in {"IMMEDIATE", "EXCLUSIVE"} else None

    def blocking_journal(self) -> str | None:
        """Return the journal mode unless it is WAL, or the database is in memory."""
        with self.conn.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            mode = str(cursor.fetchone()[0])
        return None if mode in {"wal", "memory"} else mode

    def set_journal(self) -> str:
        """Set it to WAL, and return what it is now."""
        with self.conn.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            return str(cursor.fetchone()[0])

    def write_moment(self, moment: datetime) -> str:
        """Return text in UTC."""
        return str(moment.replace(tzinfo=None))

    @staticmethod
    def select_moment(expression: str) -> str:
        """Return the expression: what is stored is text in UTC."""
        return expression

    def read_column(self, value: datetime) -> datetime:
        """Return it in UTC: Django has put its own zone's name on what is UTC."""
        return value.replace(tzinfo=UTC)

    @contextmanager
    def waiting_for_begin(self, limit: timedelta) -> Iterator[None]:
        """Limit the wait by ``busy_timeout``; the threads of a process take turns.

        SQLite lets the one in that asks at the right moment: most likely the one that has just committed.
        """
        conn = self.conn
        conn.ensure_connection()
        self.ended()  # a hook of the transaction that has just ended calls an object: it would wait for itself
        end = monotonic() + limit.total_seconds()
        queue = _queues[str(conn.settings_dict["NAME"])]
        self._queue = queue if queue.enter(limit.total_seconds()) else None
        left = timedelta(seconds=max(0.0, end - monotonic()))
        usual = timedelta(seconds=conn.settings_dict.get("OPTIONS", {}).get("timeout", _TIMEOUT_SECONDS))
        try:
            conn.connection.execute(f"PRAGMA busy_timeout = {milliseconds(left)}")
            yield
        finally:
            if not conn.in_atomic_block:
                self.ended()
            conn.connection.execute(f"PRAGMA busy_timeout = {milliseconds(usual)}")

    def ended(self) -> None:
        """Let the next thread begin."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave()

    def execute(self, statements: Sequence[Statement], typed: int) -> list[list[Row]]:
        """Execute them one after the other: there is no way to go."""
        found: list[list[Row]] = []
        with self.conn.cursor() as cursor:
            for sql, values in statements:
                cursor.execute(sql, values)
                found.append(cursor.fetchall() if cursor.description else [])
        return found

    def commit(
        self, statements: Sequence[Statement], then: Sequence[Statement] = (), typed: int = 0
    ) -> list[list[Row]]:
        """Execute them and leave the commit to Django."""
        if statements:
            self.execute(statements, 0)
        return []

    def epoch(self, column: str) -> str:
        """Return SQL for a column of moments, which are text, as whole seconds since 1970."""
        return f"CAST(strftime('%%s', {column}) AS INTEGER)"

    def savepoint_name(self, name: str, *, is_quoted: bool) -> str:
        """Return it in lower case: names are the same in any case, also in quotes."""
        return name.lower()

    def is_in_transaction(self) -> bool:
        """Return what the driver knows."""
        return bool(self.conn.connection.in_transaction)

    def answers(self) -> bool:
        """Return whether the file is open and can be read."""
        session = self.conn.connection
        if session is None:
            return False
        try:
            with self.conn.wrap_database_errors:
                session.execute("SELECT 1")
        except Error:
            return False
        return True

    def reset_session(self) -> None:
        """Roll back and keep the connection: a database in memory would be gone with it."""
        if self.conn.connection is not None:
            self.conn.connection.rollback()
            self.conn.set_autocommit(True)

    @staticmethod
    def meaning(_conn: BaseDatabaseWrapper, error: Error) -> Meaning | None:
        """Return it by the result code."""
        code = _code(error)
        if code is None:
            return None
        return Meaning.TROUBLE if code in _TROUBLE else Meaning.CODE

    @staticmethod
    def reason(error: BaseException) -> Reason | None:
        """Return whether another connection was writing all that time."""
        return Reason.LOCK_TIMEOUT if _code(error) in _BUSY else None


def _code(error: BaseException) -> int | None:
    code: int | None = getattr(error.__cause__, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
