"""What differs from database to database, one class each; another database is one class more in ``BACKENDS``."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database.backends.base import Backend
from durable_objects.database.backends.postgresql import PostgreSQL
from durable_objects.database.backends.sqlite import SQLite

#: By what Django calls the database.
BACKENDS: dict[str, type[Backend]] = {"postgresql": PostgreSQL, "sqlite": SQLite}

_KEY = "durable_objects_backend"


def is_supported(conn: BaseDatabaseWrapper) -> bool:
    """Return whether there is a backend for this database."""
    return conn.vendor in BACKENDS


def backend_of(conn: BaseDatabaseWrapper) -> Backend:
    """Return the backend of a connection, which keeps it. Raises ``ImproperlyConfigured`` if there is none."""
    backend: Backend | None = conn.__dict__.get(_KEY)
    if backend is None:
        if not is_supported(conn):
            raise ImproperlyConfigured(f"durable objects cannot be in a database of {conn.display_name}")
        backend = conn.__dict__[_KEY] = BACKENDS[conn.vendor](conn)
    return backend
