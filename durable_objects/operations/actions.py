"""What an operator does to an alarm or an object: fire now, move, cancel, revive, delete. Each is a turn of the object.

Cancel and delete need no class: they also work for an object whose class this code does not have any more, and for a
row that the engine did not write, with a name that no object can have.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import IntegrityError

from durable_objects import events
from durable_objects.alarms import schedules
from durable_objects.alarms.predicates import is_armed, is_dead, is_idle
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.errors import ClassUnknown, DurableObjectError
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations.parked import Parked
from durable_objects.tables import Object
from durable_objects.turns import calls
from durable_objects.turns.handle import Handle
from durable_objects.turns.turn import Turn

Result = TypeVar("Result")


def fire_now(obj: Object) -> None:
    """Make the alarm due now. One that is armed keeps its retries and its scheduled time; otherwise it is set to now.

    Raises ``DurableObjectError`` for a dead alarm, which must be revived instead.
    """

    def fire(turn: Turn) -> None:
        slot = turn.slot
        _refuse_dead(slot, obj)
        if is_armed(slot):
            slot.hasten(turn.now)
        else:
            handle_of(obj).storage.set_alarm(turn.now)

    _in_turn(obj, fire)


def move(obj: Object, when: datetime | timedelta) -> None:
    """Set the alarm to another time, as ``set_alarm`` does. Raises ``InvalidAlarmTime``, ``AlarmHandlerMissing``."""
    handle_of(obj).storage.set_alarm(when)


def cancel(obj: Object) -> bool:
    """Delete the alarm, armed or dead; return whether there was one. Needs no class."""

    def delete_alarm(turn: Turn) -> bool:
        was_set = not is_idle(turn.slot)
        turn.request_alarm(None)
        return was_set

    handle = _handle_if_known(obj)
    return _in_turn_of(Parked(obj), delete_alarm, obj.pk) if handle is None else _in_turn(handle, delete_alarm)


def delete(obj: Object) -> bool:
    """Delete the object with its storage, alarm and history; return whether it was there. Needs no class.

    Raises ``DurableObjectError`` while a table that this code does not know has a row of it.
    """
    handle = _handle_if_known(obj)
    if handle is not None:
        return handle.delete()[0] > 0

    def discard(turn: Turn) -> bool:
        with turn.deleting():
            deleted, _ = Object.objects.using(engine.DATABASE).filter(pk=turn.object_id).delete()
        if deleted:
            events.object_deleted(turn.conn, parked, None)
        return deleted > 0

    parked = Parked(obj)
    try:
        return _in_turn_of(parked, discard, obj.pk)
    except IntegrityError as error:
        raise DurableObjectError(
            f"{parked.key} has a row in a table of a class or an app that this code does not have: deploy that class "
            f"again to delete the object, or drop the table. The database says: {' '.join(str(error).split())}"
        ) from error


def revive(obj: Object) -> None:
    """Arm a dead alarm again, due now and with all its retries. Raises ``DurableObjectError`` when it is not dead."""

    def arm_again(turn: Turn) -> None:
        slot = turn.slot
        if not is_dead(slot):
            raise DurableObjectError(f"the alarm of {obj.name!r} is not dead but {slot.state}: nothing was revived")
        slot.revive(turn.now)
        events.alarm_revived(turn.conn, turn.handle, slot.scheduled_at)

    _in_turn(obj, arm_again)


def cancel_schedule(obj: Object, name: str) -> bool:
    """Cancel the schedule of this name; return whether there was one. Needs no class."""
    return _change_schedule(obj, name, lambda call, now: call.cancelled())


def run_schedule_now(obj: Object, name: str) -> bool:
    """Make the schedule due now: one run more, or at once what is retried or runs but once. Return whether there is
    one that is armed. Raises ``ClassUnknown``.
    """
    handle_of(obj)
    return _change_schedule(obj, name, lambda call, now: call.hastened(now), schedules.ARMED)


def revive_schedule(obj: Object, name: str) -> bool:
    """Run the schedule's dead occurrence again, due now and with all its retries; return whether it had one.

    Raises ``ClassUnknown``.
    """
    handle_of(obj)

    def revived(call: ScheduledCall, now: datetime) -> ScheduledCall:
        return call if call.died_at is None else call.revived(now)

    def report(turn: Turn, call: ScheduledCall) -> None:
        events.alarm_revived(turn.conn, turn.handle, call.died_at, name)

    return _change_schedule(obj, name, revived, report=report)


def _change_schedule(
    obj: Object,
    name: str,
    change: Callable[[ScheduledCall, datetime], ScheduledCall | None],
    state: str = "",
    report: Callable[[Turn, ScheduledCall], None] = lambda turn, call: None,
) -> bool:
    def apply(turn: Turn) -> bool:
        call = turn.schedules().get(name)
        if call is None or call.state == schedules.CANCELLED or state not in {"", call.state}:
            return False
        changed = change(call, turn.now)
        if changed != call:
            turn.change_schedule(name, changed)
            report(turn, call)
        return changed != call

    handle = _handle_if_known(obj)
    return _in_turn_of(Parked(obj), apply, obj.pk) if handle is None else _in_turn(handle, apply)


def _refuse_dead(slot: Slot, obj: Object) -> None:
    if is_dead(slot):
        raise DurableObjectError(f"the alarm of {obj.name!r} is dead: revive it instead")


def _handle_if_known(obj: Object) -> DurableObject | None:
    return obj if isinstance(obj, DurableObject) and not obj.is_base() else as_handle(obj)


def handle_of(obj: Object) -> DurableObject:
    """Return the object's handle. Raises ``ClassUnknown`` if there is no class, or no object can have the name."""
    handle = _handle_if_known(obj)
    if handle is None:
        raise ClassUnknown(
            f"object {obj.pk} ({obj.name!r}) is of a class that this code does not have, or has a name that no object "
            "can have. Its alarm can be cancelled, and the object deleted; anything else needs the class and a name."
        )
    return handle


def _in_turn(obj: Object, change: Callable[[Turn], Result]) -> Result:
    return _in_turn_of(handle_of(obj), change)


def _in_turn_of(handle: Handle, change: Callable[[Turn], Result], object_id: int | None = None) -> Result:
    def call() -> Result:
        with calls.enter(handle) as turn:
            return change(turn)

    return calls.run(handle, call, object_id)
