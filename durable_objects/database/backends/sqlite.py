"""SQLite, by Python's own driver."""

from __future__ import annotations

from datetime import UTC, datetime

from durable_objects.database.backends.base import Backend


class SQLite(Backend):
    """A file that this process reads and writes itself, with one write lock for all of it."""

    def write_moment(self, moment: datetime) -> str:
        """Return text in UTC."""
        return str(moment.replace(tzinfo=None))

    def select_moment(self, expression: str) -> str:
        """Return the expression: what is stored is text in UTC."""
        return expression

    def read_column(self, value: datetime) -> datetime:
        """Return it in UTC: Django has put its own zone's name on what is UTC."""
        return value.replace(tzinfo=UTC)
