"""What an error of the database means, and the one place where the engine's own statements are distinguished from those
of its users.

What a lock on the engine's tables, a full disk or an administrator's time-out does to the engine's own statements says
nothing of the code that ran: it is no failure of a handler, and to a caller it is ``ObjectBusy``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from django.db import DatabaseError, Error, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from durable_objects.database.backends import BACKENDS, backend_of, sqlstates
from durable_objects.database.backends.base import OF_THE_CODE, Meaning, Reason
from durable_objects.errors import ObjectBusy


class LeftOpen(TransactionManagementError):
    """Code has left a transaction, or a part of one, open that was not its own, or ended one that was not."""


#: Where a connection keeps that code in a turn has set limits for its own statements.
_LIMITS_CHANGED = "durable_objects_limits_changed"
#: Where Django keeps, while ``needs_rollback``, why that is so.
_WHY = "rollback_exc"


def meaning(conn: BaseDatabaseWrapper, error: BaseException) -> Meaning:
    """Return what a database error means when the engine's own statements meet it; ``CODE`` for any other error."""
    if not isinstance(error, Error) or isinstance(error, LeftOpen) or hasattr(error.__cause__, OF_THE_CODE):
        return Meaning.CODE
    for backend in BACKENDS.values():
        if (found := backend.meaning(conn, error)) is not None:
            return found
    if conn.connection is None or (isinstance(error, InterfaceError) and getattr(conn.connection, "closed", False)):
        return Meaning.LOST
    return Meaning.CODE


def _reason(error: BaseException | None) -> Reason | None:
    if error is None:
        return None
    return next(filter(None, (backend.reason(error) for backend in BACKENDS.values())), None)


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether the wait for a lock took longer than allowed."""
    return _reason(error) is Reason.LOCK_TIMEOUT


def was_cancelled(error: BaseException) -> bool:
    """Return whether a statement took longer than ``statement_timeout``, or somebody cancelled it."""
    return Reason.CANCELLED in (_reason(error), _reason(error.__cause__))


def is_worth_another_try(error: BaseException) -> bool:
    """Return whether the database chose this transaction to give way: the same again may well succeed.

    Also when that happened to a call on another object inside it, which raised ``ObjectBusy``.
    """
    cause = error.__cause__ if isinstance(error, ObjectBusy) else error
    return isinstance(cause, DatabaseError) and _reason(cause) is Reason.GIVES_WAY


def is_connection_lost(conn: BaseDatabaseWrapper, error: BaseException) -> bool:
    """Return whether the session is gone, so that what the transaction wrote is too; the code that ran may be right."""
    return isinstance(error, Error) and meaning(conn, error) is Meaning.LOST


def was_session_lost(conn: BaseDatabaseWrapper, error: BaseException) -> bool:
    """Return the same for an error that users' code ended with in a transaction that is still open: it may be that of
    another database, which the code asked, and only the session itself can tell.
    """
    is_lost = is_connection_lost(conn, error) and not backend_of(conn).answers()
    if is_lost and limits_are_changed(conn) and _reason(error) is Reason.OVER_LIMIT:
        setattr(error.__cause__, OF_THE_CODE, True)  # by a limit of its own: where the run is counted, it has failed
    return is_lost


def trouble(error: BaseException | None) -> ObjectBusy | None:
    """Return the ``ObjectBusy`` that the engine's own statements, or a wait for another object, ended with: this error
    or one of its causes.
    """
    seen: set[int] = set()  # a handler may raise what is its own cause
    while error is not None and id(error) not in seen:
        if isinstance(error, ObjectBusy) and (error.key is not None or isinstance(error.__cause__, Error)):
            return error
        seen.add(id(error))
        error = error.__cause__
    return None


def own_statements(conn: BaseDatabaseWrapper) -> AbstractContextManager[None]:
    """Raise ``ObjectBusy`` for what the block's statements, the engine's own, meet in the database.

    The transaction cannot end well then, unless its innermost ``atomic()`` block is left with the error: swallowed
    there, it is raised again where the turn ends.
    """
    return _OwnStatements(conn)


class _OwnStatements(AbstractContextManager[None]):
    """No generator, which would cost each of a run's statements more."""

    __slots__ = ("_conn",)

    def __init__(self, conn: BaseDatabaseWrapper) -> None:
        self._conn = conn

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None or error is None or not issubclass(kind, Error):
            return
        busy = as_busy(self._conn, error)
        if busy is None:
            return
        if self._conn.in_atomic_block:
            self._conn.needs_rollback = True
            setattr(self._conn, _WHY, busy)
        raise busy from error


def forget_trouble(conn: BaseDatabaseWrapper) -> None:
    """Forget what broke an earlier block, unless this one is still to be rolled back for it.

    Django keeps it for good; a later ``set_rollback(True)`` has its own reason, and is nobody's trouble.
    """
    if not conn.needs_rollback:
        setattr(conn, _WHY, None)


def why_broken(conn: BaseDatabaseWrapper) -> ObjectBusy | None:
    """Return what the engine's own statements met in a transaction that cannot end well any more."""
    return trouble(getattr(conn, _WHY)) if conn.needs_rollback else None


def as_busy(conn: BaseDatabaseWrapper, error: BaseException) -> ObjectBusy | None:
    """Return the ``ObjectBusy`` that an error of the engine's own statements is to a caller; None when it is none."""
    if meaning(conn, error) is not Meaning.TROUBLE or (was_cancelled(error) and limits_are_changed(conn)):
        return None
    words = str(error).strip().partition("\n")[0]
    is_read_only = _reason(error) is Reason.READ_ONLY
    advice = ". It takes no writes: ask its primary." if is_read_only else ": try again later."
    return ObjectBusy(f"the database could not do it just now: {words}. Nothing was changed{advice}")


def note_limits(conn: BaseDatabaseWrapper, *, are_changed: bool) -> None:
    """Note that code in a turn has set how long a statement may take, so that one that took longer is its affair; or
    that the turn's own limits are set again.
    """
    conn.__dict__[_LIMITS_CHANGED] = are_changed


def limits_are_changed(conn: BaseDatabaseWrapper) -> bool:
    """Return whether the turn's own limits have to be set again before the engine's last statements."""
    return bool(conn.__dict__.get(_LIMITS_CHANGED))


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of an error of Django's; nothing where there is none."""
    return sqlstates.of(error)
