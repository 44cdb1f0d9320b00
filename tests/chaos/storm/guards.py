"""Each guard of the protocol, left out: what the checker must find then. One name per process, by CHAOS_TAKEN_OUT."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from celery import current_app, current_task
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from durable_objects import process, tasks  # fmt: skip
from durable_objects.alarms import leases, limits, schedules
from durable_objects.alarms import sql as alarm_sql
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import connection, round_trip
from durable_objects.database.backends import backend_of
from durable_objects.database.savepoints import SENDING
from durable_objects.delivery import backlog, claims, dispatcher, publisher
from durable_objects.errors import ObjectBusy
from durable_objects.execution import firing, scheduled_runs, waiting_line, wake_up_admission
from durable_objects.tables import Alarm
from durable_objects.turns import lock, read_ahead, transaction, write_buffer
from tests.chaos.storm import record


def take_out(name: str) -> None:
    """Leave the guard of this name out of this process; nothing for an empty name. ``slow_…`` only widens a race."""
    for one in filter(None, name.split(",")):
        GUARDS[one]()


def _replace(owner: Any, name: str, value: Any) -> None:
    """``setattr`` of what is there: a guard that has moved must not be taken for one that is left out."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner!r} has no {name!r} any more: what keeps this promise now?")
    if missing := not_taken(getattr(owner, name), value):
        raise TypeError(f"{name!r} takes {', '.join(missing)} by now: left out, it would fail instead")
    setattr(owner, name, value)


def not_taken(whole: Any, value: Any) -> list[str]:
    """Return the parameters of a function that the one in its place does not take."""
    if not (inspect.isfunction(whole) and inspect.isfunction(value)):
        return []
    takes = inspect.signature(value).parameters.values()
    kinds, names = {each.kind for each in takes}, {each.name for each in takes}
    by_place = sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in takes)
    missing = []
    for place, each in enumerate(inspect.signature(whole).parameters.values()):
        is_taken = each.VAR_KEYWORD in kinds or each.name in names
        if each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD):
            is_taken = is_taken or each.VAR_POSITIONAL in kinds or place < by_place
        missing += [] if is_taken else [each.name]
    return missing


def fence() -> None:
    """A runner is never asked whether another one has taken over."""
    _replace(transaction.LockedTransaction, "_check_fence", lambda self: None)


def rescue() -> None:
    """The dispatcher sends only what was never sent; lost wake-ups and dead workers' runs are left alone."""
    whole = claims.publishable

    def publishable(*args: Any) -> QuerySet[Alarm]:
        return whole(*args).filter(wake_up_for__isnull=True, leased_until__isnull=True)

    _replace(claims, "publishable", publishable)


def never_early() -> None:
    """Whoever is woken runs, whatever the database's clock says."""
    whole = wake_up_admission.judge

    def judge(slot: Slot, now: Any, *args: Any) -> Any:
        return whole(slot, max(now, slot.due_at or now), *args)

    _replace(wake_up_admission, "judge", judge)


def heartbeats() -> None:
    """Nobody renews a lease."""
    _replace(leases, "keep", lambda run: None)


def skip_locked() -> None:
    """A dispatcher waits for the rows that somebody else has locked."""
    whole = QuerySet.select_for_update

    def select_for_update(self: Any, **options: Any) -> Any:
        return whole(self, **options | {"skip_locked": False})

    _replace(QuerySet, "select_for_update", select_for_update)


def robust() -> None:
    """What the broker's client raises after the commit reaches the caller."""
    whole = BaseDatabaseWrapper.on_commit

    def on_commit(self: Any, func: Any, robust: bool = False) -> Any:
        return whole(self, func, robust=False)

    def publish(wake_ups: Any, *args: Any, **options: Any) -> int:
        for wake_up in wake_ups:
            tasks._publish(wake_up)
        return len(wake_ups)

    _replace(BaseDatabaseWrapper, "on_commit", on_commit)
    _replace(publisher, "publish", publish)


def row_count() -> None:
    """How often an alarm has failed is taken from the message, which a rescue does not know."""
    new_run, wake_up = firing.Firing.new_run, publisher.wake_up

    def counted(self: Any, turn: Any) -> Any:
        run = new_run(self, turn)
        run.retry_count = current_task.request.retries
        turn.slot.retry_count = run.retry_count
        return run

    def no_count(*args: Any, **options: Any) -> publisher.WakeUp:
        return replace(wake_up(*args, **options), retries=0, shares=publisher.Shares.NOTHING)

    _replace(firing.Firing, "new_run", counted)
    _replace(publisher, "wake_up", no_count)


def second_statement() -> None:
    """The slot is read by the statement that locks, joined to the object: as it was before the wait."""
    whole = lock.take

    def take(conn: Any, whose: lock.Whose, asked: lock.Asked, answered: lock.Answered | None = None) -> Any:
        if answered is not None:  # it waited for nobody
            return whole(conn, whose, asked, answered)
        limits = asked.limits
        sql, values = alarm_sql.look(conn, *whose.condition(), for_run=asked.for_run)
        backend, outermost = backend_of(conn), connection.depth(conn) == 1
        before = [
            *(backend.begin(limits, outermost=outermost) if limits else ()),
            *(backend.after_lock(limits, outermost=outermost) if limits else ()),
            *([SENDING] if asked.sends_savepoint else ()),
        ]
        rows = round_trip.send(conn, [*before, (f"{sql} FOR NO KEY UPDATE OF {lock._TABLE}", values)])
        if not rows:
            return whole(conn, whose, asked._replace(limits=None, sends_savepoint=False))
        slot, now = alarm_sql.slot_of(rows[0])
        return lock.Taken(slot, rows[0][-1], now, read_ahead.Read(), False)

    _replace(lock, "take", take)


