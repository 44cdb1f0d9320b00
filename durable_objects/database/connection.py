"""The connection that a turn runs on: whose transaction is open, how long BEGIN waits, what happens while unlocked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, TypeVar

from django.db import Error, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from durable_objects.conf import engine
from durable_objects.database import supported
from durable_objects.database.backends import backend_of, is_supported
from durable_objects.database.errors import (
    LeftOpen,
    forget_trouble,
    is_lock_timeout,
    is_worth_another_try,
    own_statements,
)
from durable_objects.database.monotonic import monotonic
from durable_objects.database.statement_text import text_of
from durable_objects.errors import ObjectBusy
from durable_objects.logs import get_logger

logger = get_logger(__name__)

Result = TypeVar("Result")

#: A connection that lay idle for longer than this is asked whether it still works before it is used again.
_PING_AFTER_SECONDS = 1.0

#: Where a connection keeps a transaction that was begun for whoever comes next (``turns.opened_ahead``), and what the
#: block of ``leaving_nothing`` has executed so far that outlasts its transactions.
AHEAD, LASTING = "durable_objects_opened_ahead", "durable_objects_lasting"

#: How long a probe waits for the database to take a connection, and to answer each statement.
SECONDS_TO_ANSWER = 3.0


def depth(conn: BaseDatabaseWrapper) -> int:
    """Return how many ``atomic`` blocks are open."""
    return len(conn.atomic_blocks)


def is_free(conn: BaseDatabaseWrapper) -> bool:
    """Return whether what is executed on it now is committed at once. It need not be connected for that."""
    autocommit = conn.settings_dict["AUTOCOMMIT"] if conn.connection is None else conn.autocommit
    return bool(autocommit) and not conn.in_atomic_block


@receiver(connection_created, dispatch_uid="durable_objects.set_up_session")
def set_up_session(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Set on a new session of the engine's database what the engine needs of each."""
    if is_supported(connection) and backend_of(connection).has_server and connection.alias == engine.DATABASE:
        backend_of(connection).set_up_session()


def answers_within(seconds: float) -> bool:
    """Return whether the engine's database lets this process connect, or says why not.

    Without a ``connect_timeout`` a server that takes connections and then says nothing is waited for without end.
    """
    conn = supported.connect(engine.DATABASE)
    if conn.connection is not None or not backend_of(conn).has_server:
        return True

    def ask() -> None:
        there = connections[engine.DATABASE]  # of this thread
        with suppress(Error):  # which whoever connects next will get as well
            there.ensure_connection()
        there.close()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def answered(read: Callable[[], Result], seconds: float) -> Result:
    """Return what ``read`` makes of the engine's database; once more on a new session, where the one that was kept is
    at fault. For probes: a server that says nothing is waited for ``seconds`` to connect, and for each statement.

    Raises what ``read`` raises, and ``OperationalError`` where there was no answer in time.
    """
    conn = supported.connect(engine.DATABASE)

    def attempt() -> Result:
        if backend_of(conn).waits_to_connect() and not answers_within(seconds):
            raise OperationalError(f"it takes connections, and has not answered for {seconds:g} s")
        with _statements_within(conn, seconds):
            return read()

    return on_a_good_session(conn, attempt)


