"""Many wake-ups in one message: the alarms of classes with ``alarm_groups`` run in one transaction.

When one of them raises, or cannot run with others, the transaction is undone, that one is woken alone, and the others
run again without it. So a group counts no failure and no start: whatever is not plain is left to ``executor``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from durable_objects import class_attributes, kinds
from durable_objects.alarms.slot import Slot
from durable_objects.database import clock, connection
from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import is_connection_lost, trouble, was_session_lost
from durable_objects.delivery import publisher
from durable_objects.errors import InvalidName
from durable_objects.execution import run_outcomes, waiting_line
from durable_objects.execution.firing import WAIT_FOR_LOCK, Firing
from durable_objects.execution.wake_up_admission import WAIT_UNTIL_DUE, Admission, judge
from durable_objects.handler_errors import in_short, is_failure
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject
from durable_objects.turns.bulk import BulkTransaction
from durable_objects.turns.turn import Turn

logger = get_logger(__name__)

#: A transaction that has lasted this long is committed, and the rest of its group goes on in another one: no caller
#: waits much longer than for the slowest of its runs.
SECONDS_PER_TRANSACTION = 0.25

#: After this many runs for which their group was undone, the rest are woken alone.
MOST_UNDONE = 3


class _Undone(Exception):
    """The group is undone because of this object."""

    def __init__(self, object_id: int) -> None:
        super().__init__(object_id)
        self.object_id = object_id


def fire_group(alarms: Iterable[Sequence[int]], time_limit: timedelta) -> int:
    """Run the alarms (pairs of object and wake-up number) that are armed, due, free and wanted; return how many ran.

    The rest of those that are wanted is woken alone: what is locked, leased, retried, fails, or is not to be grouped.
    So is all of it, a second later, when the connection broke; nothing is counted then, as in ``executor.fire``.
    """
    group = _Group(time_limit, {int(object_id): int(wake_up_number) for object_id, wake_up_number in alarms})
    try:
        _run(group)
        group.leave_alone(*group.waiting)
    except BaseException as error:
        put_off = waiting_line.after_lost_connection(error, 0)
        if put_off is None or put_off.delay is None:
            raise
        group.put_off(put_off.delay)
    publisher.publish(group.alone, publisher.Budget())
    return group.ran


def _run(group: _Group) -> None:
    """Run what can run together. Raises the database's error when the connection broke."""
    undone = 0
    while group.waiting and group.is_in_time():
        try:
            with connection.leaving_nothing(clock.connection()):
                group.run_some()
        except _Undone as error:
            why = in_short(error.__cause__)
            logger.info("object %s is woken alone, its group runs without it (%s)", error.object_id, why)
            group.leave_alone(error.object_id)
            undone += 1
            if undone == MOST_UNDONE:
                break
        except BaseException as error:
            if not is_failure(error) or is_connection_lost(clock.connection(), error):
                raise
            logger.warning(
                "a group of %s alarms could not be committed (%s): each is woken alone", group.size, in_short(error)
            )
            break


