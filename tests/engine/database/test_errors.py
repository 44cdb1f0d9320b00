"""One table says what each error of PostgreSQL means to the engine."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
)

from durable_objects.database.backends.base import Meaning
from durable_objects.database.backends.sqlstates import meaning_of
from durable_objects.database.errors import meaning

psycopg_errors = pytest.importorskip("psycopg.errors")

ALL: dict[str, Any] = {
    name: error
    for name, error in vars(psycopg_errors).items()
    if isinstance(error, type) and isinstance(getattr(error, "sqlstate", None), str)
}
ODD = sorted(name for name, error in ALL.items() if error.sqlstate[:2] in {"08", "25", "57"})
#: By class, as the manual of PostgreSQL names them; what differs stands in full.
LOST = {"08", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"}
GIVES_WAY = {"40"}
TROUBLE = {"53", "55", "57", "58", "72", "F0", "XX", "25006", "0A000", "26000"}
CODE = {
    "02", "03", "09", "10", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21", "22", "23", "24", "25", "26", "27", "28",
    "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "42", "44", "54", "HV", "P0", "40002",
}  # fmt: skip


def expected(sqlstate: str) -> Meaning:
    """What the lists above say, in full before by class; KeyError for what is in none of them."""
    lists = {Meaning.LOST: LOST, Meaning.GIVES_WAY: GIVES_WAY, Meaning.TROUBLE: TROUBLE, Meaning.CODE: CODE}
    by_state = {state: meaning for meaning, states in lists.items() for state in states}
    return by_state[sqlstate] if sqlstate in by_state else by_state[sqlstate[:2]]


def test_every_state_that_the_driver_knows_has_a_meaning() -> None:
    """No SQLSTATE falls into a class that nobody has thought of."""
    assert len(ALL) > 200
    assert {error.sqlstate: meaning_of(error.sqlstate) for error in ALL.values()} == {
        error.sqlstate: expected(error.sqlstate) for error in ALL.values()
    }


@pytest.mark.parametrize("name", ODD)
@pytest.mark.django_db
def test_meaning_goes_by_the_state_not_by_the_class_that_the_driver_gives_it(name: str) -> None:
    """An InternalError (25P03) may mean a lost session as an OperationalError does."""
    connection.ensure_connection()
    error = DatabaseError("refused")
    error.__cause__ = ALL[name]("refused")
    assert meaning(connection, error) is expected(ALL[name].sqlstate)


@pytest.mark.parametrize(
    ("code", "means"),
    [
        (sqlite3.SQLITE_BUSY, Meaning.TROUBLE),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Meaning.TROUBLE),
        (sqlite3.SQLITE_FULL, Meaning.TROUBLE),
        (sqlite3.SQLITE_IOERR_FSYNC, Meaning.TROUBLE),
        (sqlite3.SQLITE_READONLY_DBMOVED, Meaning.TROUBLE),
        (sqlite3.SQLITE_CANTOPEN, Meaning.TROUBLE),
        (sqlite3.SQLITE_ERROR, Meaning.CODE),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Meaning.CODE),
    ],
)
def test_codes_of_sqlite(code: int, means: Meaning) -> None:
    """SQLite says by its result codes what PostgreSQL says by SQLSTATEs."""
    error = OperationalError("refused")
    error.__cause__ = cause = sqlite3.OperationalError("refused")
    cause.sqlite_errorcode = code
    assert meaning(connection, error) is means


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("FATAL:  sorry, too many clients already", Meaning.TROUBLE),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", Meaning.TROUBLE),
        ('FATAL:  too many connections for role "site"', Meaning.TROUBLE),
        ("connection refused", Meaning.LOST),
        ("server closed the connection unexpectedly", Meaning.LOST),
    ],
)
def test_refused_connections(text: str, means: Meaning) -> None:
    """Without a SQLSTATE the session is lost, or was refused since the server has too many."""
    error = OperationalError(text)
    error.__cause__ = psycopg_errors.OperationalError(text)
    assert meaning(connection, error) is means


@pytest.mark.parametrize("error", [DataError, ProgrammingError, NotSupportedError, InterfaceError])
@pytest.mark.django_db
def test_what_the_driver_refuses_by_itself_is_the_codes_affair(error: type[Any]) -> None:
    """Such an error has no SQLSTATE either, for the server has not seen the statement: the session is there."""
    connection.ensure_connection()
    refused = error("the query has 1 placeholder but 2 parameters were passed")
    refused.__cause__ = getattr(psycopg_errors, error.__name__)("refused")
    assert meaning(connection, refused) is Meaning.CODE


@pytest.mark.django_db(transaction=True)
def test_session_that_the_driver_has_given_up_is_lost() -> None:
    """What is executed on it afterwards is refused by the driver, and is no fault of the code."""
    connection.ensure_connection()
    connection.connection.close()
    with pytest.raises((DatabaseError, InterfaceError)) as refused:
        connection.cursor().execute("SELECT 1")
    if connection.vendor == "postgresql":
        assert meaning(connection, refused.value) is Meaning.LOST
    connection.close()
