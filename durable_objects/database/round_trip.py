"""Several statements at once: one round trip to PostgreSQL, whatever their number. On SQLite, one after the other.

What a turn pays for is the way to the server and back, and Python's work for each call of the driver. So its opening is
one message and its end another. They are sent as texts (PostgreSQL's simple protocol takes several statements in a
message only so), with libpq's own quoting of the values; those that a connection says often may be kept planned
(``preparing``). Django's cursor is passed by; its log of queries is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from durable_objects.conf import engine
from durable_objects.database.connection import is_free, milliseconds, on_a_good_session
from durable_objects.database.errors import note_error_at_commit, own_statements
from durable_objects.database.prepared import Prepared

#: SQL with a ``%s`` for each value (None, whole number, text, or a moment as ``clock.to_database`` gives it).
Statement = tuple[str, Sequence[Any]]
Row = tuple[Any, ...]

_COMMIT: Statement = "COMMIT", ()


def send(conn: BaseDatabaseWrapper, statements: Iterable[Statement]) -> list[Row]:
    """Execute the statements in order; the rows of the last one. Raises Django's database errors, and ``ObjectBusy``
    for those that are the database's affair (``database_errors``).

    PostgreSQL: what follows a statement that failed is not executed, and every value in a row is text or None.
    """
    results = send_each(conn, statements)
    return results[-1] if results else []


def send_each(conn: BaseDatabaseWrapper, statements: Iterable[Statement], *, typed: int = 0) -> list[list[Row]]:
    """As ``send``; the rows of each statement, those of the last ``typed`` ones with values as a cursor gives them."""
    statements = list(statements)
    if not statements:
        return []
    if conn.vendor == "postgresql":
        if is_free(conn):  # no turn has said how long to wait for locks: the message is a transaction of its own
            limit = f"SET LOCAL lock_timeout = {milliseconds(engine.LOCK_TIMEOUT)}", ()
            _, *results = on_a_good_session(conn, lambda: _exchange(conn, [limit, *statements]))
        else:
            results = _exchange(conn, statements)
        plain = len(results) - typed
        return [*map(_rows, results[:plain]), *(_typed_rows(conn, result) for result in results[plain:])]
    found: list[list[Row]] = []
    with own_statements(conn), conn.cursor() as cursor:
        for sql, values in statements:
            cursor.execute(sql, values)
            found.append(cursor.fetchall() if cursor.description else [])
    return found


def commit(conn: BaseDatabaseWrapper, statements: Iterable[Statement]) -> None:
    """Execute the statements and commit, on PostgreSQL. Raises what refused it; then nothing of it happened, unless
    the connection was lost: then nobody knows.
    """
    results = _exchange(conn, [*statements, _COMMIT])
    if results[-1].command_status != b"COMMIT":
        raise TransactionManagementError(
            "the database has rolled this transaction back: an error of an earlier query was swallowed"
        )


def _exchange(conn: BaseDatabaseWrapper, statements: Sequence[Statement]) -> list[Any]:
    from psycopg import generators
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus

    conn.close_if_health_check_failed()  # as Django's cursor does: the server may have dropped it meanwhile
    with own_statements(conn):
        conn.ensure_connection()
    conn.validate_no_broken_transaction()  # not before: of a transaction that went with its session nothing is left
    driver = conn.connection
    prepared = _prepared(driver)
    message, answering = _as_text(driver.pgconn, statements, prepared)
    started = time.monotonic()
    with own_statements(conn), conn.wrap_database_errors:
        _check_encoding(driver.pgconn)
        driver.pgconn.send_query(message)
        results: list[Any] = driver.wait(generators.execute(driver.pgconn))
        for place, result in enumerate(results):
            if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                error = error_from_result(result)
                if place == answering[-1] and statements[-1] == _COMMIT:
                    note_error_at_commit(error)
                if prepared is not None:
                    prepared.failed(error.sqlstate)
                raise error
    if prepared is not None:
        prepared.succeeded()
    if conn.queries_logged:
        sql = _as_text(driver.pgconn, statements, None)[0].decode()
        conn.queries_log.append({"sql": sql, "time": f"{time.monotonic() - started:.3f}"})
    return [results[place] for place in answering]


def _check_encoding(pgconn: Any) -> None:
    """Refuse a session that would take or give texts as another encoding's. The server has told the driver of it."""
    encoding = pgconn.parameter_status(b"client_encoding") or b"UTF8"
    if encoding != b"UTF8":
        raise NotSupportedError(
            f"client_encoding of this session is {encoding.decode()}: texts would be stored as others than they are. "
            "The engine needs UTF8: set it back before the object's storage is used, and before its turn ends."
        )


def _prepared(driver: Any) -> Prepared | None:
    """What this connection keeps; None where it may not, or where the driver prepares what it is told itself
    (``server_side_binding``): after a rollback it drops all that is prepared, whoever did.
    """
    from psycopg import ClientCursor

    if driver.prepare_threshold is None or not issubclass(driver.cursor_factory, ClientCursor):
        return None
    if not hasattr(driver, "durable_objects_prepared"):
        driver.durable_objects_prepared = Prepared(driver.prepare_threshold)
    prepared: Prepared = driver.durable_objects_prepared
    return prepared


def _as_text(pgconn: Any, statements: Iterable[Statement], prepared: Prepared | None) -> tuple[bytes, list[int]]:
    """The message, and the places of those of its parts that answer for the statements."""
    from psycopg.pq import Escaping

    quote = Escaping(pgconn).escape_literal

    def literal(value: Any) -> bytes:
        if value is None:
            return b"NULL"
        return b"%d" % value if type(value) is int else quote(str(value).encode())

    parts: list[bytes] = []
    answering = []
    for sql, values in statements:
        quoted = tuple(map(literal, values))
        if values and prepared is not None:
            parts += prepared.parts(sql, quoted)
        else:
            parts.append(sql.encode() % quoted if values else sql.encode())
        answering.append(len(parts) - 1)
    return b";".join(parts), answering


def _rows(result: Any) -> list[Row]:
    columns = range(result.nfields)
    return [tuple(_text(result.get_value(row, column)) for column in columns) for row in range(result.ntuples)]


def _typed_rows(conn: BaseDatabaseWrapper, result: Any) -> list[Row]:
    from psycopg.adapt import Transformer

    if not result.ntuples:
        return []
    loading = Transformer(conn.connection)
    loading.set_pgresult(result)
    rows: list[Row] = loading.load_rows(0, result.ntuples, tuple)
    return rows


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
