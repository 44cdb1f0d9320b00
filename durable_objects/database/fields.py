"""The column of a moment: it speaks UTC to the database, whatever Django's settings and the session say of zones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.database import clock


class _Moment:
    """``DateTimeField`` goes by USE_TZ, TIME_ZONE and the session's zone and DateStyle; this one by none of them."""

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """To migrations a ``DateTimeField``: the column is the same."""
        name, _, args, kwargs = super().deconstruct()  # type: ignore[misc]  # a mixin of Field
        return name, "django.db.models.DateTimeField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """A naive value is taken for the current zone's, as Django does."""
        moment = value if prepared else self.get_prep_value(value)  # type: ignore[attr-defined]  # likewise
        return clock.to_database(connection, moment)

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Not in a subquery, where the database compares it and nobody reads it."""
        return (sql if compiler.query.subquery else clock.selected(compiler.connection, sql)), params

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> datetime | None:
        """Aware and in UTC."""
        if isinstance(value, datetime) and connection.vendor == "sqlite":
            return value.replace(tzinfo=UTC)  # Django has put its zone's name on what is UTC
        if isinstance(value, datetime) and value.tzinfo is None:  # not selected as such, USE_TZ = False
            value = value.replace(tzinfo=ZoneInfo(connection.timezone_name))
        return None if value is None else clock.from_database(value)


if TYPE_CHECKING:
    MomentField = models.DateTimeField
else:

    class MomentField(_Moment, models.DateTimeField):
        """A moment: aware, in UTC, with and without USE_TZ."""
