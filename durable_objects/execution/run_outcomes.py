"""How a run ends: its slot, history and writes are stored in one transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeGuard

from django.db import Error, transaction

from durable_objects import events
from durable_objects.alarms import backoff, history
from durable_objects.alarms.run import Run
from durable_objects.alarms.times import check_alarm_time, moment
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.errors import is_worth_another_try, trouble, was_session_lost
from durable_objects.errors import GiveUp, RunSuperseded, Snooze
from durable_objects.execution import scheduled_runs
from durable_objects.handler_errors import describe, formattable, is_failure, reason_of
from durable_objects.logs import about, get_logger
from durable_objects.models import DurableObject
from durable_objects.plain_functions import check_answer
from durable_objects.tables import AlarmRun, Object
from durable_objects.turns.turn import Turn

logger = get_logger(__name__)


def succeeded(turn: Turn, run: Run) -> None:
    """Settle a run whose handler returned: its requested alarm counts, unless a later call set or deleted it."""
    requested, slot = turn.take_requested_alarm(), turn.slot
    turn.end_run()
    if turn.deleted:
        return
    slot.release()
    if run.schedule is not None:
        scheduled_runs.succeeded(turn, run)
        if requested is not None and requested.generation == slot.generation:
            slot.apply(requested.at, requested.trace)
    elif slot.generation == run.generation or (requested and requested.generation == slot.generation):
        slot.disarm()
        if requested is not None:
            slot.apply(requested.at, requested.trace)
    turn.record(run, AlarmRun.Outcome.SUCCEEDED)
    events.alarm_succeeded(turn.conn, turn.handle, run)


def failed(
    turn: Turn, handle: DurableObject, run: Run, error: BaseException, *, retry_is_sent: bool
) -> timedelta | None:
    """Count a run whose handler raised and whose savepoint is undone; return after which delay to send its retry.

    None when none is to be sent: it was the last, or another caller set or deleted the alarm while the run was
    unlocked, whose request then stands (DO-21, DO-49); or, without ``retry_is_sent`` or when the delay is none of
    Celery's, it is published like any alarm.
    """
    text = reason_of(error) if _gives_up(error) else describe(error)
    _end(turn)
    if not stands(turn, run):
        turn.record(run, AlarmRun.Outcome.FAILED, text)
        events.alarm_failed(turn.conn, handle, run, text, None)
        return None
    if is_last(handle, run, error):
        died(turn, handle, run, error, text)
        return None
    delay = _retry_delay(turn, handle, run.retry_count + 1)
    now = clock.read()  # the turn's own time may be behind: no retry is early
    if run.schedule is not None:
        scheduled_runs.failed(turn, run, now, delay, text)
    else:
        turn.slot.retry_later(now, delay, text)
    turn.record(run, AlarmRun.Outcome.FAILED, text)
    events.alarm_failed(turn.conn, handle, run, text, now + delay)
    if retry_is_sent and backoff.is_celerys(delay):
        return delay
    turn.slot.set(wake_up_for=None)
    return None


def is_last(handle: DurableObject, run: Run, error: BaseException) -> bool:
    """Return whether no retry comes after this run, which ended with the error: the alarm is dead then."""
    return _gives_up(error) or run.retry_count >= handle.alarm_max_retries


def snoozed(turn: Turn, handle: DurableObject, run: Run, snooze: Snooze) -> None:
    """Settle a run that asked to be run again later, and whose savepoint is undone. It counts as no failure.

    Another caller's request stands as after a failure. Raises ``InvalidAlarmTime`` where it named no time; nothing is
    changed then.
    """
    check_alarm_time(snooze.when)
    now = clock.read()  # the turn's own time may be behind: it is not early
    until = max(now, moment(snooze.when, now))
    _end(turn)
    if run.schedule is not None:
        scheduled_runs.snoozed(turn, run, until)
    elif stands(turn, run):
        turn.slot.snooze(until)
    turn.record(run, AlarmRun.Outcome.SNOOZED, reason_of(snooze))
    extra = about("alarm_snoozed", handle.key, retry_count=run.retry_count)
    logger.info("alarm of %s %r is snoozed until %s", *handle.key, until, extra=extra)


def is_snooze(error: BaseException) -> TypeGuard[Snooze]:
    """Return whether the handler asked to be run again later."""
    return issubclass(type(error), Snooze)  # isinstance() would ask the error, which may raise


def is_on_purpose(error: BaseException) -> bool:
    """Return whether the handler decided how its run ends: whatever made it do so is none of the engine's business."""
    return _gives_up(error) or is_snooze(error)


