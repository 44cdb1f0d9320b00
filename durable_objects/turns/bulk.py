"""Turns of several objects in one transaction; setting the alarms of many objects with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from django.db import Error, transaction

from durable_objects import class_attributes, events, failpoints, tracing
from durable_objects.alarms.declarations import declarations_of
from durable_objects.alarms.slot import Slot
from durable_objects.alarms.sql import OF_KIND
from durable_objects.alarms.times import alarm_at, check_alarm_time, moment
from durable_objects.conf import engine
from durable_objects.database import clock, connection, savepoints
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import as_busy, own_statements
from durable_objects.delivery import publisher
from durable_objects.errors import InvalidInput, ObjectBusy
from durable_objects.turns import attempts, calls, lock
from durable_objects.turns.commit import Flush
from durable_objects.turns.handle import Handle, Owner, check_has_handler
from durable_objects.turns.lock import Locked
from durable_objects.turns.subclass_fields import own_fields
from durable_objects.turns.transaction import unlocked_on
from durable_objects.turns.turn import Turn, open_turns
from durable_objects.validation import check_name

#: Returns the object of this key, content type and name; None for one that is to be left out.
HandleOf = Callable[[int, int, str], Handle | None]

#: Objects per transaction of ``set_alarms``.
MAX_OBJECTS = 1_000

When = datetime | timedelta


def set_alarms(by_name: Callable[[str], Owner], times: Mapping[str, When]) -> None:
    """Set the alarm of each object; see ``ObjectManager.set_alarms``. ``by_name`` returns the handles."""
    if not isinstance(times, Mapping):  # an iterator would be empty when it is looked at again
        raise InvalidInput(f"set_alarms() wants a dict of names to times, got a {type(times).__name__}")
    for name in times:
        check_name(name)
    names = sorted(times)
    if not names:
        return
    owner, now = by_name(names[0]), clock.now()
    class_attributes.refuse_flaw(type(owner))
    check_has_handler(owner)
    for when in times.values():
        check_alarm_time(when)
        moment(when, now)
    joined = _joined(by_name, names)
    others = [name for name in names if name not in joined]
    for start in range(0, len(others), MAX_OBJECTS):
        _set(owner, by_name, {name: times[name] for name in others[start : start + MAX_OBJECTS]})
    for name, turn in joined.items():
        turn.request_alarm(alarm_at(times[name], turn.now))


def _joined(by_name: Callable[[str], Owner], names: Sequence[str]) -> dict[str, Turn]:
    """Return the open turns on objects of these names: a call on such an object joins its turn."""
    conn = clock.connection()
    if not (open_turns(conn) or unlocked_on(conn)):
        return {}
    return {name: turn for name in names if (turn := calls.current(by_name(name))) is not None}


def _set(owner: Owner, by_name: Callable[[str], Owner], times: Mapping[str, When]) -> None:
    """Set these alarms in one transaction, which is run again when the database makes it give way."""
    owner.kind_pk()  # may ask the database, which must not be the first in the transaction
    first = by_name(next(iter(times))).key

    def arm(bulk: BulkTransaction) -> None:
        try:
            with bulk:
                _arm(bulk, owner, by_name, times)
        except ObjectBusy as error:
            if busy := lock.as_busy(error, first, bulk.limits, number=len(times)):
                raise busy from error.__cause__
            raise

    limits = Limits(engine.LOCK_TIMEOUT, owner.alarm_time_limit)
    attempts.run(first, lambda: BulkTransaction(limits), arm)


def _arm(bulk: BulkTransaction, owner: Owner, by_name: Callable[[str], Owner], times: Mapping[str, When]) -> None:
    rows = _made_or_locked(bulk, owner, by_name, list(times))
    if _is_plain(owner):
        trace = tracing.current()
        for slot, now, _, name in rows:
            slot.arm(alarm_at(times[name], now), trace)
            bulk.store(slot, owner, now)
        return
    for turn in bulk.turns_of(rows, lambda object_id, kind_id, name: by_name(name)):
        bulk.turns.append(turn)
        with turn.running():
            turn.start()
            turn.request_alarm(alarm_at(times[turn.handle.name], turn.now))


def _made_or_locked(
    bulk: BulkTransaction, owner: Owner, by_name: Callable[[str], Owner], names: Sequence[str]
) -> list[Locked]:
    """Return the rows of the objects of these names: made, or locked where they are there."""
    rows: list[Locked] = []
    while names:  # again for those that were there, and were deleted before they could be locked
        made = bulk.make(owner.kind_pk(), names)
        events.objects_created(bulk.conn, type(owner), (by_name(row.name) for row in made))
        rows += made
        if names := _without(names, made):
            where = f"{OF_KIND} AND name IN ({', '.join(['%s'] * len(names))})"
            locked = bulk.locked(where, [owner.kind_pk(), *names], skip_locked=False)
            rows += locked
            names = _without(names, locked)
    return rows


def _without(names: Sequence[str], rows: Sequence[Locked]) -> list[str]:
    found = {row.name for row in rows}
    return [name for name in names if name not in found]


def _is_plain(owner: Owner) -> bool:
    """Return whether nothing of its class's begins a turn: then there need not be one where only the alarm is set."""
    model = type(owner)
    return not (owner.has_initialize() or declarations_of(model) or own_fields(model))


class BulkTransaction(AbstractContextManager["BulkTransaction"]):
    """One transaction for turns of several objects; with an error it is undone as a whole.

    The objects are locked in the order of their keys. Each of them is a turn like any other, except that it cannot be
    unlocked and no other object can be called from it: ``must_run_alone`` says that one of them tried.
    """

    def __init__(self, limits: Limits, *, sends_wake_ups: bool = True) -> None:
        self.conn = clock.connection()
        self.joins = connection.joins_transaction(self.conn)
        #: What is written out at the end: to be filled with those turns that have started.
        self.turns: list[Turn] = []
        self._flush = Flush(sends_wake_ups=sends_wake_ups)
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
                for other in open_turns(self.conn).values():
                    other.refuse_if_shared()
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
        return self.turns_of(self.locked(where, params, skip_locked=skip_locked), handle_of)

    def locked(self, where: str, params: Sequence[Any], *, skip_locked: bool) -> list[Locked]:
        """Lock as ``lock`` does; return the rows, for turns or for ``store``."""
        return lock.take_several(
            self.conn, where, params, self._unsent_limits, skip_locked=skip_locked, for_run=self._for_run
        )

    def make(self, kind_id: int, names: Sequence[str]) -> list[Locked]:
        """Make the rows that are missing; return these as ``locked`` does, which need no lock."""
        rows = lock.make_several(self.conn, kind_id, names, self._unsent_limits)
        self._unsent_limits = None
        return rows

    def store(self, slot: Slot, handle: Handle, now: datetime) -> None:
        """Store this slot of a locked row without a turn. ``handle``: any of its class."""
        self._flush.store(slot, handle, now)

    def turns_of(self, rows: Sequence[Locked], handle_of: HandleOf) -> list[Turn]:
        """Return a turn of each of these rows, begun but not started."""
        turns = []
        if rows:
            reading = clock.keep_reading(self.conn, min(row.now for row in rows))
        for slot, _, kind_id, name in sorted(rows, key=lambda row: row.slot.object_id):
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
        with own_statements(self.conn):
            self._flush.copy_new(self.conn)
        self._flush.send(self.conn, commit=not self.joins and outermost)
