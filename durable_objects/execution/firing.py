"""One wake-up of one object: take what it needs, run ``alarm()`` in a turn, settle; and what if that goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from django.db import Error

from durable_objects import failpoints, tracing
from durable_objects.alarms import backoff, leases, limits
from durable_objects.alarms.predicates import is_forgotten, is_left_behind
from durable_objects.alarms.run import Run, nobody_waits
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.errors import (
    is_connection_lost,
    is_worth_another_try,
    trouble,
    was_cancelled,
    was_session_lost,
)
from durable_objects.errors import (
    AlarmTimeLimitExceeded,
    DurableObjectError,
    InvalidAlarmTime,
    ObjectBusy,
    RunSuperseded,
)
from durable_objects.execution import run_outcomes, scheduled_runs, waiting_line, wake_up_admission, watchdog
from durable_objects.execution.wake_up_admission import RESCUE, WAIT_UNTIL_DUE, Fired, Verdict
from durable_objects.handler_errors import is_failure
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject
from durable_objects.plain_functions import check_answer
from durable_objects.turns.turn import Turn

logger = get_logger(__name__)

#: How long a wake-up waits for the object's lock before it is put off: a worker has other things to do.
WAIT_FOR_LOCK = timedelta(seconds=1)

#: A run that the database made give way is tried this often without counting as failed.
UNCOUNTED_TRIES = 5


class Firing:
    """One wake-up of one object."""

    def __init__(
        self,
        handle: DurableObject,
        object_id: int,
        wake_up_number: int | None,
        waits: int,
        retry_is_sent: bool,
        *,
        has_let_go: Callable[[], None] = nobody_waits,
        next_object: Callable[[], int | None] | None = None,
    ) -> None:
        self.has_let_go, self.next_object = has_let_go, next_object
        self.handle, self.object_id, self.wake_up_number = handle, object_id, wake_up_number
        self.waits, self.retry_is_sent = waits, retry_is_sent
        self.arrived = clock.monotonic()
        self.run: Run | None = None
        self.fence: int | None = None
        #: The limits of its class. A run that has its place holds it by its lease; then it waits for its start.
        self.limit = limits.of(handle)
        self.had_place = False
        self.start_at = self.arrived

    def fire(self, *, rescue: bool) -> Fired:
        """Wait out what is a little early, take over what is left behind, run, settle."""
        try:
            while True:
                fired = self._take_lease() if (rescue or self.limit) and self.fence is None else None
                if fired is None:
                    if self.limit is not None:
                        time.sleep(max(0.0, self.start_at - clock.monotonic()))
                    with self._turn(is_for_handler=True) as turn:
                        fired = self._refusal(turn) or self._run(turn)
                if fired.verdict is not Verdict.AGAIN or fired.delay is None or fired.elsewhere:
                    return fired
                if fired.delay > WAIT_UNTIL_DUE:
                    return fired
                rescue = rescue or fired is RESCUE
                time.sleep(fired.delay.total_seconds())
        except RunSuperseded as error:
            if self.run is None:
                return Fired(Verdict.DROPPED)
            run_outcomes.superseded(self.run, error)
            return Fired(Verdict.SUPERSEDED, error=error)
        except BaseException as error:
            if not is_failure(error):
                raise
            return self._after_lost_transaction(error)

    @contextmanager
    def _turn(self, *, is_for_handler: bool = False) -> Iterator[Turn]:
        """Open a turn. The first time a wake-up is put off soon; after that it waits in line as callers do."""
        with waiting_line.place(self.object_id, self.waits) as in_line:
            patience = backoff.patience(self.waits, engine.LOCK_TIMEOUT) if in_line else WAIT_FOR_LOCK
            turn = Turn(self.handle, object_id=self.object_id, lock_timeout=patience, is_for_handler=is_for_handler)
            turn.open()
        with turn:
            yield turn

    def _refusal(self, turn: Turn) -> Fired | None:
        if self.limit is not None and self.fence == turn.slot.fence and is_left_behind(turn.slot, turn.now):
            self.fence = None  # held up for so long that its place may be another's: it takes one again
        return wake_up_admission.refusal(turn.slot, turn.now, self.wake_up_number, self.fence)

    def _take_lease(self) -> Fired | None:
        """Commit that this object is started once more, before its handler can take the worker down again."""
        with self._turn() as turn:
            slot = turn.slot
            fired = self._refusal(turn)
            if fired is not None and fired is not RESCUE:
                return fired
            if slot.leased_until is not None and not leases.take_over(turn.conn, slot, turn.now):
                return Fired(Verdict.DROPPED)
            if slot.crashed_starts >= backoff.MAX_CRASHED_STARTS:
                return self._crashed_too_often(turn)
            if self.limit is not None and (fired := self._take_place(turn, self.limit)) is not None:
                return fired
            slot.set(crashed_starts=slot.crashed_starts + 1)
            slot.lease(turn.now, None if slot.schedule_is_first else slot.generation)
            self.fence = slot.fence
        return None

    def _take_place(self, turn: Turn, limit: limits.Limit) -> Fired | None:
        """Take one of the places of its class, for which the lease stands; return what becomes of the wake-up where
        there is none.
        """
        start = limits.take_place(self.handle.kind_pk(), limit, lambda: turn.now)
        slot, now = turn.slot, turn.now
        if start is not None:
            self.had_place, self.start_at = True, clock.monotonic() + (start - now).total_seconds()
            return None
        if slot.wake_up_for is not None and now < slot.wake_up_for <= now + limits.LONGEST_WAIT:
            return Fired(Verdict.AGAIN, slot.wake_up_for - now, elsewhere=True)  # sent for then, and a little early
        slot.set(wake_up_for=None)  # the dispatcher sends one, or the run that frees a place
        return Fired(Verdict.DROPPED)

    def _crashed_too_often(self, turn: Turn) -> Fired:
        error = DurableObjectError(
            f"{self.handle.key}: alarm() took its worker down {turn.slot.crashed_starts} times. "
            "Look for what kills it (memory, a hard time limit), then revive the alarm."
        )
        run = self.next_run(turn)
        turn.slot.release()
        if run is None:
            return Fired(Verdict.DROPPED)
        run_outcomes.died(turn, self.handle, run, error, str(error))
        return Fired(Verdict.DEAD, error=error)

    def next_run(self, turn: Turn) -> Run | None:
        """Return the run that this wake-up makes of the alarm, or of the schedule that is due before it. None if what
        was due is skipped.
        """
        if not turn.slot.schedule_is_first:
            return self.new_run(turn)
        call = scheduled_runs.due_call(turn)
        if call is None:
            return None
        picked_up_at = turn.reading.of(self.arrived)
        run = scheduled_runs.new_run(turn, call, call.scheduled_at or turn.now, picked_up_at)
        run.leased = self.fence is not None
        return run

    def new_run(self, turn: Turn) -> Run:
        """Return the run of the alarm in the turn's slot."""
        slot, now = turn.slot, turn.now
        due_at = slot.due_at or now
        return Run(
            self.object_id,
            slot.generation,
            slot.fence,
            slot.scheduled_at or due_at,
            due_at,
            None if is_forgotten(slot) else slot.wake_up_for,
            turn.reading.of(self.arrived),
            now,
            slot.retry_count,
            self.handle.alarm_time_limit,
            slot.set_number,
            leased=self.fence is not None,
        )

    def _run(self, turn: Turn) -> Fired:
        run = self.next_run(turn)
        if run is None:
            turn.slot.release()
            return Fired(Verdict.DROPPED)
        run.has_let_go = self.has_let_go
        turn.begin_run(run)
        try:
            with turn.savepoint():
                if not self.attempt(turn, run):
                    return Fired(Verdict.DROPPED)
        except BaseException as error:
            if not is_failure(error):
                raise
            self.run = run
            if turn.lost or not turn.is_locked or was_session_lost(turn.conn, error):
                raise
            if turn.conn.closed_in_transaction:  # by the code that ran: it is counted on another session
                raise
            if self._goes_again(error) or self._is_put_off(run, error):
                raise
            if turn.trouble and self._is_put_off(run, turn.trouble):
                raise turn.trouble from turn.trouble.__cause__
            return self._failed(turn, run, _as_late(run, error))
        run_outcomes.succeeded(turn, run)
        turn.next_object = self.next_object if self.limit is None else None
        return Fired(Verdict.SUCCEEDED)

    def attempt(self, turn: Turn, run: Run) -> bool:
        """Call ``initialize()`` and ``alarm()``; return whether the latter was called. Raises what they raise."""
        turn.start()
        if run.schedule is None and self._moved_by_initialize(turn):
            return False
        self.run = run
        failpoints.reach("firing.before_handler")
        set_by = turn.slot.set_by_trace if run.schedule is None else ""
        with watchdog.watching(run.time_limit, self._end), tracing.running(self.handle.key, run, set_by):
            if run.schedule is not None:
                scheduled_runs.call_method(self.handle, run.schedule)
            else:
                check_answer(self.handle.alarm(run.info), type(self.handle), "alarm")  # type: ignore[func-returns-value]  # it may
        run.check_time()
        failpoints.reach("firing.after_handler")
        return True

    def _moved_by_initialize(self, turn: Turn) -> bool:
        """Return whether ``initialize()`` put the alarm off or deleted it (DO-35): then it does not run now."""
        requested = turn.requested_alarm
        if requested is None:
            return False
        if requested.at is not None and requested.at <= turn.now:
            turn.take_requested_alarm()
            return False
        turn.end_run()
        turn.slot.release()
        return True

    def _goes_again(self, error: BaseException) -> bool:
        return is_worth_another_try(error) and self.waits < UNCOUNTED_TRIES

    def _is_put_off(self, run: Run | None, error: BaseException) -> bool:
        """Return whether the database could not do what the engine asked of it: not the handler's failure, uncounted.

        But a run over its time is late, whatever ended its statement; and a handler that waits, by another thread, for
        its own object would wait for ever.
        """
        busy = None if run_outcomes.is_on_purpose(error) else trouble(error)
        if busy is None or (run is not None and busy.key == self.handle.key):
            return False
        return run is None or not was_cancelled(busy) or not _is_late(run)

    def _failed(self, turn: Turn, run: Run, error: BaseException) -> Fired:
        if run_outcomes.is_snooze(error):
            try:
                run_outcomes.snoozed(turn, self.handle, run, error)
                return Fired(Verdict.SNOOZED)
            except InvalidAlarmTime as invalid:
                error = invalid
        is_dead = run_outcomes.stands(turn, run) and run_outcomes.is_last(self.handle, run, error)
        delay = run_outcomes.failed(turn, self.handle, run, error, retry_is_sent=self.retry_is_sent)
        return Fired(Verdict.DEAD if is_dead else Verdict.FAILED, delay, error, failures=run.retry_count + 1)

    def _after_lost_transaction(self, error: BaseException) -> Fired:
        """Put off or count a run whose turn ended unsettled: never locked, not relocked, not committed, or cut off."""
        run = self.run
        if self._goes_again(error) or self._is_put_off(run, error):
            return self._put_off(error)
        if run is None:
            raise error
        try:
            run.check_time()
        except AlarmTimeLimitExceeded as late:  # the server may have ended the session of a run over its time
            return self._count_afresh(run, late)
        conn = clock.connection()
        if is_connection_lost(conn, error) and not conn.closed_in_transaction:  # by the code that ran
            self._give_back()
            raise error
        return self._count_afresh(run, error)

    def _put_off(self, error: BaseException) -> Fired:
        """Count nothing; let the wake-up be sent again, later each time."""
        busy = trouble(error)
        if busy is not None and busy.key != self.handle.key:
            waiting_line.log(busy)
        self._give_back()
        return Fired(Verdict.AGAIN, backoff.busy_delay(self.waits))

    def _give_back(self) -> None:
        """End a lease of this wake-up now, and do not count its start. If that fails, the lease ends by itself."""
        fence = self.run.fence if self.run is not None and self.run.leased else self.fence
        if fence is None:
            return
        try:
            leases.give_back(clock.connection(), self.object_id, fence)
        except (Error, ObjectBusy) as error:
            logger.warning(
                "object %s: its lease could not be given back (%r): it ends by itself", self.object_id, error
            )

    def _count_afresh(self, run: Run, error: BaseException) -> Fired:
        try:
            with Turn(self.handle, object_id=self.object_id) as turn:
                if turn.slot.fence == run.fence:
                    if run_outcomes.is_settled(turn, run):
                        return Fired(Verdict.DROPPED, error=error)
                    turn.fence_off(run)
                    return self._failed(turn, run, error)
        except RunSuperseded:
            pass  # deleted meanwhile
        except ObjectBusy as busy:
            return self._put_off(busy)
        run_outcomes.superseded(run, error)
        return Fired(Verdict.SUPERSEDED, error=error)

    def _end(self) -> None:
        """Count that the handler is over its time, and refuse what it does from now on. Called by the watchdog."""
        run = self.run
        if run is None:
            return
        limit = AlarmTimeLimitExceeded(f"alarm() of {self.handle.key} did not end within {run.time_limit}")
        self.retry_is_sent = False
        with Turn(self.handle, object_id=self.object_id, lock_timeout=WAIT_FOR_LOCK) as turn:
            if turn.slot.fence == run.fence and not run_outcomes.is_settled(turn, run):
                turn.fence_off(run)
                self._failed(turn, replace(run, requested_alarm=None), limit)


def _is_late(run: Run) -> bool:
    try:
        run.check_time()
    except AlarmTimeLimitExceeded:
        return True
    return False


def _as_late(run: Run, error: BaseException) -> BaseException:
    """Return ``AlarmTimeLimitExceeded`` for what ends a late run from outside (Celery's soft limit), else the error."""
    try:
        run.check_time()
    except AlarmTimeLimitExceeded as late:
        if not isinstance(error, AlarmTimeLimitExceeded):
            late.__cause__ = error
            return late
    return error
