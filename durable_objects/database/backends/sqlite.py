"""SQLite, by Python's own driver."""

from __future__ import annotations

from datetime import UTC, datetime

from durable_objects.database.backends.base import Backend


class SQLite(Backend):
    """A file that this process reads and writes itself, with one write lock for all of it."""

    def write_moment(self, moment: datetime) -> str:
        return str(moment.replace(tzinfo=None))

    def select_moment(self, expression: str) -> str:
        return expression

    def read_column(self, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC)  # Django has put its zone's name on what is UTC