def conditional() -> None:
    """Whoever saw an old lease takes it over, whether it was renewed since or not."""

    def take_over(conn: Any, slot: Slot, now: Any) -> bool:
        with conn.cursor() as cursor:
            cursor.execute(
                f"UPDATE {leases._TABLE} SET fence = fence + 1, leased_until = NULL, leased_generation = NULL "
                "WHERE object_id = %s RETURNING fence",
                [slot.object_id],
            )
            slot.fence, slot.leased_until, slot.leased_generation = cursor.fetchone()[0], None, None
        return True

    _replace(leases, "take_over", take_over)


def savepoint() -> None:
    """A failure is counted in a transaction of its own, after the run's has been rolled back."""
    failed, run = firing.Firing._failed, firing.Firing._run

    def _run(self: Any, turn: Any) -> Any:
        self.in_turn = True
        return run(self, turn)

    def _failed(self: Any, turn: Any, run: Any, error: BaseException) -> Any:
        if self.__dict__.pop("in_turn", False):
            raise error
        return failed(self, turn, run, error)

    _replace(firing.Firing, "_run", _run)
    _replace(firing.Firing, "_failed", _failed)


def ring_number() -> None:
    """A wake-up counts, whatever its number."""
    whole = wake_up_admission.judge

    def judge(slot: Slot, now: Any, wake_up_number: int | None, fence: int | None = None) -> Any:
        return whole(slot, now, None, fence)

    _replace(wake_up_admission, "judge", judge)


def any_failure() -> None:
    """Only what is an ``Exception`` counts as a failure of the handler that raises it."""
    _replace(firing, "is_failure", lambda error: isinstance(error, Exception))


def steady_consumer() -> None:
    """Celery's own consumer, which ends its worker by whatever is no lost connection."""
    current_app.conf.worker_consumer = "celery.worker.consumer:Consumer"


def room_for_what_is_due() -> None:
    """What only waits for its time takes capacity as well, and no pass sends more than that, to probe either."""

    def capacity(self: backlog.Backlog) -> int:
        return int(max(engine.MAX_OUT - self.waiting - self.out, 0))

    _replace(backlog.Backlog, "capacity", property(capacity))
    _replace(backlog.Backlog, "share", 0)
    _replace(dispatcher, "_probe", lambda *args: [])


def silence() -> None:
    """Every wake-up that is overdue counts as lost, whether it has a consumer or not."""
    _replace(backlog, "_consumed", lambda now: (now, now))


def put_off() -> None:
    """What the engine's own statements meet in the database, once a run has begun, is a failure of its handler."""
    _replace(firing.Firing, "_is_put_off", lambda self, run, error: run is None and isinstance(error, ObjectBusy))


def who_lives() -> None:
    """A process that starts with a broker of its own takes all others for gone."""
    _replace(process, "is_gone", lambda other: True)


def in_line() -> None:
    """A wake-up that was turned away by a busy object never stands in line for it."""
    _replace(waiting_line, "MOST_IN_LINE", 0)


def savepoints() -> None:
    """What was written since a savepoint stays when that is undone."""

    def settle(self: Any) -> None:
        while (ended := self._stack[-1].savepoint) is not None and not ended.is_open:
            layer = self._stack.pop()
            self._stack[-1].absorb(layer)

    _replace(write_buffer.WriteBuffer, "_settle", settle)


def schedule_stands() -> None:
    """A run of a schedule settles it, also where it was cancelled or replaced meanwhile."""
    _replace(scheduled_runs, "_standing", lambda turn, run: run.schedule)


def decision_kept() -> None:
    """What was missed is decided on again by each run, a retry too."""
    whole = schedules.ScheduledCall.decided

    def decided(self: Any, decision: Any) -> Any:
        return replace(whole(self, decision), is_decided=False)

    _replace(schedules.ScheduledCall, "decided", decided)


def skipped_on_record() -> None:
    """What is skipped is not in the history."""
    _replace(scheduled_runs, "_record_skipped", lambda *args: None)


def pause() -> None:
    """Runs start, whatever is paused."""
    whole = wake_up_admission.judge

    def judge(slot: Slot, *args: Any) -> Any:
        slot.paused = False
        return whole(slot, *args)

    _replace(wake_up_admission, "judge", judge)


def place() -> None:
    """Runs of a class with limits start without a place."""
    _replace(limits, "take_place", lambda kind_id, limit, clock_now: clock_now())


def no_retries() -> None:
    """Not a guard: an alarm is dead once it has failed."""
    from tests.models import Subject

    Subject.alarm_max_retries = 0


def slow_take_over() -> None:
    """Not a guard: widens the gap between seeing that a lease is over and taking it over."""
    whole = leases.take_over

    def take_over(*args: Any) -> bool:
        record.note("slow")
        time.sleep(3)
        return whole(*args)

    _replace(leases, "take_over", take_over)


GUARDS: dict[str, Callable[[], None]] = {
    guard.__name__: guard
    for guard in (
        fence, rescue, never_early, heartbeats, skip_locked, robust, row_count, second_statement, conditional,
        savepoint, ring_number, any_failure, steady_consumer, room_for_what_is_due,
        silence, put_off, who_lives, in_line, savepoints, schedule_stands, decision_kept, skipped_on_record,
        pause, place, no_retries, slow_take_over,
    )
}  # fmt: skip
