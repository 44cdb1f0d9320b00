"""Turns of several objects in one transaction; setting the alarms of many objects with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from django.db import Error, transaction

from durable_objects import class_attributes, events, failpoints
from durable_objects.alarms.slot import Slot
from durable_objects.alarms.times import check_alarm_time, moment
from durable_objects.conf import engine
from durable_objects.database import clock, connection, savepoints
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import as_busy, own_statements
from durable_objects.delivery import publisher
from durable_objects.errors import ObjectBusy
from durable_objects.turns import attempts, lock
from durable_objects.turns.commit import Flush
from durable_objects.turns.handle import Handle, Owner, check_has_handler
from durable_objects.turns.turn import Turn

#: Returns the object of this key, content type and name; None for one that is to be left out.
HandleOf = Callable[[int, int, str], Handle | None]

#: Objects per transaction of ``set_alarms``.
MAX_OBJECTS = 1_000

When = datetime | timedelta


def set_alarms(by_name: Callable[[str], Owner], times: Mapping[str, When]) -> None:
    """Set the alarm of each object; see ``ObjectManager.set_alarms``. ``by_name`` returns the handles."""
    wanted = {name: (by_name(name), when) for name, when in sorted(times.items())}
    now = clock.now()
    for handle, when in wanted.values():
        class_attributes.refuse_flaw(type(handle))
        check_has_handler(handle)
        check_alarm_time(when)
        moment(when, now)
    names = list(wanted)
    for start in range(0, len(names), MAX_OBJECTS):
        _set({name: wanted[name] for name in names[start : start + MAX_OBJECTS]})


def _set(wanted: Mapping[str, tuple[Owner, When]]) -> None:
    """Set these alarms in one transaction, which is run again when the database makes it give way."""
    first = next(iter(wanted.values()))[0]
    kind_id = first.kind_pk()  # may ask the database, which must not be the first in the transaction

    def arm(bulk: BulkTransaction) -> None:
        try:
            with bulk:
                _arm(bulk, kind_id, wanted)
        except ObjectBusy as error:
            if busy := lock.as_busy(error, first.key, bulk.limits):
                raise busy from error.__cause__
            raise

    limits = Limits(engine.LOCK_TIMEOUT, first.alarm_time_limit)
    attempts.run(first.key, lambda: BulkTransaction(limits), arm)


def _arm(bulk: BulkTransaction, kind_id: int, wanted: Mapping[str, tuple[Owner, When]]) -> None:
    def handle_of(object_id: int, kind_id: int, name: str) -> Owner:
        return wanted[name][0]

    turns = bulk.make(kind_id, list(wanted), handle_of)
    made = {turn.handle.name for turn in turns}
    if names := [name for name in wanted if name not in made]:
        where = f"kind_id = %s AND name IN ({', '.join(['%s'] * len(names))})"
        turns += bulk.lock(where, [kind_id, *names], handle_of, skip_locked=False)
    for turn in turns:
        bulk.turns.append(turn)
        with turn.running():
            turn.start()
            turn.request_alarm(max(turn.now, moment(wanted[turn.handle.name][1], turn.now)))


class BulkTransaction(AbstractContextManager["BulkTransaction"]):
    """One transaction for turns of several objects; with an error it is undone as a whole.

    The objects are locked in the order of their keys. Each of them is a turn like any other, except that it cannot be
    unlocked and no other object can be called from it: ``must_run_alone`` says that one of them tried.
    """

    def __init__(self, limits: Limits) -> None:
        self.conn = clock.connection()
        self.joins = connection.joins_transaction(self.conn)
        #: What is written out at the end: to be filled with those turns that have started.
        self.turns: list[Turn] = []
        self._flush = Flush()
        self._is_committed = False
        #: None where it joins the caller's transaction; the second until the transaction has begun with them.
        self.limits = self._unsent_limits = None if self.joins else limits
        self._for_run = limits.is_run
        self._atomic = transaction.atomic(using=self.conn.alias)

    @property
    def can_run_again(self) -> bool:
        """Whether all of it is undone when the database makes it give way: no transaction of the caller's is around."""
        return not self.joins

    def __enter__(self) -> Self:
        limit = self._unsent_limits.lock_timeout if self._unsent_limits else None
        with connection.waiting_for(self.conn, limit), own_statements(self.conn):
            self._atomic.__enter__()
        try:
            if self.joins:
                lock.check_isolation(self.conn)
        except BaseException as refused:
            connection.end(self.conn, self._atomic, refused)
            raise
        savepoints.watch(self.conn)
        self._publish_after_commit()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            try:
                if error is None:
                    self._write_out()
            finally:
                savepoints.unwatch(self.conn)
        except BaseException as refused:
            self._end(refused)
            raise
        else:
            self._end(error)
        finally:
            clock.drop_reading(self.conn)

    def lock(self, where: str, params: Sequence[Any], handle_of: HandleOf, *, skip_locked: bool) -> list[Turn]:
        """Return a turn of each object that meets the condition, begun but not started; those that others have locked
        are waited for, or with ``skip_locked`` left out.
        """
        rows = lock.take_several(
            self.conn, where, params, self._unsent_limits, skip_locked=skip_locked, for_run=self._for_run
        )
        return self._turns(rows, handle_of)

    def make(self, kind_id: int, names: Sequence[str], handle_of: HandleOf) -> list[Turn]:
        """Make the rows that are missing; return turns of these, as ``lock`` does, which need no lock."""
        rows = lock.make_several(self.conn, kind_id, names, self._unsent_limits)
        self._unsent_limits = None
        turns = self._turns(rows, handle_of)
        for turn in turns:
            events.object_created(self.conn, turn.handle)
        return turns

    def _turns(self, rows: Sequence[tuple[Slot, datetime, int, str]], handle_of: HandleOf) -> list[Turn]:
        turns = []
        if rows:
            reading = clock.keep_reading(self.conn, min(now for _, now, _, _ in rows))
        for slot, _, kind_id, name in sorted(rows, key=lambda row: row[0].object_id):
            handle = handle_of(slot.object_id, kind_id, name)
            if handle is not None:
                turn = Turn(handle, object_id=slot.object_id)
                turn.adopt(slot, reading)
                turns.append(turn)
        return turns

    def _end(self, error: BaseException | None) -> None:
        try:
            connection.end(self.conn, self._atomic, error)
        except Error as refused:
            busy = None if self._is_committed else as_busy(self.conn, refused)
            if busy is None:
                raise
            raise busy from refused
        finally:
            connection.leave_queue(self.conn)

    def _publish_after_commit(self) -> None:
        """Note the commit, and publish the wake-ups that will be in what is sent: before any hook of the user's."""
        budget = publisher.budget_of(self.conn)

        def committed() -> None:
            self._is_committed = True
            failpoints.reach("turn.after_commit")
            publisher.publish(self._flush.wake_ups, budget)

        self.conn.on_commit(committed, robust=True)

    def _write_out(self) -> None:
        for turn in self.turns:
            turn.hand_over(self._flush)
        failpoints.reach("turn.before_commit")
        outermost = connection.depth(self.conn) == 1
        if self.limits is not None:
            lock.restore_limits(self.conn, self.limits, outermost=outermost)
        self._flush.send(self.conn, commit=not self.joins and outermost)
