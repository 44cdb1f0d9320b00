"""What an operator's verbs change in the open turn of an object: alone, or with many others in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from durable_objects import events
from durable_objects.alarms.predicates import is_armed, is_dead, is_idle, is_leased
from durable_objects.alarms.times import later
from durable_objects.errors import DurableObjectError
from durable_objects.formatting import span
from durable_objects.models import DurableObject
from durable_objects.turns.turn import Turn


def run_now(turn: Turn) -> None:
    """Make the alarm due now. One that is armed keeps its retries and its scheduled time; otherwise it is set to now.

    Raises ``DurableObjectError`` for a dead alarm, which must be revived instead.
    """
    if is_dead(turn.slot):
        raise DurableObjectError(f"the alarm of {turn.handle.name!r} is dead: revive it instead")
    if is_armed(turn.slot):
        turn.slot.hasten(turn.now)
    else:
        set_to(turn, turn.now)


def set_to(turn: Turn, when: datetime | timedelta) -> None:
    """Set the alarm, as ``set_alarm`` does. Raises as that; the object's class must be known."""
    assert isinstance(turn.handle, DurableObject)
    turn.handle.storage.set_alarm(when)


def move_by(turn: Turn, span: timedelta) -> bool:
    """Set an armed alarm to its due time and this span, which may be below 0; return whether it was armed."""
    due_at = turn.slot.due_at
    if not is_armed(turn.slot) or due_at is None:
        return False
    set_to(turn, later(due_at, span))
    return True


def spread(turn: Turn, over: timedelta, since: datetime) -> bool:
    """Put an armed alarm off by a part of ``over`` that a hash of its object decides, from its due time on, or from
    ``since`` where it is due before that; return whether it was armed and no run of it is in progress.

    Retries and scheduled time stay. The same object gets the same part each time.
    """
    slot = turn.slot
    if not is_armed(slot) or slot.due_at is None or is_leased(slot, turn.now):
        return False
    slot.snooze(later(max(slot.due_at, since), over * share(turn.key)))
    return True


def share(key: tuple[str, str]) -> float:
    """Return a number from 0 to below 1 for an object's class and name, the same each time, evenly distributed."""
    return int.from_bytes(sha256("\0".join(key).encode()).digest()[:6], "big") / 2**48


def mark_late(turn: Turn) -> str | bool:
    """Write to the log how late an armed alarm is that does not run; return it in words, False where it is not late.

    The alarm stays as it is: its handler tells by ``info.scheduled_at`` how late it is, also once it is spread.
    """
    slot = turn.slot
    if not is_armed(slot) or slot.due_at is None or slot.due_at >= turn.now or is_leased(slot, turn.now):
        return False
    late = turn.now - slot.due_at
    events.alarm_marked_late(turn.conn, turn.handle, slot.due_at, late)
    return f"by {span(late)}"


def cancel(turn: Turn) -> bool:
    """Delete the alarm, armed or dead; return whether there was one."""
    was_set = not is_idle(turn.slot)
    turn.request_alarm(None)
    return was_set


def discard(turn: Turn) -> bool:
    """Delete the alarm if it is dead; return whether it was. Its last run stays in the history."""
    return is_dead(turn.slot) and cancel(turn)


def revive(turn: Turn) -> bool:
    """Arm the alarm again, due now and with all its retries, if it is dead; return whether it was."""
    slot = turn.slot
    if not is_dead(slot):
        return False
    slot.revive(turn.now)
    events.alarm_revived(turn.conn, turn.handle, slot.scheduled_at)
    return True
