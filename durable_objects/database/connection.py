"""The connection that a turn runs on: whose transaction is open, how long BEGIN waits, its rest while unlocked."""

from __future__ import annotations

import os
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.errors import LeftOpen, is_lock_timeout, is_worth_another_try, own_statements
from durable_objects.database.statement_text import BEFORE_FIRST_WORD, text_of
from durable_objects.errors import ObjectBusy
from durable_objects.logs import get_logger

logger = get_logger(__name__)

Result = TypeVar("Result")

#: Statements that leave something on the session when their transaction is over (PostgreSQL).
_LASTS = re.compile(
    rf"(?:^|;){BEFORE_FIRST_WORD}(?:SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|RESET\b|DISCARD\b|LISTEN\b|CREATE\s+TEMP)"
    r"|\bset_config\s*\([^)]*,\s*(?:false|%s)\s*\)|\bpg_(?:try_)?advisory_lock",
    re.IGNORECASE | re.DOTALL,
)

#: When the server gives up on a session whose other end says nothing, not even that it is there: after 30 s.
#: Keepalives are for one that waits, the last (milliseconds) for one to which an answer is on its way.
_CUT_OFF = {
    "tcp_keepalives_idle": 15,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

#: A transaction on SQLite keeps every other writer out: longer ones than this are logged.
SQLITE_TURN_SECONDS = 1.0

#: What Python's sqlite3 waits for a lock when nobody said.
_SQLITE_TIMEOUT_SECONDS = 5

#: A connection that lay idle for longer than this is asked whether it still works before it is used again.
_PING_AFTER_SECONDS = 1.0


def depth(conn: BaseDatabaseWrapper) -> int:
    """How many ``atomic`` blocks are open."""
    return len(conn.atomic_blocks)


def is_free(conn: BaseDatabaseWrapper) -> bool:
    """Whether what is said on it now is committed at once. It need not be connected for that."""
    autocommit = conn.settings_dict["AUTOCOMMIT"] if conn.connection is None else conn.autocommit
    return bool(autocommit) and not conn.in_atomic_block


@receiver(connection_created, dispatch_uid="durable_objects.cut_off")
def notice_who_is_cut_off(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """The server is to look after whoever says nothing: it would keep the object of a worker that is cut off, in the
    middle of a turn, for as long as a run may take. A server or project that looks sooner is left alone.
    """
    if connection.vendor != "postgresql" or connection.alias != engine.DATABASE:
        return
    host = str(connection.settings_dict.get("HOST") or "")
    driver: Any = connection.connection
    if host.startswith("/") or hasattr(driver, "durable_objects_noticed"):  # no network; had from a pool
        return
    driver.durable_objects_noticed = True
    wanted = " UNION ALL ".join(
        f"SELECT set_config('{name}', '{most}', false) WHERE current_setting('{name}')::bigint NOT BETWEEN 1 AND {most}"
        for name, most in _CUT_OFF.items()
    )
    try:  # by the driver's own cursor: whoever watches Django's looks for what others do to the session
        with connection.wrap_database_errors, driver.cursor() as cursor:
            cursor.execute(wanted)
    except DatabaseError as error:  # not PostgreSQL's own server: it may know no such settings
        logger.info("the server does not say when it gives up on who is cut off: %s", error)


def joins_transaction(conn: BaseDatabaseWrapper) -> bool:
    """Whether a turn opened now would be part of a transaction of the caller's. A test case's does not count."""
    if not conn.in_atomic_block:
        return not is_free(conn)
    return any(not getattr(block, "_from_testcase", False) for block in conn.atomic_blocks)


class Line:
    """One at a time; who came first is next."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def enter(self, seconds: float) -> bool:
        """Whether it is this thread's turn, after so many seconds at most."""
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
        """It is the next one's turn."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _give_up(self, mine: threading.Lock, *, is_kept: bool = False) -> bool:
        """Out of the line; False when it was this thread's turn already, which is passed on unless it is kept."""
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return True
        if not is_kept:
            self.leave()
        return False


#: By the name of the database. A forked process has none of the threads that wait.
_lines: defaultdict[str, Line] = defaultdict(Line)
os.register_at_fork(after_in_child=_lines.clear)


@contextmanager
def waiting_for(conn: BaseDatabaseWrapper, lock_timeout: timedelta | None) -> Iterator[None]:
    """Limits the wait for BEGIN on SQLite, which takes its lock there; the threads of a process take turns.

    SQLite lets the one in that asks at the right moment: most likely who has just let go, if it asks again.
    """
    if conn.vendor != "sqlite" or conn.in_atomic_block:
        yield
        return
    conn.ensure_connection()
    limit = (lock_timeout or engine.LOCK_TIMEOUT).total_seconds()
    end = clock.monotonic() + limit
    line = conn.__dict__["durable_objects_line"] = _lines[str(conn.settings_dict["NAME"])]
    if not line.enter(limit):
        conn.__dict__["durable_objects_line"] = None
    left = timedelta(seconds=max(0.0, end - clock.monotonic()))
    usual = timedelta(seconds=conn.settings_dict.get("OPTIONS", {}).get("timeout", _SQLITE_TIMEOUT_SECONDS))
    try:
        conn.connection.execute(f"PRAGMA busy_timeout = {milliseconds(left)}")
        yield
    finally:
        if not conn.in_atomic_block:
            leave_line(conn)
        conn.connection.execute(f"PRAGMA busy_timeout = {milliseconds(usual)}")


def leave_line(conn: BaseDatabaseWrapper) -> None:
    """The transaction that ``waiting_for`` was for is over: the next one in line may begin."""
    line: Line | None = None if conn.in_atomic_block else conn.__dict__.pop("durable_objects_line", None)
    if line is not None:
        line.leave()


@contextmanager
def reading(conn: BaseDatabaseWrapper) -> Iterator[None]:
    """What the engine reads outside of any transaction waits for a lock no longer than a call does: ``ObjectBusy``."""
    with own_statements(conn):
        if conn.vendor != "postgresql" or not is_free(conn):
            yield
            return
        with transaction.atomic(using=conn.alias), conn.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {milliseconds(engine.LOCK_TIMEOUT)}")
            yield


def on_a_good_session(conn: BaseDatabaseWrapper, attempt: Callable[[], Result]) -> Result:
    """Attempt what begins outside of any transaction; once more on a new session, when the one that was there is at
    fault: hung up, of a server that has become a standby, or set by somebody to what nobody can work with.
    """
    if conn.vendor != "postgresql" or conn.connection is None or not is_free(conn):
        return attempt()
    try:
        return attempt()
    except (Error, ObjectBusy) as error:
        cause = error.__cause__ if isinstance(error, ObjectBusy) else error
        if cause is None or is_lock_timeout(cause) or is_worth_another_try(cause):
            raise
        drop(conn)
    return attempt()


def end(conn: BaseDatabaseWrapper, block: transaction.Atomic, error: BaseException | None) -> None:
    """End an ``atomic()`` block: with an error undo it. Raises when its commit is refused.

    What somebody has begun inside of it and left open is undone, and then so is the block:
    ``LeftOpen``. Asks nothing of the error, which may raise whatever it is asked.
    """
    left_open = None
    if block not in conn.atomic_blocks:
        left_open = "one of its atomic() blocks was ended from inside of it"
    while block in conn.atomic_blocks and conn.atomic_blocks[-1] is not block:
        left_open = "an atomic() block, or a part of its storage, was begun inside of it and left open"
        _end(conn.atomic_blocks[-1], left_open)
    if left_open is None or error is not None:
        block.__exit__(None if error is None else type(error), error, None)
    else:
        _end(block, left_open)
        raise LeftOpen(f"nothing of this turn is stored: {left_open}")


def _end(block: transaction.Atomic, why: str) -> None:
    refused = LeftOpen(why)
    block.__exit__(type(refused), refused, None)


def reset(conn: BaseDatabaseWrapper) -> None:
    """Whatever was left on the connection is undone; the next statement finds it as new."""
    conn.in_atomic_block = conn.needs_rollback = conn.closed_in_transaction = False
    conn.run_on_commit, conn.savepoint_ids = [], []
    conn.atomic_blocks.clear()
    if conn.vendor != "sqlite":
        drop(conn)
    elif conn.connection is not None:  # a database in memory would be gone with it
        conn.connection.rollback()
        conn.set_autocommit(True)


def is_as_new(conn: BaseDatabaseWrapper) -> bool:
    """Whether nothing is open on it: what is said now is committed at once."""
    if not is_free(conn) or conn.needs_rollback:
        return False
    driver = conn.connection
    if driver is None or getattr(driver, "closed", False):
        return True
    return not (driver.in_transaction if conn.vendor == "sqlite" else driver.pgconn.transaction_status)


def check_as_before(conn: BaseDatabaseWrapper, blocks: int) -> None:
    """Undo and refuse a transaction that was begun and left open where none is to be, or none but so many ``atomic()``
    blocks. Raises ``LeftOpen``.
    """
    if depth(conn) == blocks and (blocks or is_as_new(conn)):
        return
    left_open = "a transaction was begun and left open where the object is not locked: it is undone"
    while depth(conn) > blocks:
        _end(conn.atomic_blocks[-1], left_open)
    if not blocks:
        reset(conn)
    raise LeftOpen(left_open)


@contextmanager
def leaving_nothing(conn: BaseDatabaseWrapper) -> Iterator[None]:
    """What the block does to its session does not outlive it: such a session is ended after the block.

    Seen is what goes through Django's cursors, and whatever is open at the end.
    """
    if not is_free(conn):
        yield
        return
    try:
        with _ending_what_lasts(conn):
            yield
    finally:
        if not is_as_new(conn):
            logger.warning("something was left open on the connection to %r: it is undone", conn.alias)
            reset(conn)


@contextmanager
def _ending_what_lasts(conn: BaseDatabaseWrapper) -> Iterator[None]:
    if conn.vendor != "postgresql":
        yield
        return
    conn.ensure_connection()  # what a project sets on each new session is not the block's doing
    lasting: list[str] = []

    def watch(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if _LASTS.search(text_of(sql, context["cursor"])):
            lasting.append(str(sql))
        return execute(sql, params, many, context)

    try:
        with conn.execute_wrapper(watch):
            yield
    finally:
        if lasting and not conn.in_atomic_block:
            drop(conn)


def drop(conn: BaseDatabaseWrapper) -> None:
    """End the session: the next statement gets a new one, from a pool as well."""
    if conn.connection is not None:
        with suppress(Exception):
            conn.connection.close()
    conn.close()


def complain_if_long(conn: BaseDatabaseWrapper, key: tuple[str, str], seconds: float) -> None:
    """Say so when a turn has kept SQLite's only write lock for long."""
    if conn.vendor == "sqlite" and seconds > SQLITE_TURN_SECONDS:
        advice = "put slow work into `with self.unlocked():`"
        logger.warning("a turn of %s %r kept SQLite's only write lock for %.1f s: %s", *key, seconds, advice)


def give_back(conn: BaseDatabaseWrapper) -> None:
    """A pooled connection goes back to its pool while its turn is unlocked; any other is kept."""
    if not conn.in_atomic_block and "pool" in conn.settings_dict.get("OPTIONS", {}):
        conn.close()
    conn.__dict__["durable_objects_idle_since"] = clock.monotonic()


def wake_up(conn: BaseDatabaseWrapper) -> None:
    """After a pause the server may be another one: a connection that does not answer is dropped and made anew."""
    idle = clock.monotonic() - conn.__dict__.get("durable_objects_idle_since", 0.0)
    if conn.in_atomic_block or conn.connection is None or idle < _PING_AFTER_SECONDS:
        return
    if not conn.is_usable():
        conn.close()


def milliseconds(span: timedelta) -> int:
    """As the settings of a database want it, at least 1."""
    return max(1, int(span.total_seconds() * 1000))
