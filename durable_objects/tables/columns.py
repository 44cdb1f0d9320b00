"""What the columns and managers of several tables share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.conf import engine
from durable_objects.database.backends import backend_of, is_supported

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
    _TextField = models.TextField[str, str]
else:
    _CharField, _TextField = models.CharField, models.TextField


Row = TypeVar("Row", bound=models.Model)


class _ByteOrder:
    """Text that compares by code point on every database, as DO-66 asks (SQLite's own order is that already)."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]  # a mixin of Field
        return parameters | {"collation": backend_of(connection).collation if is_supported(connection) else None}


class ByteOrderCharField(_ByteOrder, _CharField):
    """A ``CharField`` in code-point order."""


class ByteOrderTextField(_ByteOrder, _TextField):
    """A ``TextField`` in code-point order."""


class RowManager(models.Manager[Row]):
    """Rows of the engine's database, whatever a router says, unless asked for those of another."""

    def get_queryset(self) -> models.QuerySet[Row]:
        return super().get_queryset().using(self._db or engine.DATABASE)
