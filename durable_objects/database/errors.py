"""What an error of the database means: one table, and the one place where the engine's own statements are told from
those of its users.

What a lock on the engine's tables, a full disk or an administrator's time-out does to the engine's own statements says
nothing of the code that ran: it is no failure of a handler, and to a caller it is ``ObjectBusy``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, Error, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from durable_objects.errors import ObjectBusy


class LeftOpen(TransactionManagementError):
    """Code has left a transaction, or a part of one, open that was not its own to keep, or ended one that was not."""


class Meaning(enum.Enum):
    """``GIVES_WAY``: the same transaction may well succeed now. ``LOST``: the session is gone, and with it what its
    transaction wrote. ``TROUBLE``: locked, full, short of something, cancelled or broken; when the engine's own
    statements meet it, it is the database's affair. ``CODE``: the statement or its values are wrong.
    """

    GIVES_WAY = enum.auto()
    LOST = enum.auto()
    TROUBLE = enum.auto()
    CODE = enum.auto()


_LOCK_NOT_AVAILABLE, _QUERY_CANCELED, _IN_FAILED_TRANSACTION = "55P03", "57014", "25P02"
_READ_ONLY = "25006"
#: Classes of SQLSTATE that are not the code's affair.
_CLASSES = {
    "08": Meaning.LOST,  # connection exceptions
    "40": Meaning.GIVES_WAY,  # transaction rollback
    "53": Meaning.TROUBLE,  # disk full, out of memory, too many connections
    "55": Meaning.TROUBLE,  # not in the state for it: a lock not had, an object in use
    "57": Meaning.TROUBLE,  # an operator's doing: cancelled
    "58": Meaning.TROUBLE,  # errors of the system: input and output, missing files
    "72": Meaning.TROUBLE,  # a snapshot too old
    "F0": Meaning.TROUBLE,  # configuration files
    "XX": Meaning.TROUBLE,  # internal errors, corrupted data
}
#: What differs from its class.
_STATES = {
    "57P01": Meaning.LOST,  # shut down by an administrator
    "57P02": Meaning.LOST,  # crashed
    "57P03": Meaning.LOST,  # starting up
    "57P04": Meaning.LOST,  # the database was dropped
    "57P05": Meaning.LOST,  # idle for too long
    "25P03": Meaning.LOST,  # idle for too long in a transaction
    "25P04": Meaning.LOST,  # a transaction for too long
    _READ_ONLY: Meaning.TROUBLE,  # read-only: a standby, after a failover
    "0A000": Meaning.TROUBLE,  # of a statement kept planned, whose table has changed
    "26000": Meaning.TROUBLE,  # a statement that was kept planned, lost by a pooler
    "40002": Meaning.CODE,  # a constraint, found at the commit
}
#: The server ends a session that was idle for too long in its transaction, or whose transaction took too long.
_TOO_LONG = {"25P03", "25P04"}
#: Where a connection keeps that code in a turn has set limits for its own statements.
_LIMITS_CHANGED = "durable_objects_limits_changed"
#: Where an error of the driver's keeps that it is not one of the statements it came with.
_OF_THE_CODE = "durable_objects_of_the_code"
#: Where Django keeps, while ``needs_rollback``, why that is so.
_WHY = "rollback_exc"
#: SQLite's primary result codes: BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL,
#: NOLFS, NOTADB.
_SQLITE_BUSY = {5, 6}
_SQLITE_TROUBLE = {7, 8, 9, 10, 11, 13, 14, 15, 22, 26} | _SQLITE_BUSY
#: What the server says when it refuses a connection for want of room; the driver gives no SQLSTATE then.
_NO_ROOM = ("too many clients", "too many connections", "connection slots", "no more connections allowed")


def meaning_of(sqlstate: str) -> Meaning:
    """What this SQLSTATE means when the engine's own statements meet it."""
    return _STATES.get(sqlstate) or _CLASSES.get(sqlstate[:2], Meaning.CODE)


def meaning(conn: BaseDatabaseWrapper, error: BaseException) -> Meaning:
    """What an error of the database means when the engine's own statements meet it; ``CODE`` for any other error."""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return Meaning.TROUBLE if code & 0xFF in _SQLITE_TROUBLE else Meaning.CODE
    if not isinstance(error, Error) or isinstance(error, LeftOpen) or hasattr(cause, _OF_THE_CODE):
        return Meaning.CODE
    state = getattr(cause, "sqlstate", "")
    if state is None and any(said in str(error) for said in _NO_ROOM):
        return Meaning.TROUBLE
    # Told by the error: Django may have connected anew since, and the driver learns late that a server has hung up.
    # Without a SQLSTATE the server could not say any more; but what the driver refuses by itself, wrong parameters or a
    # closed cursor, is the code's affair as long as the session is there.
    if conn.connection is None or (state is None and isinstance(error, OperationalError)):
        return Meaning.LOST
    if state is None or isinstance(error, InterfaceError):
        return Meaning.LOST if getattr(conn.connection, "closed", False) else Meaning.CODE
    return meaning_of(state)


