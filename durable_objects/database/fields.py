"""The column of a moment: UTC in the database, whatever zone Django's settings and the session have."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import OrderBy

from durable_objects.database import clock
from durable_objects.database.backends import backend_of


def microseconds(span: timedelta | None) -> int | None:
    """Return a span as it is stored."""
    return None if span is None else span // timedelta(microseconds=1)


def by(name: str) -> OrderBy:
    """Return the order by this column of moments, with a "-" before its name the descending one, for queries that
    select it as well (``values_list``). Django's own goes by what is selected then, which is text: no index has that.
    """
    column = models.ExpressionWrapper(models.F(name.removeprefix("-")), models.DateTimeField())
    return column.desc() if name.startswith("-") else column.asc()


class _Moment:
    """``DateTimeField`` goes by USE_TZ, TIME_ZONE and the session's zone and DateStyle; this one by none of them."""

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """Return what makes it a ``DateTimeField`` to migrations: the column is the same."""
        name, _, args, kwargs = super().deconstruct()  # type: ignore[misc]  # a mixin of Field
        return name, "django.db.models.DateTimeField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Return the parameter for a moment; a naive one is in the current zone, as in Django."""
        moment = value if prepared else self.get_prep_value(value)  # type: ignore[attr-defined]  # likewise
        return clock.to_database(connection, moment)

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Select it as text, but not in a subquery, where the database compares it and nobody reads it."""
        return (sql if compiler.query.subquery else clock.selected(compiler.connection, sql)), params

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> datetime | None:
        """Return the moment aware and in UTC."""
        if isinstance(value, datetime):
            value = backend_of(connection).read_column(value)
        return None if value is None else clock.from_database(value)


if TYPE_CHECKING:
    MomentField = models.DateTimeField
    SpanField = models.DurationField
else:

    class SpanField(models.BigIntegerField):
        """A span of time, as a whole number of microseconds on every database."""

        def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
            """Return what makes it a ``BigIntegerField`` to migrations: the column is the same."""
            name, _, args, kwargs = super().deconstruct()
            return name, "django.db.models.BigIntegerField", args, kwargs

        def get_prep_value(self, value: Any) -> int | None:
            """Return the microseconds."""
            return super().get_prep_value(microseconds(value))

        def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> timedelta | None:
            """Return the span."""
            return None if value is None else timedelta(microseconds=value)

    class MomentField(_Moment, models.DateTimeField):
        """A moment: aware, in UTC, with and without USE_TZ."""
