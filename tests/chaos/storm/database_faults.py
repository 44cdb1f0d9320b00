"""What is done to the database: taken away, locked, limited, switched over, and how that is undone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import LiteralString

import psycopg

from tests.chaos.own_postgres import OwnPair
from tests.chaos.storm.scene import Pids, ServerScene

TABLES: tuple[LiteralString, ...] = ("object", "entry", "alarm", "alarmrun")
#: Longer than the engine waits for a lock (LOCK_TIMEOUT).
LOCKED_SECONDS = 7.0

_LOCK: LiteralString = """
    SELECT 1 FROM durable_objects_object o JOIN durable_objects_alarm a ON a.object_id = o.id
    ORDER BY random() LIMIT 20 FOR UPDATE
"""
_CUT: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'site' AND pid <> pg_backend_pid()"
)
#: What an administrator may have set for a role, and everybody then has to live with.
_LIMITS: dict[str, LiteralString] = {
    "statement_timeout": "200ms",
    "lock_timeout": "50ms",
    "idle_session_timeout": "1s",
    "idle_in_transaction_session_timeout": "1s",
}


def restart(scene: ServerScene) -> Pids:
    """Away for up to two seconds: shut down, or as after a power cut."""
    scene.postgres.stop(scene.chance.choice(["fast", "immediate"]))
    time.sleep(scene.chance.uniform(0, 2))
    scene.postgres.start()
    return set()


def promote(scene: ServerScene) -> Pids:
    """The primary is gone for good, its synchronous standby takes over, and gets a standby of its own."""
    assert isinstance(scene.postgres, OwnPair)
    scene.postgres.promote(scene.chance.choice(["fast", "immediate"]))
    time.sleep(2)
    scene.postgres.add_standby()
    return set()


def cut(scene: ServerScene) -> Pids:
    """Every session is ended by the server."""
    with scene.postgres.connect() as connection:
        connection.execute(_CUT)
    return set()


def lock_rows(scene: ServerScene) -> Pids:
    """Somebody's transaction keeps twenty objects and their alarms locked for three seconds."""
    _in_transaction(scene, _LOCK, 3)
    return set()


def hold_snapshot(scene: ServerScene) -> Pids:
    """A transaction idles with its snapshot."""
    _in_transaction(scene, "SELECT count(*) FROM durable_objects_entry", 8, "REPEATABLE READ")
    return set()


def lock_table(table: LiteralString) -> Callable[[ServerScene], Pids]:
    """Nobody reads or writes this table, as while it is rewritten."""

    def act(scene: ServerScene) -> Pids:
        _in_transaction(scene, f"LOCK TABLE durable_objects_{table} IN ACCESS EXCLUSIVE MODE", LOCKED_SECONDS)
        return set()

    return act


def limit_role(scene: ServerScene) -> Pids:
    """The role has short time-outs, in all sessions, for six seconds."""
    with scene.postgres.connect() as connection, _role_limited(connection):
        connection.execute(_CUT)
        time.sleep(6)
    cut(scene)
    return set()


def read_only(scene: ServerScene) -> Pids:
    """The database takes no writes for five seconds; sessions that began meanwhile stay so until they are closed."""
    with scene.postgres.connect() as connection:
        connection.execute("ALTER DATABASE site SET default_transaction_read_only = on")
        try:
            connection.execute(_CUT)
            time.sleep(5)
        finally:
            connection.execute("ALTER DATABASE site RESET default_transaction_read_only")
    return set()


def use_up_connections(scene: ServerScene) -> Pids:
    """For five seconds there is no connection left: somebody else has them all."""
    with ExitStack() as taken:
        end = time.monotonic() + 5
        cut(scene)
        while time.monotonic() < end:
            try:
                taken.enter_context(scene.postgres.connect())
            except psycopg.Error:
                time.sleep(0.05)
    return set()


@contextmanager
def _role_limited(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    for name, value in _LIMITS.items():
        connection.execute(f"ALTER ROLE postgres SET {name} = '{value}'".encode())
    try:
        yield
    finally:
        connection.execute("ALTER ROLE postgres RESET ALL")


def _in_transaction(
    scene: ServerScene, query: LiteralString, seconds: float, isolation: LiteralString = "READ COMMITTED"
) -> None:
    with suppress(psycopg.Error), psycopg.connect(scene.postgres.url) as connection:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        connection.execute(query)
        time.sleep(seconds)
