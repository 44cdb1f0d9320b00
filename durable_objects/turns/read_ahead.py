"""Rows fetched in the same round trip as the lock, for classes with ``read_ahead``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.conf import engine
from durable_objects.database.round_trip import Row, Statement
from durable_objects.entries import sql as entry_sql
from durable_objects.turns.handle import Handle

Model = TypeVar("Model", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Keys of the object's storage, and models with a one-to-one to it."""

    keys: tuple[str, ...] = ()
    models: tuple[type[models.Model], ...] = ()

    def statements(self, object_sql: str, params: Sequence[Any]) -> list[Statement]:
        """Return one for all keys, one for each model; the object's key is ``object_sql``."""
        texts = [entry_sql.reading(object_sql, params, self.keys)] if self.keys else []
        return [*texts, *((_selecting(model) + object_sql, params) for model in self.models)]

    def read(self, results: Sequence[Sequence[Row]]) -> Read:
        """Return what these statements returned, those of the models typed."""
        texts: dict[str, str] = dict(results[0]) if self.keys else {}
        rows = results[len(results) - len(self.models) :]
        return Read(
            {key: texts.get(key) for key in self.keys},
            {model: found[0] if found else None for model, found in zip(self.models, rows, strict=True)},
        )


@dataclass(frozen=True, slots=True)
class Read:
    """What was read; None for what is not there."""

    texts: dict[str, str | None] = field(default_factory=dict)
    rows: dict[type[models.Model], Row | None] = field(default_factory=dict)


@functools.cache
def wanted(read_ahead: tuple[str | type[models.Model], ...], *, only_keys: bool) -> Wanted:
    """Return what a class's ``read_ahead`` names; ``only_keys`` leaves out the models."""
    keys = tuple(name for name in read_ahead if isinstance(name, str))
    return Wanted(keys, () if only_keys else tuple(model for model in read_ahead if not isinstance(model, str)))


def ask(model: type[Model], handle: Handle, object_id: int | None) -> Model | None:
    """Return the object's row of this model, by a query; without its key, by kind and name."""
    link = model._meta.pk.name
    mine = {link: object_id} if object_id else {f"{link}__kind": handle.kind_pk(), f"{link}__name": handle.name}
    return model._base_manager.using(engine.DATABASE).filter(**mine).first()


def instance(conn: BaseDatabaseWrapper, model: type[models.Model], row: Row) -> models.Model:
    """Return the model's instance for a row that was read."""
    values = list(row)
    for place, column, converters in _converted(conn, model):
        for convert in converters:
            values[place] = convert(values[place], column, conn)
    return model.from_db(conn.alias, _names(model), values)


def _converted(conn: BaseDatabaseWrapper, model: type[models.Model]) -> list[tuple[int, Any, list[Any]]]:
    """Return place, column and converters of what is not taken as the driver gives it. Once per connection."""
    known: dict[type[models.Model], list[tuple[int, Any, list[Any]]]]
    known = conn.__dict__.setdefault("durable_objects_converted", {})
    if model not in known:
        columns = [each.cached_col for each in model._meta.concrete_fields]
        found = [[*conn.ops.get_db_converters(each), *each.get_db_converters(conn)] for each in columns]
        known[model] = [(place, columns[place], each) for place, each in enumerate(found) if each]
    return known[model]


@functools.cache
def _selecting(model: type[models.Model]) -> str:
    columns = ", ".join(f'"{each.column}"' for each in model._meta.concrete_fields)
    return f'SELECT {columns} FROM "{model._meta.db_table}" WHERE "{model._meta.pk.column}" = '


@functools.cache
def _names(model: type[models.Model]) -> list[str]:
    return [each.attname for each in model._meta.concrete_fields]
