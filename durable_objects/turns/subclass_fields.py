"""The fields of a subclass with a table of its own: read under the lock, made with the object, stored by ``save()``."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError, models

from durable_objects import kinds
from durable_objects.conf import engine
from durable_objects.errors import InvalidInput
from durable_objects.tables import Object

_PENDING = "_durable_objects_pending"
#: Where an instance keeps what was stored when it was read last, to tell what was set since.
_STORED = "_durable_objects_stored"


@dataclasses.dataclass(slots=True, eq=False)
class Pending:
    """What ``save()`` was given, by column."""

    values: dict[str, Any]
    #: The related instances among it, which the instance keeps.
    related: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Whether this turn made the row with it.
    made: bool = False


def columns(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    """Return the class's own columns and those of bases with a table, generated ones as well."""
    return [field for field in model._meta.concrete_fields if field.model is not Object and not field.primary_key]


@functools.cache
def own_fields(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    """Return those of ``columns`` that the database does not generate: what ``save()`` stores."""
    return [field for field in columns(model) if not field.generated]


def given(handle: Object, names: Iterable[str] | None) -> dict[str, Any]:
    """Return the instance's values of own fields, or of those named. Raises ``InvalidInput`` for a name of none."""
    fields = own_fields(type(handle))
    if names is not None:
        names = set(names)
        unknown = names - {field.name for field in fields} - {field.attname for field in fields}
        if unknown:
            raise InvalidInput(f"{handle._meta.label} has no field of its own named {', '.join(sorted(unknown))}")
        fields = [field for field in fields if names & {field.name, field.attname}]
    return {field.attname: getattr(handle, field.attname) for field in fields}


@contextmanager
def pending(handle: Object, given: dict[str, Any]) -> Iterator[Pending]:
    """Let a turn of this instance that begins in the block make the object's row, if missing, with these values."""
    cached = handle._state.fields_cache
    relations = [each for each in own_fields(type(handle)) if each.is_relation and each.attname in given]
    mine = Pending(given, {each.name: cached[each.name] for each in relations if each.name in cached})
    around = vars(handle).get(_PENDING)
    vars(handle)[_PENDING] = mine
    try:
        yield mine
    finally:
        vars(handle)[_PENDING] = around


def read(handle: Object, object_id: int) -> None:
    """Take over what is stored; the row is made if there is none."""
    _link(handle, object_id)
    pending: Pending | None = vars(handle).get(_PENDING)
    values = _stored(handle, object_id)
    if values is None:
        _make(handle, object_id, pending)
        values = _stored(handle, object_id) or {}
    elif pending is not None:
        pending.made = False
    _take_over(handle, values)


def follow(handle: Object, other: Object, *, keep_unsaved: bool) -> None:
    """Take over what another instance has just read, or saved; with ``keep_unsaved`` not where this one was changed."""
    values, before = vars(other).get(_STORED, {}), vars(handle).get(_STORED, {})
    if keep_unsaved:
        mine = vars(handle)
        values = {name: value for name, value in values.items() if mine.get(name) == before.get(name)}
    _take_over(handle, values)


def forget_related(handle: Object) -> None:
    """Drop cached related rows, which may have changed since: they are queried again."""
    handle._state.fields_cache.clear()
    vars(handle).pop("_prefetched_objects_cache", None)


def store(handle: Object, pending: Pending, *, only_new: bool = False) -> None:
    """Write what ``save()`` was given. Needs the lock, under which the row was read or made.

    With ``only_new`` the row must have been made with it: ``IntegrityError``, as of any other row of this key.
    """
    given = pending.values
    if not given:
        return
    if only_new and not pending.made:
        raise IntegrityError(
            f"{handle._meta.label} {handle.name!r} has a row already: create() makes a new one. "
            f"To change it, get it by {type(handle).__name__}.objects.get_by_name({handle.name!r}), and save()."
        )
    vars(handle).update(given)
    values = {}
    for field in own_fields(type(handle)):
        if field.attname in given and not (given[field.attname] is None and getattr(field, "auto_now_add", False)):
            values[field.attname] = field.pre_save(handle, add=False)
    if values:
        type(handle)._base_manager.using(engine.DATABASE).filter(pk=handle.pk).update(**values)
    _take_over(handle, _stored(handle, handle.pk) or {})
    handle._state.fields_cache.update(pending.related)


def _stored(handle: Object, object_id: int) -> dict[str, Any] | None:
    rows = type(handle)._base_manager.using(engine.DATABASE).filter(pk=object_id)
    values: dict[str, Any] | None = rows.values(*[each.attname for each in columns(type(handle))]).first()
    return values


def _take_over(handle: Object, values: dict[str, Any]) -> None:
    """Set these values, and drop related instances of others."""
    mine = vars(handle)
    for each in own_fields(type(handle)):
        if each.is_relation and each.attname in values and mine.get(each.attname) != values[each.attname]:
            handle._state.fields_cache.pop(each.name, None)
    mine[_STORED] = {**mine.get(_STORED, {}), **values}
    mine.update(copy.deepcopy(values))  # one that is changed in place differs from what is stored


def _link(handle: Object, object_id: int) -> None:
    """Set the key in each of the class's tables to the object's."""
    for field in handle._meta.concrete_fields:
        if field.primary_key:
            setattr(handle, field.attname, object_id)


def _make(handle: Object, object_id: int, pending: Pending | None) -> None:
    """Insert a row into each of the class's tables, with what is pending or the fields' defaults."""
    model = type(handle)
    kind_id = kinds.pk_of(model._meta.app_label, str(model._meta.model_name))
    fresh = model(id=object_id, name=handle.name, kind_id=kind_id)
    _link(fresh, object_id)
    vars(fresh).update(pending.values if pending else {})
    missing = []
    for field in own_fields(type(handle)):
        setattr(fresh, field.attname, field.pre_save(fresh, add=True))
        if getattr(fresh, field.attname) is None and not field.null:
            missing.append(field.name)
    if missing:
        values = ", ".join(f"{name}=…" for name in missing)
        raise InvalidInput(
            f"{model._meta.label} {handle.name!r} has no row yet, and it cannot be made without {', '.join(missing)}. "
            f"Make it by {model.__name__}.objects.create(name={handle.name!r}, {values}), or give the field a default."
        )
    for base in reversed(model._meta.get_base_chain(Object)):
        if not base._meta.proxy and base not in {Object, model._meta.concrete_model}:
            fresh._save_table(raw=True, cls=base, force_insert=True, using=engine.DATABASE)  # type: ignore[attr-defined]  # Django's
    models.Model.save_base(fresh, raw=True, force_insert=True, using=engine.DATABASE)  # into the last table
    if pending is not None:
        pending.made = True
