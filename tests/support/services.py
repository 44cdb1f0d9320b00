"""The servers that tests marked ``services`` talk to: where each one is, and what happens when it is not there."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

import pytest

#: Each server's address, unless TEST_<NAME>_URL says otherwise. The path of PostgreSQL's is never written to.
DEFAULTS = {
    "postgresql": "postgresql://127.0.0.1:5432/postgres",
    "redis": "redis://127.0.0.1:6379/15",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
}


#: For tests that change or end the session that they have, or look at what it keeps.
own_session = pytest.mark.skipif(
    bool(os.environ.get("TEST_BEHIND_PGBOUNCER")), reason="PgBouncer's sessions are one's own for a transaction only"
)


def address(name: str) -> str:
    """Where the server is to be found. KeyError for a name that is not in ``DEFAULTS``."""
    default = DEFAULTS[name]
    test_database = os.environ.get("TEST_DATABASE_URL", "")
    if name == "postgresql" and test_database.startswith("postgres"):
        default = test_database
    return os.environ.get(f"TEST_{name.upper()}_URL") or default


def require(name: str) -> str:
    """The address of a server that answers.

    Where none does the test is skipped with the reason, but fails where CI is set: there it was promised.
    """
    url = address(name)
    try:
        _PROBES[name](url)
    except Exception as error:  # noqa: BLE001  each client has errors of its own, and any of them means "not there"
        reason = f"no {name} at {_without_password(url)} ({error.__class__.__name__}: {error})"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return url


@contextmanager
def fresh_postgresql(options: LiteralString = "", template: str | None = None) -> Iterator[str]:
    """The URL of a PostgreSQL database made for this block, and dropped after it.

    Made with these options, or as a copy of the database ``template``, to which nobody may be connected then.
    """
    import psycopg
    from psycopg import sql

    url = require("postgresql")
    name = f"durable_objects_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        made = sql.SQL(options) if template is None else sql.SQL("TEMPLATE {}").format(sql.Identifier(template))
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), made))
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _probe_postgresql(url: str) -> None:
    import psycopg

    psycopg.connect(url, connect_timeout=2).close()


def _probe_redis(url: str) -> None:
    import redis

    with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
        client.ping()


def _probe_rabbitmq(url: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "127.0.0.1", where.port or 5672), timeout=2) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        if not connection.recv(1):
            raise ConnectionError("it hung up")


def _without_password(url: str) -> str:
    where = urlsplit(url)
    return urlunsplit(where._replace(netloc=where.netloc.rpartition("@")[2]))


_PROBES: dict[str, Callable[[str], None]] = {
    "postgresql": _probe_postgresql,
    "redis": _probe_redis,
    "rabbitmq": _probe_rabbitmq,
}
