"""What an operator does to an alarm: fire now, move, cancel, revive. Each is a turn of the object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from durable_objects import alarms, turn
from durable_objects.errors import ClassUnknown, DurableObjectError
from durable_objects.models import DurableObject
from durable_objects.rows import Object
from durable_objects.slot import ARMED, DEAD, IDLE, Slot

Result = TypeVar("Result")


def fire_now(obj: Object) -> None:
    """Let the alarm run now: one that is set keeps its retries and the time it was asked for; else it is set to now.

    Raises ``DurableObjectError`` for a dead alarm, which is to be revived instead.
    """

    def fire(open_turn: turn.Turn) -> None:
        slot = open_turn.slot
        _refuse_dead(slot, obj)
        if slot.state == ARMED:
            alarms.hasten(slot, open_turn.now)
        else:
            _handle(obj).storage.set_alarm(open_turn.now)

    _in_turn(obj, fire)


def move(obj: Object, when: datetime | timedelta) -> None:
    """Set the alarm to another time, as ``set_alarm`` does. Raises ``InvalidAlarmTime``, ``AlarmHandlerMissing``."""
    _handle(obj).storage.set_alarm(when)


def cancel(obj: Object) -> bool:
    """Take the alarm away, armed or dead; whether there was one."""

    def delete_alarm(open_turn: turn.Turn) -> bool:
        was_set = open_turn.slot.state != IDLE
        open_turn.wish(None)
        return was_set

    return _in_turn(obj, delete_alarm)


def revive(obj: Object) -> None:
    """Let a dead alarm run again, now, with all its retries. Raises ``DurableObjectError`` when it is not dead."""

    def arm_again(open_turn: turn.Turn) -> None:
        slot = open_turn.slot
        if slot.state != DEAD:
            raise DurableObjectError(f"{obj.name!r} has no dead alarm (it is {slot.state}): nothing was revived")
        alarms.revive(slot, open_turn.now)

    _in_turn(obj, arm_again)


def _refuse_dead(slot: Slot, obj: Object) -> None:
    if slot.state == DEAD:
        raise DurableObjectError(f"the alarm of {obj.name!r} is dead: revive it instead")


def _handle(obj: Object) -> DurableObject:
    handle = obj if isinstance(obj, DurableObject) and not obj.is_base() else obj.handle()
    if handle is None:
        raise ClassUnknown(f"object {obj.pk} ({obj.name!r}) is of a class that this code does not have")
    return handle


def _in_turn(obj: Object, change: Callable[[turn.Turn], Result]) -> Result:
    handle = _handle(obj)

    def call() -> Result:
        with turn.enter(handle) as open_turn:
            return change(open_turn)

    return handle.run_exclusive(call)
