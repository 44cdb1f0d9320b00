"""Which databases the engine can work on: refused in words by a check, and where no check ran by the first use."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

_fit: set[str] = set()

#: So many connections has a pool of psycopg's where nobody says.
_POOLED = 4


def connect(alias: str) -> BaseDatabaseWrapper:
    """This thread's connection to the database. Raises ``ImproperlyConfigured`` where the engine cannot work on it."""
    if alias not in _fit:
        if why := unfit(alias):
            raise ImproperlyConfigured(why)
        _fit.add(alias)
    conn = connections[alias]
    if "cursor" in vars(conn):  # Django's test case has put its refusal there, which our own messages would pass by
        conn.cursor().close()
    return conn


def leave_pool(conn: BaseDatabaseWrapper) -> None:
    """Let this thread connect by itself, not by Django's ``pool``: whoever waits for a place there waits for handlers.

    For a thread of the engine's own, which keeps leases or ends late runs while handlers hold all that the pool has.
    """
    options = conn.settings_dict["OPTIONS"]
    if options.get("pool"):
        conn.close()
        conn.settings_dict = {**conn.settings_dict, "OPTIONS": {**options, "pool": None}}


def small_pool(alias: str, threads: int | None) -> str | None:
    """Why Django's ``pool`` is too small for a process with so many threads; None where it is not, or nobody knows."""
    pool = connections[alias].settings_dict["OPTIONS"].get("pool")
    given = pool if isinstance(pool, dict) else {}
    most = given.get("max_size") or given.get("min_size", _POOLED)
    if not pool or not threads or not isinstance(most, int) or most > threads:
        return None
    return (
        f"The pool of the database {alias!r} has {most} connections at most (max_size), and {threads} threads run "
        "alarms: all may hold one when another is needed, which then waits, and fails after the pool's timeout."
    )


def late_mode(conn: BaseDatabaseWrapper) -> str | None:
    """How SQLite begins its transactions, where they take their lock too late for a turn; None where they do not."""
    mode = str(conn.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED")
    return mode if conn.vendor == "sqlite" and mode.upper() not in {"IMMEDIATE", "EXCLUSIVE"} else None


def unfit(alias: str) -> str | None:
    """Why the engine cannot work on the database of this alias, and what to do; None when it can."""
    if alias not in connections.settings:
        known = ", ".join(map(repr, sorted(connections.settings)))
        return f'DURABLE_OBJECTS["DATABASE"] is {alias!r}, which is not in DATABASES. Name one that is: {known}.'
    conn = connections[alias]
    if conn.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import is_psycopg3

        if not is_psycopg3:
            return f"The database {alias!r} is spoken to by psycopg2. Durable objects need psycopg 3: install psycopg."
    elif conn.vendor != "sqlite":
        return (
            f"The database {alias!r} is {conn.display_name}. Durable objects need PostgreSQL or SQLite: name one "
            'of DATABASES by DURABLE_OBJECTS = {"DATABASE": …}.'
        )
    if not conn.settings_dict["AUTOCOMMIT"]:
        return (
            f'DATABASES[{alias!r}]["AUTOCOMMIT"] is {conn.settings_dict["AUTOCOMMIT"]!r}: every turn would be part of '
            "a transaction that nobody ends, so nothing would ever be committed, and alarms would run for ever. Remove "
            "it; transaction.atomic() is for what is to be committed together."
        )
    return None