@contextmanager
def _statements_within(conn: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """End the session where a statement of the block is not answered in time: whoever waits for it gets an error."""
    backend = backend_of(conn)
    if not backend.has_server:
        yield
        return

    def limit(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        timer = threading.Timer(seconds, backend.hang_up)
        timer.daemon = True
        timer.start()
        try:
            return execute(sql, params, many, context)
        finally:
            timer.cancel()
            timer.join()

    with conn.execute_wrapper(limit):
        yield


def joins_transaction(conn: BaseDatabaseWrapper) -> bool:
    """Return whether a turn begun now would be part of a transaction of the caller's. A test case's does not count."""
    if not conn.in_atomic_block:
        return not is_free(conn)
    return any(not getattr(block, "_from_testcase", False) for block in conn.atomic_blocks)


def waiting_for(conn: BaseDatabaseWrapper, lock_timeout: timedelta | None) -> AbstractContextManager[None]:
    """Limit the wait for BEGIN in the block, where that takes the lock; the threads of a process take turns."""
    if conn.in_atomic_block:
        return nullcontext()
    return backend_of(conn).waiting_for_begin(lock_timeout or engine.LOCK_TIMEOUT)


def leave_queue(conn: BaseDatabaseWrapper) -> None:
    """Let the next one begin, if the transaction that ``waiting_for`` was for is over."""
    if not conn.in_atomic_block:
        backend_of(conn).ended()


@contextmanager
def reading(conn: BaseDatabaseWrapper) -> Iterator[None]:
    """Limit how long what the engine reads outside of any transaction waits for a lock, as a call: ``ObjectBusy``."""
    limit = backend_of(conn).limit_lock_wait(engine.LOCK_TIMEOUT) if is_free(conn) else ()
    with own_statements(conn):
        if not limit:
            yield
            return
        with transaction.atomic(using=conn.alias), conn.cursor() as cursor:
            for sql, params in limit:
                cursor.execute(sql, params)
            yield


def on_a_good_session(conn: BaseDatabaseWrapper, attempt: Callable[[], Result]) -> Result:
    """Run what begins outside of any transaction; once more on a new session, when the one that was there is at fault:
    hung up, of a server that has become a standby, or left with settings that nobody can work with.
    """
    backend = backend_of(conn)
    if not backend.has_server or conn.connection is None or not is_free(conn):
        return attempt()
    try:
        return attempt()
    except (Error, ObjectBusy) as error:
        cause = error.__cause__ if isinstance(error, ObjectBusy) else error
        if cause is None or is_lock_timeout(cause) or is_worth_another_try(cause):
            raise
        backend.drop_session()
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
        forget_trouble(conn)
    else:
        _end(block, left_open)
        raise LeftOpen(f"nothing of this turn is stored: {left_open}")


def _end(block: transaction.Atomic, why: str) -> None:
    refused = LeftOpen(why)
    block.__exit__(type(refused), refused, None)


def reset(conn: BaseDatabaseWrapper) -> None:
    """Undo whatever was left on the connection; the next statement finds it as new."""
    conn.in_atomic_block = conn.needs_rollback = conn.closed_in_transaction = False
    conn.run_on_commit, conn.savepoint_ids = [], []
    conn.atomic_blocks.clear()
    backend_of(conn).reset_session()


def is_as_new(conn: BaseDatabaseWrapper) -> bool:
    """Return whether nothing is open on it: what is executed now is committed at once."""
    if not is_free(conn) or conn.needs_rollback:
        return False
    driver = conn.connection
    if driver is None or getattr(driver, "closed", False):
        return True
    return not backend_of(conn).is_in_transaction()


def check_as_before(conn: BaseDatabaseWrapper, blocks: int) -> None:
    """Undo and refuse a transaction that was begun and left open where none is to be, or none but that number of
    ``atomic()`` blocks. Raises ``LeftOpen``.
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
    """End the session after the block if the block has set anything on it that outlasts its transactions.

    Seen is what goes through Django's cursors, and whatever is open at the end.
    """
    if not is_free(conn) and AHEAD not in conn.__dict__:
        yield
        return
    try:
        with _ending_what_lasts(conn):
            yield
    finally:
        if AHEAD not in conn.__dict__ and not is_as_new(conn):
            logger.warning("something was left open on the connection to %r: it is undone", conn.alias)
            reset(conn)


@contextmanager
def _ending_what_lasts(conn: BaseDatabaseWrapper) -> Iterator[None]:
    backend = backend_of(conn)
    if not backend.has_server:
        yield
        return
    conn.ensure_connection()  # what a project sets on each new session is not what the block does
    lasting: list[str] = []
    around = conn.__dict__.get(LASTING)
    conn.__dict__[LASTING] = lasting

    def watch(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if backend.outlasts_transaction(text_of(sql, context["cursor"])):
            lasting.append(str(sql))
        return execute(sql, params, many, context)

    try:
        with conn.execute_wrapper(watch):
            yield
    finally:
        if lasting and not conn.in_atomic_block:
            backend.drop_session()
        conn.__dict__[LASTING] = around


def warn_if_long(conn: BaseDatabaseWrapper, key: tuple[str, str], seconds: float) -> None:
    """Log a turn that kept the turns of all other objects waiting for long."""
    longest = backend_of(conn).long_turn
    if longest is not None and seconds > longest:
        advice = "put slow work into `with self.unlocked():`"
        logger.warning(
            "a turn of %s %r kept %s's only write lock for %.1f s: %s", *key, conn.display_name, seconds, advice
        )


def return_to_pool(conn: BaseDatabaseWrapper) -> None:
    """Return a pooled connection to its pool while its turn is unlocked; keep any other."""
    if not conn.in_atomic_block and "pool" in conn.settings_dict.get("OPTIONS", {}):
        conn.close()
    conn.__dict__["durable_objects_idle_since"] = monotonic()


def close_if_old(conn: BaseDatabaseWrapper) -> None:
    """Close a connection that is older than ``CONN_MAX_AGE``, as Django does at the end of a request."""
    if is_free(conn):
        conn.close_if_unusable_or_obsolete()


def reconnect_if_gone(conn: BaseDatabaseWrapper) -> None:
    """Drop a connection that does not answer after a pause; Django connects again. The server may be another one."""
    idle = monotonic() - conn.__dict__.get("durable_objects_idle_since", 0.0)
    if conn.in_atomic_block or conn.connection is None or idle < _PING_AFTER_SECONDS:
        return
    if not conn.is_usable():
        conn.close()
