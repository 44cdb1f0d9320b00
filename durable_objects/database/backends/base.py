"""What the engine asks of a database: each operation in a sentence, implemented by one class per database."""

from __future__ import annotations

import enum
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import Error, models
from django.db.backends.base.base import BaseDatabaseWrapper

#: SQL with a ``%s`` for each value (None, whole number, text, or a moment as ``clock.to_database`` gives it).
Statement = tuple[str, Sequence[Any]]
Row = tuple[Any, ...]
#: Inserts rows, given by their columns and the values of these.
Copier = Callable[[Sequence[str], Iterable[Row]], None]

#: Set on an error of the driver's that is the fault of code in the turn, whatever its code is.
OF_THE_CODE = "durable_objects_of_the_code"


class Meaning(enum.Enum):
    """``GIVES_WAY``: the same transaction may well succeed now. ``LOST``: the session is gone, and with it what its
    transaction wrote. ``TROUBLE``: locked, full, short of something, cancelled or broken; when the engine's own
    statements meet it, it is the database's affair. ``CODE``: the statement or its values are wrong.
    """

    GIVES_WAY = enum.auto()
    LOST = enum.auto()
    TROUBLE = enum.auto()
    CODE = enum.auto()


class Reason(enum.Enum):
    """``LOCK_TIMEOUT``: the wait for a lock took longer than allowed. ``GIVES_WAY``: the database chose this
    transaction to give way (deadlock, serialization failure). ``CANCELLED``: the statement took longer than it may, or
    somebody cancelled it. ``READ_ONLY``: the server takes no writes, as a standby. ``OVER_LIMIT``: the server ended
    the session since its transaction was idle, or open, for too long.
    """

    LOCK_TIMEOUT = enum.auto()
    GIVES_WAY = enum.auto()
    CANCELLED = enum.auto()
    READ_ONLY = enum.auto()
    OVER_LIMIT = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a transaction that is the turn's own: the server frees the object of a worker that hangs or is gone.

    A run (``is_run``) may wait longer or shorter for its object (``lock_timeout``) than for anything else, which is
    ``LOCK_TIMEOUT``, and none of its statements lasts longer than the run may (``time_limit``).
    """

    lock_timeout: timedelta
    time_limit: timedelta
    is_run: bool = False


def milliseconds(span: timedelta) -> int:
    """Return a span as the settings of a database want it, at least 1."""
    return max(1, int(span.total_seconds() * 1000))


class Backend(ABC):
    """One connection's database. Its methods raise Django's database errors.

    Methods that are not abstract do here what a database does that runs in this process and locks as a whole.
    """

    #: The collation that compares text by code point; None where the database's own does.
    collation: ClassVar[str | None] = None
    #: SQL for the database's clock; None where the database runs in this process and the process's clock is its clock.
    clock: ClassVar[str | None] = None
    #: SQL for a moment that is given as a parameter.
    moment_parameter: ClassVar[str] = "%s"
    #: Whether a server is asked, over a session that may be lost and can be made again.
    has_server: ClassVar[bool] = False
    #: Whether one text may contain several statements.
    takes_several_statements: ClassVar[bool] = False
    #: Whether ``INSERT`` answers ``RETURNING`` with the rows it made.
    returns_inserted: ClassVar[bool] = False
    #: Whether a table can be cut into hash partitions.
    has_partitions: ClassVar[bool] = False
    #: Whether a ``WITH`` may contain a ``DELETE``.
    deletes_in_with: ClassVar[bool] = False
    #: The column by which a row is found most quickly as long as nobody changes it.
    row_address: ClassVar[str] = "id"
    #: Seconds after which a turn has kept other objects' turns out for too long; None where it never does.
    long_turn: ClassVar[float | None] = None

    def __init__(self, conn: BaseDatabaseWrapper) -> None:
        self.conn = conn

    # Whether the engine can work on it

    def unfit(self) -> str | None:
        """Return why the engine cannot work on this database, and what to do; None when it can. Asks no database."""
        return None

    def waits_to_connect(self) -> bool:
        """Return whether nothing in ``OPTIONS`` limits how long connecting may wait for a server that says nothing."""
        return False

    def late_mode(self) -> str | None:
        """Return how transactions begin, where they take their lock too late for a turn; None where they do not."""
        return None

    def unfit_encoding(self) -> str | None:
        """Return the database's encoding if it cannot store every text."""
        return None

    def unfit_isolation(self) -> str | None:
        """Return the open transaction's isolation level if it hides what was committed during a wait for a lock."""
        return None

    def own_name(self) -> str:
        """Return what the server calls this database, by which it tells it from a copy; empty where nothing does."""
        return ""

    def is_read_only(self) -> bool:
        """Return whether the database takes no writes: a standby, or a role that may only read."""
        return False

    def blocking_journal(self) -> str | None:
        """Return the journal mode if readers wait for writers in it."""
        return None

    def set_journal(self) -> str | None:
        """Set the journal mode in which they do not, for good. Return the mode that it is now; None without modes."""
        return None

    # Moments

    @abstractmethod
    def write_moment(self, moment: datetime) -> Any:
        """Return an aware moment in UTC as the driver wants it for a parameter."""

    @staticmethod
    @abstractmethod
    def select_moment(expression: str) -> str:
        """Return the SQL that selects a moment so that the driver gives text in UTC, or an aware one."""

    @abstractmethod
    def read_column(self, value: datetime) -> datetime:
        """Return as an aware moment what Django's own backend made of a moment's column."""

    # Transactions and locks

    def waiting_for_begin(self, limit: timedelta) -> AbstractContextManager[None]:
        """Limit how long ``BEGIN`` in the block may wait, where that takes the lock; first come, first served."""
        return nullcontext()

    def ended(self) -> None:  # noqa: B027  most have nothing to do
        """Let the next one begin: the transaction that ``waiting_for_begin`` was for is over."""

    def begin(self, limits: Limits, *, outermost: bool) -> Sequence[Statement]:
        """Return what begins a turn's transaction, with the limits for waiting for its object's lock.

        With ``outermost`` false it is one in a test case's, and what is set must not outlast the turn.
        """
        return ()

    def after_lock(self, limits: Limits, *, outermost: bool) -> Sequence[Statement]:
        """Return what limits a run's own statements, once it has the lock."""
        return ()

    def restore_limits(self, limits: Limits, *, outermost: bool) -> Sequence[Statement]:
        """Return what sets the limits of a turn's last statements, after code in it has set others for its own."""
        return ()

    def limit_lock_wait(self, limit: timedelta) -> Sequence[Statement]:
        """Return what limits how long the statements of this transaction wait for each lock."""
        return ()

    def lock(self, select: Statement, *, skip_locked: bool = False) -> Sequence[Statement]:
        """Return what locks the rows that are selected, or with ``skip_locked`` those that nobody else has locked.

        Rows that point to them can still be inserted. Nothing where ``BEGIN`` has locked the whole database.
        """
        return ()

    def is_partitioned(self, table: str) -> str:
        """Return SQL for whether a table is cut into partitions."""
        return "FALSE"

    def among(self, column: str, keys: Sequence[int]) -> Statement:
        """Return the condition that a column has one of these keys."""
        return f"{column} IN ({', '.join(['%s'] * len(keys))})", keys

    def pairs(self, number: int, texts: Sequence[str]) -> Statement:
        """Return a query whose rows are the number with each of these texts."""
        return f"VALUES {', '.join(['(%s, %s)'] * len(texts))}", [value for text in texts for value in (number, text)]

    def rows(self, model: type[models.Model], columns: Mapping[str, Sequence[Any]]) -> Statement:
        """Return a query for rows of this model, given by the values of each column. There is one row at least."""
        values = [value for row in zip(*columns.values(), strict=True) for value in row]
        return _values(len(columns), len(values) // len(columns)), values

    def note_run(self, kind_id: int) -> Sequence[Statement]:
        """Return what lets ``runs`` count this transaction, which runs an alarm of a class, as long as it lasts."""
        return ()

    def runs(self, kind_id: int | None) -> int:
        """Return how many transactions run alarms of this class, or with None of any: those that ``note_run`` noted.

        0 where a run has locked the whole database: whoever has written since it began knows that it is over.
        """
        return 0

    def snapshot(self) -> Sequence[Statement]:
        """Return what makes all reads of a transaction that was just begun see one state of the database."""
        return ()

    @abstractmethod
    def epoch(self, column: str) -> str:
        """Return SQL for a column of moments as whole seconds since 1970."""

    def estimated_rows(self, index: str) -> int | None:
        """Return how many rows an index has, as the planner estimates; None where it does not."""
        return None

    def locked_rows(self, table: str, keys: Sequence[int]) -> set[int]:
        """Return which of these rows somebody else has locked; none where that cannot be found out without waiting."""
        return set()

    def locked_by(self, table: str, key: int) -> tuple[int, str, str | None, timedelta] | None:
        """Return who has this row locked, if this session may know it: process, application, address, for how long."""
        return None

    # Statements

    @abstractmethod
    def execute(self, statements: Sequence[Statement], typed: int) -> list[list[Row]]:
        """Execute the statements in order, in one round trip; return the rows of each.

        Those of the last ``typed`` ones are as a cursor gives them; in the others every value may be text or None.
        """

    def copier(self, table: str) -> Copier | None:
        """Return what inserts many rows into the table faster than INSERT, none of which may be there; None where there
        is no such way.
        """
        return None

    @abstractmethod
    def commit(
        self, statements: Sequence[Statement], then: Sequence[Statement] = (), typed: int = 0
    ) -> list[list[Row]]:
        """Execute the statements and commit in one round trip, where that is possible; Django's commit then does
        nothing more. Raises what refused it: nothing of it happened then, unless the connection was lost.

        Where ``takes_several_statements``, ``then`` are executed after the commit, in the same round trip; return the
        rows of those that were, the last ``typed`` of them as ``execute`` does. One that fails is not raised.
        """

    @abstractmethod
    def savepoint_name(self, name: str, *, is_quoted: bool) -> str:
        """Return the name of a savepoint in the form in which two that are the same are equal."""

    # The session

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Return whether the driver's connection, which must be there, has a transaction open."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the session is there, also in a failed transaction. Never connects again."""

    def set_up_session(self) -> None:  # noqa: B027  likewise
        """Set on a session that was just made what the engine needs of each."""

    def outlasts_transaction(self, sql: str) -> bool:
        """Return whether this SQL leaves something on the session when its transaction is over."""
        return False

    def drop_session(self) -> None:
        """End the session: the next statement gets a new one, from a pool as well."""
        if self.conn.connection is not None:
            with suppress(Exception):
                self.conn.connection.close()
        self.conn.close()

    def hang_up(self) -> None:  # noqa: B027  most have nobody to wait for
        """End the session from another thread: whoever waits for its server gets an error, and a later one notices."""

    def reset_session(self) -> None:
        """Undo whatever is open on the driver's connection; Django's own state has been reset."""
        self.drop_session()

    # Errors of Django's, with the driver's as their cause

    @staticmethod
    @abstractmethod
    def meaning(conn: BaseDatabaseWrapper, error: Error) -> Meaning | None:
        """Return what an error means that came from this database's driver; None for any other driver's."""

    @staticmethod
    @abstractmethod
    def reason(error: BaseException) -> Reason | None:
        """Return why a statement failed or the session ended, if it is one of the reasons that the engine asks for."""


@functools.lru_cache
def _values(columns: int, rows: int) -> str:
    row = f"({', '.join(['%s'] * columns)})"
    return f"VALUES {', '.join([row] * rows)}"
