"""What an error of the database means to a turn."""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.errors import ObjectBusy

_LOCK_TIMEOUT = "55P03"
_RUN_AGAIN = {"40001", "40P01"}  # serialization failure, deadlock
_HUNG_UP = {"57P01", "57P02", "57P03", "57P05", "25P03"}  # shutdown, crash, starting up, idle too long


def _sqlstate(error: BaseException) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""


def is_lock_timeout(error: DatabaseError) -> bool:
    """The wait for a lock took longer than allowed (SQLite: another connection was writing all that time)."""
    if _sqlstate(error) == _LOCK_TIMEOUT:
        return True
    return isinstance(error, OperationalError) and "database is locked" in str(error)


def is_worth_another_try(error: BaseException) -> bool:
    """The database chose this transaction to give way: the same again may well succeed.

    Also when a call on another object inside it was told so, and said ``ObjectBusy``.
    """
    cause = error.__cause__ if isinstance(error, ObjectBusy) else error
    return isinstance(cause, DatabaseError) and _sqlstate(cause) in _RUN_AGAIN


def is_connection_lost(conn: BaseDatabaseWrapper, error: BaseException) -> bool:
    """The connection broke, so what the transaction wrote is gone and nothing can be said of the code that ran.

    Told by the error: Django may have connected anew since, and the driver learns late that a server has hung up.
    """
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    if conn.connection is None or isinstance(error, InterfaceError):
        return True
    state = getattr(error.__cause__, "sqlstate", "")  # None: the server could not say any more
    return state is None or state in _HUNG_UP or state.startswith("08")
