"""What a database holds once it is migrated, to be restored after each test that committed something.

Django flushes instead, and then creates content types and permissions anew, which takes most of the time of a test.
"""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.migrations.recorder import MigrationRecorder

_MIGRATIONS = MigrationRecorder.Migration._meta.db_table


class MigratedDatabase:
    """The rows of every table, and where every sequence is, as they are when this is made.

    Tables are those of the models that are installed by then, and that of migrations; a test that makes one of its own
    removes it itself.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        conn = connections[alias]
        self._tables = conn.introspection.django_table_names(only_existing=True, include_views=False)
        self._tables += {_MIGRATIONS} & {*conn.introspection.table_names()}
        self._has_sequences = conn.vendor == "postgresql"
        if not self._has_sequences:
            self._tables.append("sqlite_sequence")  # the last one: to insert rows counts
        with conn.cursor() as cursor:
            self._rows = {table: _rows(cursor, table) for table in self._tables}
            self._sequences = _sequences(cursor) if self._has_sequences else set()

    def restore(self) -> None:
        """Remove, change back and add what differs, in one transaction. Waits for transactions that still write.

        What this process remembers of content types is forgotten.
        """
        with transaction.atomic(self._alias), connections[self._alias].cursor() as cursor:
            if self._has_sequences:  # SQLite's BEGIN IMMEDIATE has locked all
                cursor.execute(f"LOCK TABLE {', '.join(map(_quoted, self._tables))} IN SHARE ROW EXCLUSIVE MODE")
            for table, rows in self._rows.items():
                _restore(cursor, table, rows)
            if _MIGRATIONS not in self._rows:  # some tests put migrations on record in a database made from the models
                cursor.execute(f"DROP TABLE IF EXISTS {_MIGRATIONS}")
            if self._has_sequences:
                for name, value, is_called in self._sequences - _sequences(cursor):
                    cursor.execute("SELECT setval(%s::regclass, %s, %s)", [name, value, is_called])
        ContentType.objects.clear_cache()


def _quoted(name: str) -> str:
    return f'"{name}"'


def _rows(cursor: CursorWrapper, table: str) -> set[tuple[Any, ...]]:
    cursor.execute(f"SELECT * FROM {_quoted(table)}")
    return set(cursor.fetchall())


def _sequences(cursor: CursorWrapper) -> set[tuple[str, int, bool]]:
    cursor.execute(
        "SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value), last_value IS NOT NULL "
        "FROM pg_sequences"
    )
    return set(cursor.fetchall())


def _restore(cursor: CursorWrapper, table: str, rows: set[tuple[Any, ...]]) -> None:
    if rows and _rows(cursor, table) == rows:
        return
    cursor.execute(f"DELETE FROM {_quoted(table)}")
    if rows:
        values = ", ".join(["%s"] * len(next(iter(rows))))
        cursor.executemany(f"INSERT INTO {_quoted(table)} VALUES ({values})", list(rows))
