"""Whether a wake-up is still wanted: decided on the slot alone, as read under the object's lock."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_objects.alarms.predicates import is_due, is_leased, is_left_behind
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import clock

#: A wake-up that comes at most this early waits; one that comes earlier is sent again.
WAIT_UNTIL_DUE = timedelta(seconds=1)


class Verdict(enum.Enum):
    """What became of a wake-up. ``DROPPED`` is a normal one: nothing was to be done."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    SNOOZED = "snoozed"
    DROPPED = "dropped"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Fired:
    """The verdict; after which ``delay`` to send the wake-up again (None: not at all), under which number if not the
    same; what was raised; and how many runs of this alarm have failed so far. ``elsewhere``: the delay is not spent in
    this thread, however short.
    """

    verdict: Verdict
    delay: timedelta | None = None
    error: BaseException | None = None
    wake_up_number: int | None = None
    failures: int = 0
    elsewhere: bool = False


#: A run was left behind by a worker and its lease is over: it has to be taken over first.
RESCUE = Fired(Verdict.AGAIN, timedelta(0))


class Admission(enum.Enum):
    """Whether the alarm runs for a wake-up, and if not, why."""

    RUN = "run"
    #: Not armed, or sent for another alarm: under another number.
    UNWANTED = "unwanted"
    #: Another run has the lease.
    LEASED = "leased"
    #: Another run had the lease, and it is over: that run has to be fenced first.
    LEFT_BEHIND = "left behind"
    EARLY = "early"
    #: An operator has paused it: it is sent again when that is over.
    PAUSED = "paused"


def judge(slot: Slot, now: datetime, wake_up_number: int | None, fence: int | None = None) -> Admission:
    """Return whether the alarm runs now. Changes nothing.

    ``wake_up_number`` None: any; ``fence``: of the lease that this wake-up has.
    """
    mine = fence is not None and slot.fence == fence
    if slot.wake_at is None or wake_up_number not in {None, slot.wake_up_number}:
        return Admission.UNWANTED
    if is_leased(slot, now) and not mine:
        return Admission.LEASED
    if slot.paused:
        return Admission.PAUSED
    if not is_due(slot, now):
        return Admission.EARLY
    return Admission.LEFT_BEHIND if is_left_behind(slot, now) and not mine else Admission.RUN


def refusal(slot: Slot, now: datetime, wake_up_number: int | None, fence: int | None) -> Fired | None:
    """Return why the alarm does not run now, as what becomes of its wake-up; None if it runs. Arguments as ``judge``.

    Release the lease of this wake-up when it is not wanted any more, or paused.
    """
    admission = judge(slot, now, wake_up_number, fence)
    mine = fence is not None and slot.fence == fence
    if admission is Admission.UNWANTED and mine:
        slot.release()
    if admission is Admission.PAUSED:
        if mine:
            slot.give_back()
        slot.set(wake_up_for=None)  # the dispatcher sends one when the pause is over
    if admission is Admission.EARLY and slot.wake_at is not None:
        return _early(slot, slot.wake_at - now)
    return _REFUSALS.get(admission)


_REFUSALS = {
    Admission.UNWANTED: Fired(Verdict.DROPPED),
    Admission.LEASED: Fired(Verdict.DROPPED),
    Admission.PAUSED: Fired(Verdict.DROPPED),
    Admission.LEFT_BEHIND: RESCUE,
}


def _early(slot: Slot, remaining: timedelta) -> Fired:
    """Wait, or send the wake-up again for the rest of the time: clocks differ, or the alarm was moved.

    With a new number, so that of several early ones only the first goes on.
    """
    if clock.fake is not None:
        return Fired(Verdict.DROPPED)  # waiting would not make it later
    if remaining <= WAIT_UNTIL_DUE:
        return Fired(Verdict.AGAIN, max(remaining, timedelta(milliseconds=1)))
    if remaining > engine.HORIZON:
        slot.set(wake_up_for=None)
        return Fired(Verdict.DROPPED)
    slot.set(wake_up_number=slot.wake_up_number + 1, wake_up_for=slot.wake_at)
    return Fired(Verdict.AGAIN, remaining, wake_up_number=slot.wake_up_number, failures=slot.retry_count)
