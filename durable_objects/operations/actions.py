"""What an operator does to an alarm or an object: fire now, move, cancel, revive, delete. Each is a turn of the object.

Cancel and delete need no class: they also work for objects whose class this code does not have any more, and for one
whose name was written past the engine and is none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import IntegrityError

from durable_objects.alarms.slot import ARMED, DEAD, IDLE, Slot
from durable_objects.conf import engine
from durable_objects.errors import ClassUnknown, DurableObjectError
from durable_objects.models import DurableObject
from durable_objects.operations.parked import Parked
from durable_objects.tables import Object
from durable_objects.turns import calls
from durable_objects.turns import turn as turn_module
from durable_objects.turns.handle import Handle

Result = TypeVar("Result")


def fire_now(obj: Object) -> None:
    """Let the alarm run now: one that is set keeps its retries and the time it was asked for; else it is set to now.

    Raises ``DurableObjectError`` for a dead alarm, which is to be revived instead.
    """

    def fire(open_turn: turn_module.Turn) -> None:
        slot = open_turn.slot
        _refuse_dead(slot, obj)
        if slot.state == ARMED:
            slot.hasten(open_turn.now)
        else:
            handle_of(obj).storage.set_alarm(open_turn.now)

    _in_turn(obj, fire)


def move(obj: Object, when: datetime | timedelta) -> None:
    """Set the alarm to another time, as ``set_alarm`` does. Raises ``InvalidAlarmTime``, ``AlarmHandlerMissing``."""
    handle_of(obj).storage.set_alarm(when)


def cancel(obj: Object) -> bool:
    """Take the alarm away, armed or dead; whether there was one. Needs no class."""

    def delete_alarm(open_turn: turn_module.Turn) -> bool:
        was_set = open_turn.slot.state != IDLE
        open_turn.request_alarm(None)
        return was_set

    handle = _handle_if_known(obj)
    return _in_turn_of(Parked(obj), delete_alarm, obj.pk) if handle is None else _in_turn(handle, delete_alarm)


def delete(obj: Object) -> bool:
    """Delete the object with its storage, alarm and history; whether it was there. Needs no class.

    Raises ``DurableObjectError`` where a table that this code does not know still has a row of it.
    """
    handle = _handle_if_known(obj)
    if handle is not None:
        return handle.delete()[0] > 0

    def discard(open_turn: turn_module.Turn) -> bool:
        with open_turn.deleting():
            deleted, _ = Object.objects.using(engine.DATABASE).filter(pk=open_turn.object_id).delete()
        return deleted > 0

    parked = Parked(obj)
    try:
        return _in_turn_of(parked, discard, obj.pk)
    except IntegrityError as error:
        said = " ".join(str(error).split())
        raise DurableObjectError(
            f"{parked.key} has a row in a table of its class or of an app, which this code does not have: deploy that "
            f"class once more to delete it, or drop the table. The database says: {said}"
        ) from error


def revive(obj: Object) -> None:
    """Let a dead alarm run again, now, with all its retries. Raises ``DurableObjectError`` when it is not dead."""

    def arm_again(open_turn: turn_module.Turn) -> None:
        slot = open_turn.slot
        if slot.state != DEAD:
            raise DurableObjectError(f"{obj.name!r} has no dead alarm (it is {slot.state}): nothing was revived")
        slot.revive(open_turn.now)

    _in_turn(obj, arm_again)


def _refuse_dead(slot: Slot, obj: Object) -> None:
    if slot.state == DEAD:
        raise DurableObjectError(f"the alarm of {obj.name!r} is dead: revive it instead")


def _handle_if_known(obj: Object) -> DurableObject | None:
    return obj if isinstance(obj, DurableObject) and not obj.is_base() else obj.handle()


def handle_of(obj: Object) -> DurableObject:
    """The object by its class. Raises ``ClassUnknown`` where this code has none, or no object can have its name."""
    handle = _handle_if_known(obj)
    if handle is None:
        raise ClassUnknown(
            f"object {obj.pk} ({obj.name!r}) is of a class that this code does not have, or has a name that no object "
            "can have. Its alarm can be cancelled, and the object deleted; anything else needs the class and a name."
        )
    return handle


def _in_turn(obj: Object, change: Callable[[turn_module.Turn], Result]) -> Result:
    return _in_turn_of(handle_of(obj), change)


def _in_turn_of(handle: Handle, change: Callable[[turn_module.Turn], Result], object_id: int | None = None) -> Result:
    def call() -> Result:
        with turn_module.enter(handle) as open_turn:
            return change(open_turn)

    return calls.run(handle, call, object_id)
