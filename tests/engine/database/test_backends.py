"""What differs from database to database is asked of one class each, chosen once per connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

import durable_objects
from durable_objects.database.backends import BACKENDS, backend_of

ENGINE = Path(durable_objects.__file__).parent


def test_only_the_choice_of_a_backend_asks_which_database_it_is() -> None:
    """No other module of the engine mentions a connection's vendor: another database is one class more."""
    asking = {str(path.relative_to(ENGINE)) for path in ENGINE.rglob("*.py") if "vendor" in path.read_text("utf-8")}
    assert asking == {"database/backends/__init__.py"}


def test_a_connection_keeps_its_backend() -> None:
    """It is chosen once; another connection to the same database has its own."""
    conn = connection.copy()
    assert backend_of(conn) is backend_of(conn)
    assert type(backend_of(conn)) is BACKENDS[conn.vendor]
    assert backend_of(connection.copy()) is not backend_of(conn)


def test_a_database_without_a_backend_is_refused() -> None:
    """Where no check ran before, with the name of the database."""
    conn = connection.copy()
    conn.vendor, conn.display_name = "mysql", "MySQL"
    with pytest.raises(ImproperlyConfigured, match="MySQL"):
        backend_of(conn)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has journal modes: tests of the doctor set one")
@pytest.mark.django_db
def test_a_database_without_journal_modes_has_none_to_set() -> None:
    """Whoever asks gets an answer from each database, also where there is nothing to do."""
    backend = backend_of(connection)
    assert (backend.blocking_journal(), backend.set_journal()) == (None, None)