def _gives_up(error: BaseException) -> bool:
    return issubclass(type(error), GiveUp)


def _end(turn: Turn) -> None:
    """Drop what the handler that raised had requested, and its lease."""
    turn.take_requested_alarm()
    turn.end_run()
    turn.slot.release()


def _retry_delay(turn: Turn, handle: DurableObject, failures: int) -> timedelta:
    """Return the delay as the class says. A function of its own that fails costs no alarm: then the usual one."""
    policy, jitter = type(handle).alarm_backoff, type(handle).alarm_jitter
    if not callable(policy):
        return backoff.retry_delay(failures, policy, jitter)
    try:
        with turn.savepoint():
            return backoff.retry_delay(failures, policy, jitter)
    except BaseException as raised:
        _raise_unless_failed(turn, raised)
        message = "alarm_backoff of %s %r failed: the retry comes as without it"
        extra = about("alarm_backoff_raised", handle.key, retry_count=failures)
        logger.error(message, *handle.key, exc_info=formattable(raised), extra=extra)
    return backoff.retry_delay(failures, None, jitter)


def died(turn: Turn, handle: DurableObject, run: Run, error: BaseException, text: str) -> None:
    """Keep the alarm as a dead row, since no run is left, and call ``alarm_died()``, in one transaction.

    A schedule keeps its dead occurrence, and goes on with the next.
    """
    turn.end_run()
    turn.record(run, AlarmRun.Outcome.DEAD, text)
    events.alarm_died(turn.conn, handle, run, error, text)
    if run.schedule is not None:
        return scheduled_runs.died(turn, run, text)
    turn.slot.die(text)
    try:
        with turn.savepoint():
            turn.start()
            check_answer(handle.alarm_died(run.info, error), type(handle), "alarm_died")  # type: ignore[func-returns-value]  # it may
    except BaseException as raised:
        _raise_unless_failed(turn, raised)
        message = "alarm_died() of %s %r raised; its alarm stays dead"
        logger.error(message, *handle.key, exc_info=formattable(raised), extra=about("alarm_died_raised", handle.key))


def _raise_unless_failed(turn: Turn, raised: BaseException) -> None:
    """Raise again what the class's code in the settling turn ended with, unless that is its own failure: nothing is
    settled then, and the run comes again.
    """
    if issubclass(type(raised), RunSuperseded):
        raise raised
    busy = turn.trouble or trouble(raised)
    if busy is not None:
        raise busy from busy.__cause__
    if not is_failure(raised) or is_worth_another_try(raised) or was_session_lost(turn.conn, raised):
        raise raised


def stands(turn: Turn, run: Run) -> bool:
    """Return whether what the run is for has not been replaced, deleted or cancelled since."""
    return scheduled_runs.stands(turn, run) if run.schedule is not None else turn.slot.generation == run.generation


def is_settled(turn: Turn, run: Run) -> bool:
    """Return whether the run has ended already, as far as the rows show."""
    if run.leased:
        return turn.slot.leased_until is None
    return not stands(turn, run) or (run.schedule is None and turn.slot.retry_count != run.retry_count)


def superseded(run: Run, error: BaseException) -> None:
    """Record that another run has taken over, so that this one counts for nothing."""
    extra = about("run_superseded", object_id=run.object_id)
    logger.warning("object %s: a run with fence %s was superseded", run.object_id, run.fence, extra=extra)
    try:
        with transaction.atomic(using=engine.DATABASE):
            if Object.objects.using(engine.DATABASE).filter(pk=run.object_id).exists():
                row = history.row_of(run, AlarmRun.Outcome.SUPERSEDED, clock.now(), describe(error))
                AlarmRun.objects.using(engine.DATABASE).create(**row)
    except Error:
        logger.exception("object %s: the superseded run is not in the history", run.object_id)
