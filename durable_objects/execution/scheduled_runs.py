"""A run of a schedule: which is due, what its misfire policy leaves of it, and what follows when it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from durable_objects.alarms import schedules
from durable_objects.alarms.run import Run
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.entries.serializer import decode
from durable_objects.errors import DurableObjectError, InvalidSchedule
from durable_objects.logs import about, get_logger
from durable_objects.models import DurableObject
from durable_objects.plain_functions import check_answer
from durable_objects.recurrence.misfire import Decision
from durable_objects.tables import AlarmRun
from durable_objects.turns.turn import Turn

logger = get_logger(__name__)

#: At most this many schedules of one object are skipped in one turn; the others are skipped in the next.
MOST_SKIPPED = 100


def due_call(turn: Turn) -> ScheduledCall | None:
    """Return the schedule that is due first, with the occurrence that runs; None if its policy leaves none to run now.

    What is skipped is on record afterwards, and followed by what comes next; what was decided is not decided again.
    """
    now = turn.now
    for _ in range(MOST_SKIPPED):
        call = schedules.first(turn.schedules(), now)
        if call is None or call.is_decided:
            return call
        try:
            decision = call.decision(now)
        except InvalidSchedule as error:  # its zone is gone, say: the others run
            _record_unplannable(turn, call, error)
            continue
        if decision.skipped:
            _record_skipped(turn, call, decision, now)
        if decision.run is not None:
            decided = call.decided(decision)
            turn.change_schedule(call.name, decided)  # by its first commit: the run may be cut off while unlocked
            return decided
        turn.change_schedule(call.name, call.at(decision.next))
    return None


def _record_unplannable(turn: Turn, call: ScheduledCall, error: InvalidSchedule) -> None:
    extra = about("schedule_unplannable", turn.key, schedule=call.name)
    logger.error("schedule %r of %s %r cannot be planned and is dead: %s", call.name, *turn.key, error, extra=extra)
    turn.change_schedule(call.name, call.unplannable(str(error)))
    turn.record(new_run(turn, call, call.scheduled_at or turn.now, turn.now), AlarmRun.Outcome.DEAD, str(error))


def _record_skipped(turn: Turn, call: ScheduledCall, decision: Decision, now: datetime) -> None:
    since = decision.first_skipped or now
    times = (
        f"skipped of schedule {call.name!r}, since they were missed: {decision.skipped}, from {since.isoformat()} on"
    )
    extra = about("schedule_skipped", turn.key, schedule=call.name, skipped=decision.skipped)
    logger.warning("%s %r: %s", *turn.key, times, extra=extra)
    run = new_run(turn, call, since, now)
    turn.record(run, AlarmRun.Outcome.SKIPPED, times)


def new_run(turn: Turn, call: ScheduledCall, scheduled_at: datetime, picked_up_at: datetime) -> Run:
    """Return the run of this schedule for the occurrence of this time."""
    slot, now, due_at = turn.slot, turn.now, call.due_at or turn.now
    return Run(
        turn.object_id, None, slot.fence, scheduled_at, due_at, slot.wake_up_for, picked_up_at, now, call.retry_count,
        turn.handle.alarm_time_limit, set_number=call.set_number, schedule=call,
    )  # fmt: skip


def call_method(handle: DurableObject, call: ScheduledCall) -> None:
    """Call the method that the schedule names. Raises what that raises, and ``DurableObjectError`` if there is none."""
    args, kwargs = decode(call.arguments)
    method: Any = getattr(handle, call.method, None)
    if not callable(method):
        raise DurableObjectError(
            f"{type(handle).__name__} has no method {call.method!r}, which schedule {call.name!r} of {handle.name!r} "
            "calls: bring it back, or cancel the schedule"
        )
    check_answer(method(*args, **kwargs), type(handle), call.method)


def _standing(turn: Turn, run: Run) -> ScheduledCall | None:
    """Return the schedule as the run began with it, where that is neither settled nor replaced. Only what becomes of
    missed times may have changed.
    """
    began, call = run.schedule, turn.schedules().get(run.schedule.name) if run.schedule else None
    if began is None or call is None:
        return None
    before, after = ((each.set_number, each.retry_count, each.due_at) for each in (began, call))
    return replace(began, misfire=call.misfire, grace=call.grace, declared=call.declared) if before == after else None


def stands(turn: Turn, run: Run) -> bool:
    """Return whether the schedule is still the one that the run began with."""
    return _standing(turn, run) is not None


def succeeded(turn: Turn, run: Run) -> None:
    """Go on to what follows, unless somebody has replaced the schedule, or cancelled it."""
    if (call := _standing(turn, run)) is not None:
        turn.change_schedule(call.name, call.succeeded())


def failed(turn: Turn, run: Run, now: datetime, delay: timedelta, error: str) -> None:
    """Let the same occurrence run again after the delay, by a wake-up that is out. The schedule has to stand."""
    if (call := _standing(turn, run)) is not None:
        turn.slot.set(wake_up_for=now + delay)
        turn.change_schedule(call.name, call.failed(now, delay, error))


def snoozed(turn: Turn, run: Run, until: datetime) -> None:
    """Let the same occurrence run again then, if the schedule stands."""
    if (call := _standing(turn, run)) is not None:
        turn.change_schedule(call.name, call.snoozed(until))


def died(turn: Turn, run: Run, error: str) -> None:
    """Keep the occurrence as dead, and go on with the next, if the schedule stands."""
    if (call := _standing(turn, run)) is not None:
        turn.change_schedule(call.name, call.died(error))
