"""Several statements to PostgreSQL in one message, answered by one.

They are sent as text (PostgreSQL's simple protocol: no other takes several), with libpq's own quoting of the values;
those that a connection sends often may be prepared (``prepared``).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from django.db import NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database.backends.base import OF_THE_CODE, Row, Statement
from durable_objects.database.backends.prepared import Prepared

COMMIT: Statement = "COMMIT", ()


@functools.cache
def _driver() -> Any:
    """Return what is used of psycopg, which is not there on SQLite: imported once, not by each message."""
    import psycopg
    from psycopg import errors, generators, pq
    from psycopg.adapt import Transformer

    return SimpleNamespace(
        ClientCursor=psycopg.ClientCursor,
        Escaping=pq.Escaping,
        Transformer=Transformer,
        error_of=errors.error_from_result,
        execute=generators.execute,
        fine=(pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK),
        idle=pq.TransactionStatus.IDLE,
    )


def exchange(conn: BaseDatabaseWrapper, statements: Sequence[Statement]) -> list[Any]:
    """Execute the statements in order; return the driver's result of each. Raises Django's database errors.

    What follows a statement that failed is not executed. Where that comes after a ``COMMIT``, which stands, nothing is
    raised: the results are those until then. Inside ``atomic()`` they are part of its transaction, also
    where nothing of it was sent yet: psycopg sends BEGIN with the first statement of its own cursors, not with this.
    """
    conn.close_if_health_check_failed()  # as Django's cursor does: the server may have dropped it meanwhile
    conn.ensure_connection()
    conn.validate_no_broken_transaction()  # not before: of a transaction that went with its session nothing is left
    psycopg, driver = _driver(), conn.connection
    begin = _begin(driver, statements)
    statements = [*begin, *statements]
    prepared = _prepared(driver)
    if prepared is not None:
        prepared.begin()
    message, answering = _as_text(driver.pgconn, statements, prepared)
    started = time.monotonic()
    with conn.wrap_database_errors:
        _check_encoding(driver.pgconn)
        driver.pgconn.send_query(message)
        results: list[Any] = driver.wait(psycopg.execute(driver.pgconn))
        commit = answering[statements.index(COMMIT)] if COMMIT in statements else len(results)
        for place, result in enumerate(results):
            if result.status not in psycopg.fine:
                error = psycopg.error_of(result)
                if place == commit:
                    _note_error_at_commit(error)
                if prepared is not None:
                    prepared.failed(error.sqlstate)
                if place <= commit:
                    raise error
                answering = [each for each in answering if each < place]
                break
        else:
            if prepared is not None:
                prepared.succeeded()
    if conn.queries_logged:
        sql = _as_text(driver.pgconn, statements[len(begin) :], None)[0].decode()  # Django has logged its own BEGIN
        conn.queries_log.append({"sql": sql, "time": f"{time.monotonic() - started:.3f}"})
    return [results[place] for place in answering[len(begin) :]]


def copy(
    conn: BaseDatabaseWrapper, table: str, types: Mapping[str, int], columns: Sequence[str], rows: Iterable[Row]
) -> None:
    """Execute ``COPY … FROM STDIN`` with these rows, in the open transaction. Raises Django's database errors.

    In the binary format, which psycopg writes in C where it has that: a tenth of what text costs in Python. ``types``
    of the table's columns: the server converts nothing in this format.
    """
    conn.validate_no_broken_transaction()
    started, named = time.monotonic(), ", ".join(columns)
    sql = f"COPY {table} ({named}) FROM STDIN (FORMAT BINARY)"
    with conn.wrap_database_errors, conn.connection.cursor() as cursor:
        _check_encoding(conn.connection.pgconn)
        with cursor.copy(sql) as copying:
            copying.set_types([types[column] for column in columns])
            for row in rows:
                copying.write_row(row)
    if conn.queries_logged:
        conn.queries_log.append({"sql": sql, "time": f"{time.monotonic() - started:.3f}"})


def _begin(driver: Any, statements: Sequence[Statement]) -> Sequence[Statement]:
    """Return the BEGIN that psycopg has not sent yet, nor these statements send; nothing where there is no need."""
    is_begun = driver.autocommit or driver.pgconn.transaction_status != _driver().idle
    if is_begun or statements[0][0].startswith("BEGIN"):
        return ()
    if driver.isolation_level is None:
        return (("BEGIN", ()),)
    return ((f"BEGIN ISOLATION LEVEL {driver.isolation_level.name.replace('_', ' ')}", ()),)


def _note_error_at_commit(error: Any) -> None:
    """Note whose fault an error is that COMMIT met. What comes from inside a trigger or a check (it has a context) is
    of the code that wrote the rows: the engine's own constraints cannot fail there, since it has locked the object.
    """
    if error.diag.context:
        setattr(error, OF_THE_CODE, True)


def _check_encoding(pgconn: Any) -> None:
    """Refuse a session that would take or give text in another encoding. The server has reported it to the driver."""
    encoding = pgconn.parameter_status(b"client_encoding") or b"UTF8"
    if encoding != b"UTF8":
        raise NotSupportedError(
            f"client_encoding of this session is {encoding.decode()}: texts would be stored as others than they are. "
            "The engine needs UTF8: set it back before the object's storage is used, and before its turn ends."
        )


def _prepared(driver: Any) -> Prepared | None:
    """Return what this connection has prepared; None where it may not, or where the driver prepares statements itself
    (``server_side_binding``): after a rollback it drops all that is prepared, whoever did.
    """
    if driver.prepare_threshold is None or not issubclass(driver.cursor_factory, _driver().ClientCursor):
        return None
    if not hasattr(driver, "durable_objects_prepared"):
        driver.durable_objects_prepared = Prepared(driver.prepare_threshold)
    prepared: Prepared = driver.durable_objects_prepared
    return prepared


def _as_text(pgconn: Any, statements: Iterable[Statement], prepared: Prepared | None) -> tuple[bytes, list[int]]:
    """Return the message, and the places of those of its parts that answer for the statements."""
    quote = _driver().Escaping(pgconn).escape_literal

    def literal(value: Any) -> bytes:
        if value is None:
            return b"NULL"
        return b"%d" % value if type(value) is int else quote(str(value).encode())

    parts: list[bytes] = []
    answering = []
    for sql, values in statements:
        if not values:
            parts.append(sql.encode())
        elif prepared is None:
            parts.append(sql.encode() % tuple(map(literal, values)))
        else:
            parts += prepared.parts(sql, tuple(map(literal, values)))
        answering.append(len(parts) - 1)
    return b";".join(parts), answering


def types_of(result: Any) -> dict[str, int]:
    """Return the types of a result's columns, by their names."""
    return {result.fname(column).decode(): result.ftype(column) for column in range(result.nfields)}


def text_rows(result: Any) -> list[Row]:
    """Return the rows of a result, each value as text or None."""
    columns, value = range(result.nfields), result.get_value
    return [
        tuple([None if (text := value(row, column)) is None else text.decode() for column in columns])
        for row in range(result.ntuples)
    ]


def typed_rows(conn: BaseDatabaseWrapper, result: Any) -> list[Row]:
    """Return the rows of a result with values as a cursor gives them."""
    if not result.ntuples:
        return []
    loading = _driver().Transformer(conn.connection)
    loading.set_pgresult(result)
    rows: list[Row] = loading.load_rows(0, result.ntuples, tuple)
    return rows
