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
from durable_objects.alarms.predicates import is_armed
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.alarms.slot import Slot
from durable_objects.alarms.times import later
from durable_objects.conf import engine
from durable_objects.errors import ClassUnknown, DurableObjectError
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations import changes
from durable_objects.operations.parked import Parked
from durable_objects.tables import Alarm, Object
from durable_objects.turns import calls
from durable_objects.turns.handle import Handle
from durable_objects.turns.turn import Turn

Result = TypeVar("Result")


def fire_now(obj: Object) -> None:
    """Make the alarm due now. One that is armed keeps its retries and its scheduled time; otherwise it is set to now.

    Raises ``DurableObjectError`` for a dead alarm, which must be revived instead.
    """
    _in_turn(obj, changes.run_now)


def move(obj: Object, when: datetime | timedelta) -> None:
    """Set the alarm to another time, as ``set_alarm`` does. Raises ``InvalidAlarmTime``, ``AlarmHandlerMissing``."""
    handle_of(obj).storage.set_alarm(when)


def put_off(obj: Object, when: datetime | timedelta) -> tuple[datetime | None, datetime]:
    """Set the alarm to a time, or later by a span: from its time, or from now if that is past or none is set.

    Return the time before and after. Raises ``InvalidAlarmTime``, ``AlarmHandlerMissing``.
    """
    handle = handle_of(obj)

    def change(turn: Turn) -> tuple[datetime | None, datetime]:
        before = time_of(turn.slot)
        at = later_by(before, when, turn.now) if isinstance(when, timedelta) else when
        handle.storage.set_alarm(at)
        return before, max(at, turn.now)

    return _in_turn(obj, change)


def later_by(before: datetime | None, span: timedelta, now: datetime) -> datetime:
    """Return a time put off by a span: from itself, or from now if it is past or None. Raises ``InvalidAlarmTime``."""
    return later(max(before or now, now), span)


def time_of(slot: Slot | Alarm | None) -> datetime | None:
    """Return when the alarm itself is due; None where none is armed, whatever schedules the object has."""
    return slot.due_at if slot is not None and is_armed(slot) else None


def cancel(obj: Object) -> bool:
    """Delete the alarm, armed or dead; return whether there was one. Needs no class."""
    return in_turn(obj, changes.cancel)


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
        if not changes.revive(turn):
            raise DurableObjectError(
                f"the alarm of {obj.name!r} is not dead but {turn.slot.state}: nothing was revived"
            )

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

    return in_turn(obj, apply)


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


def in_turn(obj: Object, change: Callable[[Turn], Result]) -> Result:
    """Change the object in a turn, the open one or its own. Needs no class: without it no ``initialize()`` runs."""
    handle = _handle_if_known(obj)
    return _in_turn_of(Parked(obj), change, obj.pk) if handle is None else _in_turn(handle, change)


def _in_turn(obj: Object, change: Callable[[Turn], Result]) -> Result:
    return _in_turn_of(handle_of(obj), change)


def _in_turn_of(handle: Handle, change: Callable[[Turn], Result], object_id: int | None = None) -> Result:
    def call() -> Result:
        with calls.enter(handle) as turn:
            return change(turn)

    return calls.run(handle, call, object_id)
