"""Is this wake-up still wanted? Decided on the slot alone, as read under the object's lock."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_objects.alarms.slot import ARMED, Slot
from durable_objects.conf import engine
from durable_objects.database import clock

#: A wake-up that comes this early or less waits; one that comes earlier is rung again.
WAIT_UNTIL_DUE = timedelta(seconds=1)


class Verdict(enum.Enum):
    """What became of a wake-up. ``DROPPED`` is a normal answer: nothing was to be done."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    DROPPED = "dropped"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Fired:
    """The verdict; after which ``delay`` to send the wake-up again (None: not at all), under which number if not the
    same; what was raised; and how many runs of this alarm have failed so far.
    """

    verdict: Verdict
    delay: timedelta | None = None
    error: BaseException | None = None
    wake_up_number: int | None = None
    failures: int = 0


#: A run was left behind by a worker and its lease is over: it has to be taken over first.
RESCUE = Fired(Verdict.AGAIN, timedelta(0))


def judge(slot: Slot, now: datetime, wake_up_number: int | None, fence: int | None) -> Fired | None:
    """Return why the alarm does not run now; None if it does.

    ``wake_up_number`` None: any; ``fence``: of the lease that this wake-up has.
    """
    mine = fence is not None and slot.fence == fence
    wanted = slot.state == ARMED and (wake_up_number is None or slot.wake_up_number == wake_up_number)
    if mine and not wanted:
        slot.release()
    if not wanted or slot.due_at is None or (slot.is_leased(now) and not mine):
        return Fired(Verdict.DROPPED)
    if slot.due_at > now:
        return _early(slot, slot.due_at - now)
    return RESCUE if slot.leased_until is not None and not mine else None


def _early(slot: Slot, remaining: timedelta) -> Fired:
    """Clocks differ, or the alarm was moved: wait, or send the wake-up again for the rest of the time.

    With a new number, so that of several early ones only the first goes on.
    """
    if clock.fake is not None:
        return Fired(Verdict.DROPPED)  # waiting would not make it later
    if remaining <= WAIT_UNTIL_DUE:
        return Fired(Verdict.AGAIN, max(remaining, timedelta(milliseconds=1)))
    if remaining > engine.HORIZON:
        slot.set(wake_up_for=None)
        return Fired(Verdict.DROPPED)
    slot.set(wake_up_number=slot.wake_up_number + 1, wake_up_for=slot.due_at)
    return Fired(Verdict.AGAIN, remaining, wake_up_number=slot.wake_up_number, failures=slot.retry_count)
