"""What PostgreSQL's error codes mean when the engine's own statements meet them."""

from __future__ import annotations

from durable_objects.database.backends.base import Meaning, Reason

IN_FAILED_TRANSACTION = "25P02"
#: Of memory, and of places in the table of locks.
OUT_OF_MEMORY = "53200"
#: The server's words when it refuses a connection since it has too many; the driver gives no SQLSTATE then.
NO_CAPACITY = ("too many clients", "too many connections", "connection slots", "no more connections allowed")

#: Classes of SQLSTATE that are not the code's affair.
_CLASSES = {
    "08": Meaning.LOST,  # connection exceptions
    "40": Meaning.GIVES_WAY,  # transaction rollback
    "53": Meaning.TROUBLE,  # disk full, out of memory, too many connections
    "55": Meaning.TROUBLE,  # not in the state for it: a lock not available, an object in use
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
    "25006": Meaning.TROUBLE,  # read-only: a standby, after a failover
    "0A000": Meaning.TROUBLE,  # of a prepared statement whose table has changed
    "26000": Meaning.TROUBLE,  # a prepared statement, lost by a pooler
    "40002": Meaning.CODE,  # a constraint, found at the commit
}


_REASONS = {
    "55P03": Reason.LOCK_TIMEOUT,  # lock_timeout
    "57014": Reason.CANCELLED,  # statement_timeout, or pg_cancel_backend()
    "25006": Reason.READ_ONLY,
    "25P03": Reason.OVER_LIMIT,  # idle_in_transaction_session_timeout
    "25P04": Reason.OVER_LIMIT,  # transaction_timeout
}


def meaning_of(sqlstate: str) -> Meaning:
    """Return what this SQLSTATE means when the engine's own statements meet it."""
    return _STATES.get(sqlstate) or _CLASSES.get(sqlstate[:2], Meaning.CODE)


def reason_of(sqlstate: str) -> Reason | None:
    """Return the reason that the engine asks for, if this SQLSTATE is one."""
    return Reason.GIVES_WAY if meaning_of(sqlstate) is Meaning.GIVES_WAY else _REASONS.get(sqlstate)


def of(error: BaseException | None) -> str:
    """Return the SQLSTATE of an error of Django's; nothing where there is none."""
    return getattr(error and error.__cause__, "sqlstate", None) or ""