def is_lock_timeout(error: BaseException) -> bool:
    """The wait for a lock took longer than allowed (SQLite: another connection was writing all that time)."""
    cause = error.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    return sqlstate(error) == _LOCK_NOT_AVAILABLE if code is None else code & 0xFF in _SQLITE_BUSY


def was_cancelled(error: BaseException) -> bool:
    """A statement took longer than ``statement_timeout``, or somebody cancelled it."""
    return _QUERY_CANCELED in (sqlstate(error), sqlstate(error.__cause__))


def is_worth_another_try(error: BaseException) -> bool:
    """The database chose this transaction to give way: the same again may well succeed.

    Also when a call on another object inside it was told so, and said ``ObjectBusy``.
    """
    cause = error.__cause__ if isinstance(error, ObjectBusy) else error
    return isinstance(cause, DatabaseError) and meaning_of(sqlstate(cause)) is Meaning.GIVES_WAY


def is_connection_lost(conn: BaseDatabaseWrapper, error: BaseException) -> bool:
    """The session is gone, so what the transaction wrote is too, and nothing can be said of the code that ran."""
    return isinstance(error, Error) and meaning(conn, error) is Meaning.LOST


def was_session_lost(conn: BaseDatabaseWrapper, error: BaseException) -> bool:
    """The same, of an error that users' code ended with in a transaction that is still open: it may be that of another
    database, which the code asked, and only the session itself can tell.
    """
    is_lost = is_connection_lost(conn, error) and not _answers(conn)
    if is_lost and sqlstate(error) in _TOO_LONG and limits_are_changed(conn):
        setattr(
            error.__cause__, _OF_THE_CODE, True
        )  # by a limit of its own: where the run is counted, it is its failure
    return is_lost


def _answers(conn: BaseDatabaseWrapper) -> bool:
    """Whether the session is there, also in a transaction that has failed. Past Django, which would connect anew."""
    session = conn.connection
    if session is None or getattr(session, "closed", False):
        return False
    try:
        with conn.wrap_database_errors:
            session.execute("SELECT 1")
    except Error as error:
        return sqlstate(error) == _IN_FAILED_TRANSACTION
    return True


def trouble(error: BaseException | None) -> ObjectBusy | None:
    """The ``ObjectBusy`` that the engine's own statements, or a wait for another object, ended with: this error, or
    what it says that it comes from.
    """
    seen: set[int] = set()  # a handler may raise what is its own cause
    while error is not None and id(error) not in seen:
        if isinstance(error, ObjectBusy) and (error.key is not None or isinstance(error.__cause__, Error)):
            return error
        seen.add(id(error))
        error = error.__cause__
    return None


@contextmanager
def own_statements(conn: BaseDatabaseWrapper) -> Iterator[None]:
    """What the block says to the database is the engine's own: what is no fault of its words raises ``ObjectBusy``.

    The transaction cannot end well then, unless its innermost ``atomic()`` block is left with the error: swallowed
    there, it is raised again where the turn ends.
    """
    try:
        yield
    except Error as error:
        busy = as_busy(conn, error)
        if busy is None:
            raise
        if conn.in_atomic_block:
            conn.needs_rollback = True
            setattr(conn, _WHY, busy)
        raise busy from error


def why_broken(conn: BaseDatabaseWrapper) -> ObjectBusy | None:
    """What the engine's own statements met in a transaction that cannot end well any more."""
    return trouble(getattr(conn, _WHY)) if conn.needs_rollback else None


def as_busy(conn: BaseDatabaseWrapper, error: BaseException) -> ObjectBusy | None:
    """The ``ObjectBusy`` that an error of the engine's own statements is to a caller; None when it is none."""
    if meaning(conn, error) is not Meaning.TROUBLE or (was_cancelled(error) and limits_are_changed(conn)):
        return None
    said = str(error).strip().partition("\n")[0]
    advice = ". It takes no writes: ask its primary." if sqlstate(error) == _READ_ONLY else ": try again later."
    return ObjectBusy(f"the database could not do it just now: {said}. Nothing was changed{advice}")


def note_limits(conn: BaseDatabaseWrapper, *, are_changed: bool) -> None:
    """Code in a turn has said how long a statement may take: one that took longer is its affair; or no more."""
    conn.__dict__[_LIMITS_CHANGED] = are_changed


def limits_are_changed(conn: BaseDatabaseWrapper) -> bool:
    """Whether the turn's own limits have to be said again before the engine's last statements."""
    return bool(conn.__dict__.get(_LIMITS_CHANGED))


def note_error_at_commit(error: Any) -> None:
    """An error of the driver's that COMMIT met. What comes from inside a trigger or a check (it has a context) is of
    the code that wrote the rows: the engine's own constraints cannot fail there, since it has locked the object.
    """
    if error.diag.context:
        setattr(error, _OF_THE_CODE, True)


def sqlstate(error: BaseException | None) -> str:
    """The SQLSTATE of an error of Django's; nothing where there is none."""
    return getattr(error and error.__cause__, "sqlstate", None) or ""
