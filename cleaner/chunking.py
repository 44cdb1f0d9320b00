"""The size of chunks: each takes about the same time, and one that takes too long is cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import ObjectBusy

#: What a chunk should take, and may take at most: no transaction lasts over 200 ms, whatever its rows are like.
WANTED_SECONDS = 0.08
CUT_OFF_SECONDS = 0.13

#: The pause after each chunk, for others that wait for the object, as a part of the chunk's time.
PAUSE_SHARE = {"postgresql": 0.02, "sqlite": 0.5}

_CANCELLED = "57014"


class Pace:
    """The size of the next chunk, by how long the last one took: at most doubled, at least one row."""

    def __init__(self, first: int, most: int) -> None:
        self._most = most
        self.limit = max(1, min(first, most))
        self.longest = 0.0

    @property
    def cut_off(self) -> float | None:
        """Seconds after which the chunk is cut off; None for a single row, which must succeed at some time."""
        return CUT_OFF_SECONDS if self.limit > 1 else None

    def took(self, seconds: float) -> None:
        """Adjust the size to a chunk that took this long."""
        self.longest = max(self.longest, seconds)
        wanted = int(self.limit * WANTED_SECONDS / max(seconds, 0.001))
        self.limit = max(1, min(wanted, 2 * self.limit, self._most))

    def too_large(self) -> None:
        """Reduce the size after a chunk that was cut off."""
        self.limit = max(1, self.limit // 8)


def rest(conn: BaseDatabaseWrapper, seconds: float) -> None:
    """Let others lock the object after a chunk that took ``seconds``. (SQLite's writers only poll for the lock.)"""
    time.sleep(PAUSE_SHARE[conn.vendor] * seconds)


@contextmanager
def cut_off_after(conn: BaseDatabaseWrapper, seconds: float | None) -> Iterator[None]:
    """Make each statement in the block raise ``OperationalError`` after ``seconds``; all in one transaction."""
    if seconds is None or (conn.vendor == "sqlite" and len(conn.atomic_blocks) > 1):
        yield  # SQLite would roll back all of a transaction that is not ours
    elif conn.vendor == "postgresql":
        around = nullcontext() if conn.in_atomic_block else transaction.atomic(using=conn.alias)
        with around, conn.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            (before,) = cursor.fetchone()
            limit = "SELECT set_config('statement_timeout', %s, true)"
            cursor.execute(limit, [f"{round(seconds * 1000)}ms"])
            yield  # when it raises, the transaction's end takes the limit back
            cursor.execute(limit, [before])
    else:
        deadline = time.monotonic() + seconds
        conn.connection.set_progress_handler(lambda: time.monotonic() > deadline, 100)
        try:
            yield
        finally:
            conn.connection.set_progress_handler(None, 0)


def commit_without_waiting(conn: BaseDatabaseWrapper) -> None:
    """Do not wait for the disk at this transaction's commit, if the transaction is our own (PostgreSQL).

    A server that crashes may lose the last moments, deletions and their record alike: they are repeated.
    """
    if conn.vendor == "postgresql" and len(conn.atomic_blocks) == 1:
        with conn.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit TO off")


def was_cut_off(error: OperationalError | ObjectBusy) -> bool:
    """Return whether the error is that of a statement that took too long."""
    cause = error.__cause__ if isinstance(error, ObjectBusy) else error
    return getattr(cause and cause.__cause__, "sqlstate", None) == _CANCELLED or str(cause) == "interrupted"
