"""Copy one object, take a snapshot of one, restore it: entries, own fields, alarm and schedules, all or nothing.

What arrives is paused, so that nothing runs twice before somebody has looked at it. Rows that an app keeps in tables of
its own do not come along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.apps import apps
from django.db import transaction

from durable_objects.conf import engine
from durable_objects.errors import ClassUnknown, DurableObjectError, InvalidInput
from durable_objects.models import as_handle
from durable_objects.operations import dump, pauses
from durable_objects.operations.dump import Imported
from durable_objects.operations.parked import Parked
from durable_objects.tables import Object
from durable_objects.turns import calls
from durable_objects.turns.handle import shown


def snapshot(row: Object) -> Iterator[str]:
    """Yield the lines of this object as it is at one moment, in the format of ``dump``."""
    return dump.dump(Object.objects.using(engine.DATABASE).filter(pk=row.pk))


def restore(
    lines: Iterable[str], *, name: str | None = None, armed: bool = False, replace: bool = False, by: str = ""
) -> Imported:
    """Store the one object of these lines, under another name if one is given, and pause it unless ``armed``.

    An alarm that was armed is set, with all its retries, and a time that is past means now; a dead one is dead again.
    ``initialize()`` does not run. Raises ``DurableObjectError`` for an object that is there already, unless
    ``replace``, which overwrites what it has; ``ClassUnknown``; and ``InvalidInput`` for lines of no object, or of
    several. Nothing is changed then.
    """
    return _store(lines, "restored from a snapshot", name=name, armed=armed, replace=replace, by=by)


def copy(row: Object, name: str, *, armed: bool = False, replace: bool = False, by: str = "") -> Imported:
    """Store the object again under this name, as ``restore`` does, in one transaction and with both objects locked.

    An alarm that is running counts as set. Raises ``ClassUnknown`` for a class that this code does not have.
    """
    parked = Parked(row)
    handle = as_handle(row)
    if handle is None:
        raise ClassUnknown(f"{shown(parked.key)} cannot be copied: this code has no such class")
    if type(handle).by_name(name) == handle:
        raise InvalidInput(f"{shown(handle.key)} cannot be copied onto itself: give another name")
    if calls.current(parked) is not None:
        raise DurableObjectError(
            f"{shown(handle.key)} is copied inside its own turn: what that has written is not stored"
        )

    def both() -> Imported:
        lines = snapshot(row)
        return _store(lines, f"copied from {row.name}", name=name, armed=armed, replace=replace, by=by)

    return calls.run(parked, both, row.pk)


def _store(lines: Iterable[str], reason: str, *, name: str | None, armed: bool, replace: bool, by: str) -> Imported:
    with transaction.atomic(using=engine.DATABASE):
        stored = [*dump.load(lines, arm=True, replace=replace, name=name)]
        if len(stored) != 1:
            raise InvalidInput(
                f"one object is restored at a time, and these are {len(stored)}: `objects import` takes all"
            )
        (found,) = stored
        if found.outcome == "refused":
            raise DurableObjectError(f"{shown((found.kind, found.name))} is not restored: {found.reason}")
        if found.outcome == "exists":
            raise DurableObjectError(
                f"{shown((found.kind, found.name))} is there already, and nothing was changed: --replace overwrites "
                "its entries, own fields, alarm and schedules"
            )
        if not armed:
            handle = apps.get_model(found.kind).by_name(found.name)
            pauses.pause(handle, reason=reason[:500], by=by)
    return found
