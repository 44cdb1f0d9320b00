"""Which databases the engine can work on: others are refused by a check, and where no check ran by the first use."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database.backends import backend_of, is_supported

_fit: set[str] = set()

#: The size of a pool of psycopg's where OPTIONS sets none.
_POOLED = 4


def connect(alias: str) -> BaseDatabaseWrapper:
    """Return this thread's connection to it. Raises ``ImproperlyConfigured`` where the engine cannot work on it."""
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
    """Return why Django's ``pool`` is too small for a process with n threads; None if it is not, or nobody knows."""
    pool = connections[alias].settings_dict["OPTIONS"].get("pool")
    given = pool if isinstance(pool, dict) else {}
    most = given.get("max_size") or given.get("min_size", _POOLED)
    if not pool or not threads or not isinstance(most, int) or most > threads:
        return None
    return (
        f"The pool of the database {alias!r} has {most} connections at most (max_size), and {threads} threads run "
        "alarms: all may hold one when another is needed, which then waits, and fails after the pool's timeout."
    )


def endless_wait(alias: str) -> str | None:
    """Return that nothing limits how long connecting may wait, in a sentence; None where something does."""
    if not backend_of(connections[alias]).waits_to_connect():
        return None
    return (
        f"The database {alias!r} has no connect_timeout: a server that takes connections and says nothing holds every "
        "process for over two minutes."
    )


#: The line to write against it.
LIMIT_OF_WAIT = 'Set DATABASES[…]["OPTIONS"] = {"connect_timeout": 5}, in seconds.'


def unfit(alias: str) -> str | None:
    """Return why the engine cannot work on the database of this alias, and what to do; None when it can."""
    if alias not in connections.settings:
        known = ", ".join(map(repr, sorted(connections.settings)))
        return f'DURABLE_OBJECTS["DATABASE"] is {alias!r}, which is not in DATABASES. Name one that is: {known}.'
    conn = connections[alias]
    if not is_supported(conn):
        return (
            f"The database {alias!r} is {conn.display_name}. Durable objects need PostgreSQL or SQLite: name one "
            'of DATABASES by DURABLE_OBJECTS = {"DATABASE": …}.'
        )
    if why := backend_of(conn).unfit():
        return why
    if not conn.settings_dict["AUTOCOMMIT"]:
        return (
            f'DATABASES[{alias!r}]["AUTOCOMMIT"] is {conn.settings_dict["AUTOCOMMIT"]!r}: every turn would be part of '
            "a transaction that nobody ends, so nothing would ever be committed, and alarms would run for ever. Remove "
            "it; transaction.atomic() is for what is to be committed together."
        )
    return None
