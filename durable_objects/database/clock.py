"""The one clock: the database's. What is due is judged by it and by nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.timezone import make_aware

from durable_objects.conf import engine
from durable_objects.database import monotonic as process_clock
from durable_objects.database import supported
from durable_objects.database.backends import backend_of
from durable_objects.database.errors import own_statements

_READING = "durable_objects_clock"

_thread = threading.local()

monotonic = process_clock.monotonic

#: Set by ``testing.FakeClock`` for the whole process, threads too.
fake: Callable[[], datetime] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the database's clock showed at a moment, carried on with the process's monotonic clock."""

    at: datetime
    anchor: float

    def now(self) -> datetime:
        """Return the database's time, without asking it again."""
        return fake() if fake is not None else self.at + timedelta(seconds=self.passed())

    def of(self, moment: float) -> datetime:
        """Return the database's time at a moment of ``monotonic``."""
        if fake is not None:
            return fake() - timedelta(seconds=monotonic() - moment)
        return self.at + timedelta(seconds=moment - self.anchor)

    def passed(self) -> float:
        """Return the seconds since the clock was read."""
        return monotonic() - self.anchor


def keep_reading(conn: BaseDatabaseWrapper, at: datetime) -> Reading:
    """Keep what the database has just answered: ``now()`` goes by it until ``drop_reading``."""
    reading = conn.__dict__[_READING] = Reading(at, monotonic())
    _thread.conn = conn
    return reading


def drop_reading(conn: BaseDatabaseWrapper) -> None:
    """End what ``keep_reading`` began, when the last turn on this connection is over: ``now()`` asks again."""
    conn.__dict__.pop(_READING, None)
    _thread.conn = None


def connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the database that has the engine's tables.

    Raises ``ImproperlyConfigured`` where the engine cannot work on it.

    While a turn is open it is known: every read and write asks, and Django's own answer takes a microsecond each time.
    """
    conn: BaseDatabaseWrapper | None = getattr(_thread, "conn", None)
    return supported.connect(engine.DATABASE) if conn is None else conn


def now_sql(conn: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """Return the SQL that selects now, with its parameters. Everything that asks the database for the time uses it."""
    expression, params = now_expression(conn)
    return backend_of(conn).select_moment(expression), params


def now_expression(conn: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
    """Return the SQL for now, to be compared with a column of moments, with its parameters."""
    backend = backend_of(conn)
    if backend.clock is not None and fake is None:
        return backend.clock, []
    return backend.moment_parameter, [to_database(conn, fake() if fake is not None else datetime.now(UTC))]


def now() -> datetime:
    """Return the time that alarms are judged by, aware and in UTC: the database's clock, or the open ``FakeClock``.

    On PostgreSQL one small query, inside a turn none. It is the time of the call, not of the transaction's start; in a
    turn it is behind by as long as the answer with the time was on its way.
    """
    conn = connection()
    reading: Reading | None = conn.__dict__.get(_READING)
    if reading is None or fake is not None or backend_of(conn).clock is None:
        return read()
    return reading.now()


def read() -> datetime:
    """Return the same as ``now``, but always ask the database: not behind the moment of the call."""
    conn = connection()
    if fake is not None or backend_of(conn).clock is None:
        return fake() if fake is not None else datetime.now(UTC)
    expression, params = now_sql(conn)
    with own_statements(conn), conn.cursor() as cursor:
        cursor.execute(f"SELECT {expression}", params)
        return from_database(cursor.fetchone()[0])


def to_database(conn: BaseDatabaseWrapper, value: datetime | None) -> Any:
    """Return a moment as the database's driver wants it for a parameter. A naive one is in Django's current zone."""
    if value is None:
        return None
    moment = value if value.tzinfo is UTC else (make_aware(value) if value.tzinfo is None else value).astimezone(UTC)
    return backend_of(conn).write_moment(moment)


def selected(conn: BaseDatabaseWrapper, expression: str) -> str:
    """Return the SQL that selects a moment so that ``from_database`` reads it."""
    return backend_of(conn).select_moment(expression)


def from_database(value: Any) -> datetime:
    """Return a moment as the driver gave it (text: in UTC), aware and in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
