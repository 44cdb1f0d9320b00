"""How a run ends: its slot, history and writes are stored in one transaction."""

from __future__ import annotations

from datetime import timedelta

from django.db import Error, transaction

from durable_objects.alarms import history
from durable_objects.alarms.run import Run
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.errors import is_worth_another_try, trouble, was_session_lost
from durable_objects.errors import RunSuperseded
from durable_objects.handler_errors import describe, formattable, is_failure
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
    if slot.generation == run.generation or (requested and requested.generation == slot.generation):
        slot.disarm()
        if requested is not None:
            slot.apply(requested.at)
    turn.record(run, AlarmRun.Outcome.SUCCEEDED)


def failed(
    turn: Turn, handle: DurableObject, run: Run, error: BaseException, *, retry_is_sent: bool
) -> timedelta | None:
    """Count a run whose handler raised and whose savepoint is undone; return the delay of its retry.

    None when none comes: it was the last, or another caller set or deleted the alarm while the run was unlocked, whose
    request then stands (DO-21, DO-49). With ``retry_is_sent`` the caller sends it; else it is published like any alarm.
    """
    slot, text = turn.slot, describe(error)
    turn.take_requested_alarm()
    turn.end_run()
    slot.release()
    delay = None
    if slot.generation != run.generation:
        turn.record(run, AlarmRun.Outcome.FAILED, text)
    elif run.retry_count < handle.alarm_max_retries:
        delay = slot.retry_later(clock.read(), text)  # the turn's own time may be behind: no retry is early
        if not retry_is_sent:
            slot.set(wake_up_for=None)
        turn.record(run, AlarmRun.Outcome.FAILED, text)
        extra = about("alarm_failed", handle.key, retry_count=run.retry_count)
        logger.info("alarm of %s %r failed and is retried in %s", *handle.key, delay, extra=extra)
    else:
        died(turn, handle, run, error, text)
    return delay


def died(turn: Turn, handle: DurableObject, run: Run, error: BaseException, text: str) -> None:
    """Keep the alarm as a dead row, since no run is left, and call ``alarm_died()``, in one transaction."""
    turn.end_run()
    turn.slot.die(text)
    turn.record(run, AlarmRun.Outcome.DEAD, text)
    extra, raised_by = about("alarm_died", handle.key, retry_count=run.retry_count), formattable(error)
    logger.error(
        "alarm of %s %r is dead after %s runs", *handle.key, run.retry_count + 1, exc_info=raised_by, extra=extra
    )
    try:
        with turn.savepoint():
            turn.start()
            check_answer(handle.alarm_died(run.info, error), type(handle), "alarm_died")  # type: ignore[func-returns-value]  # it may
    except RunSuperseded:
        raise
    except BaseException as raised:
        busy = turn.trouble or trouble(raised)
        if busy is not None:  # nothing is settled then: the run comes again
            raise busy from busy.__cause__
        if not is_failure(raised) or is_worth_another_try(raised) or was_session_lost(turn.conn, raised):
            raise
        message = "alarm_died() of %s %r raised; its alarm stays dead"
        logger.error(message, *handle.key, exc_info=formattable(raised), extra=about("alarm_died_raised", handle.key))


def is_settled(slot: Slot, run: Run) -> bool:
    """Return whether the run has ended already, as far as its slot shows."""
    if run.leased:
        return slot.leased_until is None
    return (slot.generation, slot.retry_count) != (run.generation, run.retry_count)


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