class _Group:
    """The alarms of one message: those that wait for their run, with their numbers, and those to be woken alone."""

    def __init__(self, time_limit: timedelta, waiting: dict[int, int]) -> None:
        self.time_limit, self.waiting, self.size = time_limit, waiting, len(waiting)
        self.alone: list[publisher.WakeUp] = []
        self.ran = 0
        #: How many the next transaction locks: what its time leaves no run for would be locked for nothing.
        self.at_once = len(waiting)
        self.arrived = clock.monotonic()
        self._classes: dict[int, type[DurableObject] | None] = {}

    def is_in_time(self) -> bool:
        """Return whether the message may still be worked on: the task has a limit of its own."""
        return clock.monotonic() - self.arrived < self.time_limit.total_seconds()

    def leave_alone(self, *object_ids: int) -> None:
        """Wake these by messages of their own."""
        if not object_ids:
            return
        now = clock.now()
        for object_id in object_ids:
            self.alone.append(publisher.WakeUp(object_id, self.waiting.pop(object_id), now, 0, self.time_limit))

    def put_off(self, delay: timedelta) -> None:
        """Wake all that are left by messages of their own, later. Asks nothing of the database, which is away."""
        left = {each.object_id: each.wake_up_number for each in self.alone} | self.waiting
        at = datetime.now(UTC) + delay
        self.alone = [publisher.WakeUp(*each, at, 0, self.time_limit, waits=1) for each in left.items()]

    def run_some(self) -> None:
        """Run, in one transaction, what can run now; drop what is not wanted any more, wait for what is early."""
        decided: set[int] = set()
        odd: set[int] = set()
        paused: list[Turn] = []
        ran, pause, is_out_of_time = 0, WAIT_UNTIL_DUE.total_seconds(), False
        keys = list(self.waiting)[: self.at_once]
        looks_at_all = len(keys) == len(self.waiting)
        with BulkTransaction(Limits(WAIT_FOR_LOCK, self.time_limit, is_run=True)) as bulk:
            begun = clock.monotonic()
            turns = bulk.lock(*backend_of(bulk.conn).among("id", keys), self._handle, skip_locked=True)
            odd.update(set(keys) - {turn.object_id for turn in turns})
            for turn in sorted(turns, key=lambda each: (each.slot.wake_at or each.now, each.object_id)):
                slot, now = turn.slot, turn.now
                admission = judge(slot, now, self.waiting[turn.object_id])
                early = (slot.wake_at or now) - now
                if admission is Admission.UNWANTED:
                    decided.add(turn.object_id)
                elif admission is Admission.PAUSED:
                    slot.set(wake_up_for=None)
                    paused.append(turn)
                    decided.add(turn.object_id)
                elif not _is_plain(slot, admission) or early > WAIT_UNTIL_DUE:
                    odd.add(turn.object_id)
                elif admission is Admission.EARLY:
                    pause = min(pause, early.total_seconds())
                elif bulk.turns and clock.monotonic() - begun >= SECONDS_PER_TRANSACTION:
                    is_out_of_time = True
                else:
                    bulk.turns.append(turn)
                    ran += self._run(turn)
                    decided.add(turn.object_id)
            self.at_once = len(bulk.turns) if is_out_of_time else 2 * self.at_once
            bulk.turns += paused
        self.ran += ran
        for object_id in decided:
            del self.waiting[object_id]
        self.leave_alone(*odd)
        if self.waiting and not decided and looks_at_all:
            time.sleep(pause)

    def _handle(self, object_id: int, kind_id: int, name: str) -> DurableObject | None:
        if kind_id not in self._classes:
            self._classes[kind_id] = _class_of(kind_id)
        model = self._classes[kind_id]
        try:
            return model.by_name(name) if model else None
        except InvalidName:
            return None

    def _run(self, turn: Turn) -> bool:
        handle = turn.handle
        assert isinstance(handle, DurableObject)
        firing = Firing(handle, turn.object_id, self.waiting[turn.object_id], 0, retry_is_sent=False)
        firing.arrived = self.arrived
        run = firing.new_run(turn)
        turn.begin_run(run)
        try:
            with turn.running():
                called = firing.attempt(turn, run)
            turn.refuse_if_broken()
        except BaseException as error:
            if not is_failure(error) or was_session_lost(turn.conn, error) or trouble(error):
                raise
            raise _Undone(turn.object_id) from error
        if turn.must_run_alone or turn.deleted:
            raise _Undone(turn.object_id)
        if called:
            run_outcomes.succeeded(turn, run)
        return called


def _is_plain(slot: Slot, admission: Admission) -> bool:
    """Return whether it may run with others: an alarm, without a lease, a failed run or a start that crashed."""
    wanted = admission in {Admission.RUN, Admission.EARLY} and slot.leased_until is None and not slot.schedule_is_first
    return wanted and not slot.crashed_starts and not slot.retry_count


def _class_of(kind_id: int) -> type[DurableObject] | None:
    """Return the class of these objects; None for one that this code does not have, or whose alarms run alone."""
    model = kinds.class_by_pk(kind_id)
    if model is None or not issubclass(model, DurableObject) or class_attributes.flaw_of(model) is not None:
        return None
    return model if model.alarm_groups else None
