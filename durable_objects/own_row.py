"""The fields of a subclass with a table of its own: read under the lock, made with the object, stored by ``save()``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import models

from durable_objects.conf import engine
from durable_objects.errors import InvalidInput
from durable_objects.rows import Object

if TYPE_CHECKING:
    from durable_objects.models import DurableObject

_PENDING = "_durable_objects_pending"


def columns(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    """The class's own columns and those of bases with a table, the database's own (generated) ones as well."""
    return [field for field in model._meta.concrete_fields if field.model is not Object and not field.primary_key]


def given(handle: DurableObject, names: Iterable[str] | None) -> dict[str, Any]:
    """What the instance has in its own fields, or in those named. Raises ``InvalidInput`` for a name of none."""
    fields = handle._own_fields()
    if names is not None:
        names = set(names)
        unknown = names - {field.name for field in fields} - {field.attname for field in fields}
        if unknown:
            raise InvalidInput(f"{handle._meta.label} has no field of its own named {', '.join(sorted(unknown))}")
        fields = [field for field in fields if names & {field.name, field.attname}]
    return {field.attname: getattr(handle, field.attname) for field in fields}


@contextmanager
def pending(handle: DurableObject, given: dict[str, Any]) -> Iterator[None]:
    """A turn of this instance that begins in the block makes the object's row, if there is none, with these values."""
    vars(handle)[_PENDING] = given
    try:
        yield
    finally:
        vars(handle).pop(_PENDING, None)


def read(handle: DurableObject, object_id: int) -> None:
    """Take over what is stored; the row is made if there is none."""
    _link(handle, object_id)
    rows = type(handle)._base_manager.using(engine.DATABASE).filter(pk=object_id)
    names = [field.attname for field in columns(type(handle))]
    values = rows.values(*names).first()
    if values is None:
        _make(handle, object_id)
        values = rows.values(*names).first()
    vars(handle).update(values or {})


def store(handle: DurableObject, given: dict[str, Any]) -> None:
    """Write what ``save()`` was given. Needs the lock, under which the row was read or made."""
    if not given:
        return
    vars(handle).update(given)
    values = {}
    for field in handle._own_fields():
        if field.attname in given and not (given[field.attname] is None and getattr(field, "auto_now_add", False)):
            values[field.attname] = field.pre_save(handle, add=False)
    if values:
        type(handle)._base_manager.using(engine.DATABASE).filter(pk=handle.pk).update(**values)
    read(handle, handle.pk)


def _link(handle: DurableObject, object_id: int) -> None:
    """The key in each of the class's tables is the object's."""
    for field in handle._meta.concrete_fields:
        if field.primary_key:
            setattr(handle, field.attname, object_id)


def _make(handle: DurableObject, object_id: int) -> None:
    """A row in each of the class's tables, with what is pending or the fields' defaults."""
    model = type(handle)
    fresh = model(id=object_id, name=handle.name, kind_id=handle.kind_pk())
    _link(fresh, object_id)
    vars(fresh).update(vars(handle).get(_PENDING, {}))
    missing = []
    for field in handle._own_fields():
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
        if not base._meta.proxy and base is not Object:
            fresh._save_table(raw=True, cls=base, force_insert=True, using=engine.DATABASE)  # type: ignore[attr-defined]  # Django's
    models.Model.save_base(fresh, raw=True, force_insert=True, using=engine.DATABASE)
