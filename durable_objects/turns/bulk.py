"""Turns of several objects in one transaction, written out and committed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from django.db import Error, transaction

from durable_objects import failpoints
from durable_objects.alarms.slot import Slot
from durable_objects.database import clock, connection, savepoints
from durable_objects.database.errors import as_busy, own_statements
from durable_objects.delivery import publisher
from durable_objects.turns import lock
from durable_objects.turns.commit import Flush
from durable_objects.turns.handle import Handle
from durable_objects.turns.turn import Turn

#: The object of this key, content type and name; None for one that is to be left out.
Making = Callable[[int, int, str], Handle | None]


class Together(AbstractContextManager["Together"]):
    """One transaction for turns of several objects; with an error it is undone as a whole.

    The objects are locked in the order of their keys. Each of them is a turn like any other, except that it cannot be
    unlocked and no other object can be called from it: ``must_run_alone`` says that one of them tried.
    """

    def __init__(self, limits: lock.Limits) -> None:
        self.conn = clock.connection()
        self.joins = connection.joins_transaction(self.conn)
        #: What is written out at the end: to be filled with those turns that have started.
        self.turns: list[Turn] = []
        self._is_committed = False
        self._limits = self._own_limits = None if self.joins else limits
        self._atomic = transaction.atomic(using=self.conn.alias)

    def __enter__(self) -> Self:
        limit = self._limits.lock_timeout if self._limits else None
        with connection.waiting_for(self.conn, limit), own_statements(self.conn):
            self._atomic.__enter__()
        try:
            if self.joins:
                lock.check_isolation(self.conn)
        except BaseException as refused:
            connection.end(self.conn, self._atomic, refused)
            raise
        savepoints.watch(self.conn)
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

    def lock(self, where: str, params: Sequence[Any], making: Making, *, skip_locked: bool) -> list[Turn]:
        """A turn of each object that the condition names, begun but not started; those that others have are waited
        for, or with ``skip_locked`` left out.
        """
        rows = lock.take_several(self.conn, where, params, self._limits, skip_locked=skip_locked)
        return self._turns(rows, making)

    def make(self, kind_id: int, names: Sequence[str], making: Making) -> list[Turn]:
        """Make the rows of those objects that have none; a turn, as by ``lock``, of those that need no lock then."""
        rows = lock.make_several(self.conn, kind_id, names, self._limits)
        self._limits = None
        return self._turns(rows, making)

    def _turns(self, rows: Sequence[tuple[Slot, datetime, int, str]], making: Making) -> list[Turn]:
        turns = []
        if rows:
            reading = clock.keep_reading(self.conn, min(now for _, now, _, _ in rows))
        for slot, _, kind_id, name in sorted(rows, key=lambda row: row[0].object_id):
            handle = making(slot.object_id, kind_id, name)
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
            connection.leave_line(self.conn)

    def _write_out(self) -> None:
        flush, budget = Flush(), publisher.budget_of(self.conn)
        for turn in self.turns:
            turn.hand_over(flush)

        def committed() -> None:
            self._is_committed = True
            failpoints.reach("turn.after_commit")
            publisher.publish(flush.wake_ups, budget)

        self.conn.on_commit(committed, robust=True)
        failpoints.reach("turn.before_commit")
        outermost = connection.depth(self.conn) == 1
        if self._own_limits is not None:
            lock.say_again(self.conn, self._own_limits, outermost=outermost)
        flush.send(self.conn, commit=not self.joins and outermost)
