"""Several statements at once: one round trip to PostgreSQL, whatever their number. On SQLite, one after the other.

What a turn pays for is the way to the server and back, and Python's work for each call of the driver. So its beginning
is one message and its end another. Django's cursor is passed by; its log of queries is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.conf import engine
from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Row, Statement
from durable_objects.database.connection import is_free, on_a_good_session
from durable_objects.database.errors import own_statements

__all__ = ["Row", "Statement", "commit", "send", "send_each"]


def send(conn: BaseDatabaseWrapper, statements: Iterable[Statement]) -> list[Row]:
    """Execute the statements in order; return the rows of the last one. Raises Django's database errors, and
    ``ObjectBusy`` for those that are the database's affair (``database.errors``).

    PostgreSQL: what follows a statement that failed is not executed, and every value in a row is text or None.
    """
    results = send_each(conn, statements)
    return results[-1] if results else []


def send_each(conn: BaseDatabaseWrapper, statements: Iterable[Statement], *, typed: int = 0) -> list[list[Row]]:
    """Do as ``send``; return the rows of each statement, those of the last ``typed`` ones with values as a cursor gives
    them.
    """
    statements = list(statements)
    if not statements:
        return []
    if not is_free(conn):
        return _execute(conn, statements, typed)
    # No turn has set how long to wait for locks, and the message is a transaction of its own.
    limit = backend_of(conn).limit_lock_wait(engine.LOCK_TIMEOUT)
    return on_a_good_session(conn, lambda: _execute(conn, [*limit, *statements], typed))[len(limit) :]


def commit(
    conn: BaseDatabaseWrapper, statements: Sequence[Statement], then: Sequence[Statement] = (), *, typed: int = 0
) -> list[list[Row]]:
    """Execute the statements and commit, by one message where that is possible; Django's commit does nothing more then.

    Raises what refused it; then nothing of it happened, unless the connection was lost: then nobody knows. ``then`` are
    executed after it; return their rows as ``send_each`` does, or fewer where one of them failed.
    """
    with own_statements(conn):
        return backend_of(conn).commit(statements, then, typed)


def _execute(conn: BaseDatabaseWrapper, statements: Sequence[Statement], typed: int) -> list[list[Row]]:
    with own_statements(conn):
        return backend_of(conn).execute(statements, typed)
