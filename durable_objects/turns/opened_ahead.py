"""A run's transaction that was begun by the message with the commit before it: one round trip for both.

Django's block around it is that of the transaction before. It is kept on the connection for the run of its object,
which comes next; when something else comes it is undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

from durable_objects.database import connection
from durable_objects.turns.lock import Answered


@dataclass(frozen=True, slots=True)
class Ahead:
    """What has begun: for which object, in which block of Django's, and what has come with its lock."""

    object_id: int
    block: Atomic
    answered: Answered


class _Unused(Exception):
    """Rolls back what nobody came for."""


def keep(conn: BaseDatabaseWrapper, ahead: Ahead) -> None:
    """Keep it for the next run."""
    conn.__dict__[connection.AHEAD] = ahead


def is_for(conn: BaseDatabaseWrapper, object_id: int | None) -> bool:
    """Return whether one is kept for this object. Undo one that is kept for another."""
    ahead: Ahead | None = conn.__dict__.get(connection.AHEAD)
    if ahead is None or ahead.object_id == object_id:
        return ahead is not None
    connection.end(conn, take(conn).block, _Unused())
    return False


def take(conn: BaseDatabaseWrapper) -> Ahead:
    """Return what is kept, once."""
    ahead: Ahead = conn.__dict__.pop(connection.AHEAD)
    return ahead


@contextmanager
def undone_at_the_end(conn: BaseDatabaseWrapper) -> Iterator[None]:
    """Undo after the block what was kept in it and not taken."""
    try:
        yield
    finally:
        is_for(conn, None)
