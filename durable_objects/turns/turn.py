"""A turn: the lock on one object, one transaction, ``initialize()``, the code, the write-out, the commit.

Open turns are kept per database connection, never on an instance: a call on the same object inside its turn joins it,
by whatever instance, and an instance may be shared by threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from django.db import models
from django.db import transaction as django_transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import failpoints, tracing
from durable_objects.alarms import history, schedules
from durable_objects.alarms.run import RequestedAlarm, Run
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.alarms.slot import Slot
from durable_objects.database import clock, connection
from durable_objects.delivery import publisher
from durable_objects.entries import sql as entry_sql
from durable_objects.errors import CannotUnlock, DurableObjectError, ObjectBusy, RunSuperseded
from durable_objects.plain_functions import check_answer
from durable_objects.turns import lock, read_ahead, schedule_changes
from durable_objects.turns.commit import Flush
from durable_objects.turns.handle import Handle, Key, shown
from durable_objects.turns.instances import Instances
from durable_objects.turns.transaction import LockedTransaction
from durable_objects.turns.write_buffer import WriteBuffer


def open_turns(conn: BaseDatabaseWrapper) -> dict[Key, Turn]:
    """Return the turns that are open on this connection, whose objects it has locked."""
    turns: dict[Key, Turn] = conn.__dict__.setdefault("durable_objects_open_turns", {})
    return turns


class Turn:
    """One turn, as a context manager: what is written is buffered, and stored only if the block ends well."""

    object_id: int
    #: The object's alarm as read under the lock.
    slot: Slot
    initializing = False
    next_object: Callable[[], int | None] | None = None  # see ``LockedTransaction.send``

    def __init__(
        self,
        handle: Handle,
        *,
        object_id: int | None = None,
        lock_timeout: timedelta | None = None,
        is_for_handler: bool = False,
    ) -> None:
        """Prepare for this object. With ``object_id`` its row must be there, else ``RunSuperseded``; without, it is
        made when missing. ``lock_timeout`` and ``is_for_handler`` are those of ``LockedTransaction``.
        """
        self.handle, self.key = handle, handle.key
        #: Other calls or runs are in this transaction too; what cannot be done there asks to be run again alone.
        self.is_shared = self.must_run_alone = False
        self._transaction = LockedTransaction(handle, object_id, lock_timeout, is_for_handler=is_for_handler)
        self.conn = self._transaction.conn
        self.instances = Instances(handle)

    def __enter__(self) -> Self:
        self._span = tracing.begin_turn(self.key)
        if not self.is_locked:
            try:
                self.open()
            except BaseException as error:
                tracing.end(self._span, error)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._end(error)
        except BaseException as failure:
            tracing.end(self._span, failure)
            raise
        tracing.end(self._span, error)

    def _end(self, error: BaseException | None) -> None:
        try:
            if error is None:
                self._write_out(before_sending=lambda: failpoints.reach("turn.before_commit"))
        except BaseException as failure:
            self._close(failure)
            raise
        else:
            self._close(error)
        finally:
            self._transaction.end_unlocked()

    # -- the lock and the transaction

    @property
    def is_locked(self) -> bool:
        """Whether the object is locked: not so when ``unlocked()`` could not lock it again."""
        return self._transaction.is_open

    @property
    def is_committed(self) -> bool:
        """Whether the database has it all; what is raised after that comes from a hook."""
        return self._transaction.is_committed

    @property
    def can_run_again(self) -> bool:
        """Whether all of it is undone when the database makes it give way: it unlocked nothing, and no transaction
        of the caller's is around it.
        """
        return not self._transaction.joins and not self._transaction.was_unlocked

    @property
    def trouble(self) -> ObjectBusy | None:
        """What the engine's own statements met in a savepoint, though somebody may have caught it."""
        return self._transaction.trouble

    @property
    def now(self) -> datetime:
        """The database's clock, as read after the lock, carried on."""
        return self.reading.now()

    @property
    def run(self) -> Run | None:
        """The run that is in progress in it, of the alarm or of a schedule."""
        return self._transaction.run

    @property
    def lost(self) -> Exception | None:
        """Why the object could not be locked again after ``unlocked()``."""
        return self._transaction.lost

    def open(self) -> None:
        """Begin the transaction, lock the row, read the slot in one round trip. Raises ``ObjectBusy``."""
        for other in open_turns(self.conn).values():
            other.refuse_if_shared()
        whose = self._transaction.prepare()
        wanted = read_ahead.wanted(self.handle.read_ahead, only_keys=not self.is_shared)
        connection.on_a_good_session(self.conn, lambda: self._open(whose, wanted))

    def _open(self, whose: lock.Whose, wanted: read_ahead.Wanted) -> None:
        turns, transaction = open_turns(self.conn), self._transaction
        try:
            read = transaction.acquire(whose, wanted, check_isolation=transaction.joins and not turns)
            self.key = transaction.key  # of one without a name, it is known now
            turns[self.key] = self
            self._begin(read)
        except BaseException as error:
            self._close(error)
            busy = lock.as_busy(error, self.key, transaction.limits)
            if busy is not None:
                raise busy from error.__cause__
            raise

    def adopt(self, slot: Slot, reading: clock.Reading) -> None:
        """Begin as one of several turns in a transaction that somebody else has opened, with the object locked."""
        self._transaction.adopt(slot, reading)
        self.is_shared = True
        self._begin(read_ahead.Read())

    def _begin(self, read: read_ahead.Read) -> None:
        """Start with nothing written."""
        self.slot, self.reading = self._transaction.slot, self._transaction.reading
        self.object_id = self.slot.object_id
        self._rows: dict[type[models.Model], models.Model | tuple[Any, ...] | None] = {**read.rows}
        self._ended: list[dict[str, Any]] = []
        self._buffer = WriteBuffer(self.conn, self.object_id, self._transaction.savepoints, read.texts)
        self.instances.read_fields(self.object_id)

    def _close(self, error: BaseException | None) -> None:
        """End the transaction: commit, or with an error roll back. Raises when the commit is refused."""
        turns = open_turns(self.conn)
        if turns.get(self.key) is self:
            del turns[self.key]
            if not self._transaction.joins:
                connection.warn_if_long(self.conn, self.key, self._transaction.reading.passed())
        if not turns:
            clock.drop_reading(self.conn)
        self._transaction.close(error)

    def savepoint(self) -> AbstractContextManager[None]:
        """Open a savepoint that ``unlocked()`` knows how to leave and enter again: a handler runs in it."""
        return self._transaction.savepoint()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let calls on the object join this turn while the block lasts: for one that was adopted."""
        open_turns(self.conn)[self.key] = self
        try:
            yield
        finally:
            del open_turns(self.conn)[self.key]

    def check(self) -> None:
        """Refuse a runner that was fenced, is over its time, or has deleted its object."""
        transaction = self._transaction
        transaction.refuse_if_lost()
        if self._buffer.deleted:
            raise RunSuperseded(f"{shown(self.key)} was deleted in this turn: it has no storage any more")
        if transaction.run is not None:
            transaction.run.check_time()

    def refuse_if_broken(self) -> None:
        """Refuse to end well what Django would roll back without a word: an error of the database was swallowed."""
        self._transaction.refuse_if_broken()

    def refuse_if_shared(self) -> None:
        """Refuse what a turn with several calls cannot undo for one of them: that call is run again alone."""
        if self.is_shared:
            self.must_run_alone = True
            raise CannotUnlock(f"{shown(self.key)}: not in a turn that other calls share; run again alone")

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Commit what is done so far, release the lock, lock the object again after the block, and ``initialize()``."""
        self.refuse_if_shared()
        if self._transaction.joins or len(open_turns(self.conn)) > 1:
            raise CannotUnlock(
                f"{shown(self.key)}: unlocked() inside a transaction of the caller or a turn of another "
                "object, which would stay open. Call the object outside of it."
            )
        self._transaction.check_can_unlock()
        with self._transaction.unlocked(self._release, self.open, self.start):
            yield

    def _release(self) -> None:
        self._write_out()
        self._close(None)

    # -- the code in it

    def start(self) -> None:
        """Run the object's ``initialize()``."""
        self._refresh_fields()
        self.initializing = True
        try:
            check_answer(self.handle.initialize(), type(self.handle), "initialize")  # type: ignore[func-returns-value]  # it may
        finally:
            self.initializing = False
        if not self.slot.stored and self.handle.declared_schedules:
            schedule_changes.reconcile(self, self.handle.declared_schedules)

    def run_call(self, handle: Handle, call: Callable[[], Any]) -> Any:
        """Run one of several calls in this turn: own instance, own ``initialize()``, undone by itself if it raises."""
        self.handle = handle
        self.admit(handle)
        hooks = len(self.conn.run_on_commit)
        try:
            with self._buffer.separate_layer():
                self.start()
                return call()
        except BaseException:
            del self.conn.run_on_commit[hooks:]
            raise

    def admit(self, handle: Handle) -> None:
        """Let another instance of the object join: it learns its key and reads its own fields."""
        self._refresh_fields()
        self.instances.admit(handle, self.object_id)

    def saved(self, handle: Handle) -> None:
        """Give own fields that this instance has stored to the others; again when a savepoint is undone."""
        self._buffer.top().saved = True
        self.instances.saved(handle)

    def _refresh_fields(self) -> None:
        if self._buffer.take_undone_save() or self.instances.are_stale:
            self.instances.read_fields(self.object_id)

    # -- the run of its alarm

    def begin_run(self, run: Run) -> None:
        """Count what is asked from now on as the handler's: its requested alarm is decided on when the run ends."""
        self._transaction.run = run

    def end_run(self) -> None:
        """Count what is asked from now on as anybody's."""
        self._transaction.run = None

    def fence_off(self, run: Run) -> None:
        """Refuse whatever this run, which goes on elsewhere, still does."""
        self.slot.set(fence=run.fence + 1)

    def record(self, run: Run, outcome: str, error: str = "") -> None:
        """Write down how the run ended, with what else this turn stores."""
        self._ended.append(history.row_of(run, outcome, self.now, error))

    def request_alarm(self, at: datetime | None) -> None:
        """Set (or with None delete) the alarm, as of the end of this turn."""
        self._buffer.top().requested_alarm = RequestedAlarm(at, self.slot.generation, tracing.current())

    @property
    def requested_alarm(self) -> RequestedAlarm | None:
        """What was asked of the alarm last, since the object was locked."""
        return self._buffer.requested_alarm

    def take_requested_alarm(self) -> RequestedAlarm | None:
        """Forget what was asked of the alarm since the object was locked; return that, or what its run asked before."""
        return self._buffer.take_requested_alarm() or (self.run.requested_alarm if self.run else None)

    def alarm(self) -> datetime | None:
        """Return what ``get_alarm`` answers in this turn (DO-13 … DO-18)."""
        own = self._buffer.requested_alarm or (self.run.requested_alarm if self.run else None)
        if own and own.generation == self.slot.generation:
            return own.at
        if self.run is not None and self.slot.generation == self.run.generation:
            return self.slot.scheduled_at if self.initializing else None
        return self.slot.pending(self.now)

    def schedules(self) -> dict[str, ScheduledCall]:
        """Return the object's schedules by name, as this turn sees them."""
        return self._buffer.schedules()

    def change_schedule(self, name: str, call: ScheduledCall | None) -> None:
        """Store the schedule, None for none, when the turn ends well."""
        self._buffer.change_schedule(name, call)

    # -- entries and rows

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the texts under the keys, as this turn sees them."""
        return self._buffer.get(keys)

    def scan(self, where: entry_sql.Range, limit: int | None) -> dict[str, str]:
        """Return the entries in the range in key order, as this turn sees them."""
        return self._buffer.scan(where, limit)

    def write(self, texts: Mapping[str, str | None]) -> None:
        """Store these texts, None for what is to be deleted, when the turn ends well."""
        self._buffer.top().writes.update(texts)

    def clear(self) -> None:
        """Delete all entries when the turn ends well."""
        self._buffer.top().clear()

    @property
    def deleted(self) -> bool:
        """Whether the object was deleted in this turn, and that was not undone."""
        return self._buffer.deleted

    @contextmanager
    def deleting(self) -> Iterator[None]:
        """Take the object for deleted from this block on: nothing is written out, unless the block raises."""
        with django_transaction.atomic(using=self.conn.alias):
            layer = self._buffer.top()
            layer.deleted = layer.saved = True  # an instance that was deleted knows its key no more, until it is undone
            yield

    def row_of(self, model: type[models.Model]) -> tuple[bool, models.Model | None]:
        """Return whether the object's row of this model was read with the lock, and that row."""
        row = self._rows.get(model)
        if isinstance(row, tuple):
            row = self._rows[model] = read_ahead.instance(self.conn, model, row)
        return model in self._rows, row

    def begin_bulk_delete(self) -> None:
        """Forget what was read of the entries, which are about to be deleted in the database past the buffered writes.

        Raises ``DurableObjectError`` inside a savepoint: its rollback would bring back what this turn has seen go.
        """
        self.refuse_if_shared()
        if self._transaction.has_blocks_inside():
            raise DurableObjectError(
                f"{shown(self.key)}: entries cannot be swept inside storage.transaction(), atomic() or an alarm() that "
                "keeps its object locked. Sweep outside of it, or in `with self.unlocked():`."
            )
        self._buffer.forget_read()

    def _write_out(self, before_sending: Callable[[], None] = lambda: None) -> None:
        """Store entries, slot and history: at most one DELETE, and one INSERT … ON CONFLICT into each table."""
        flush = Flush()
        self.hand_over(flush)
        before_sending()
        self._transaction.send(flush, self.next_object)

    def hand_over(self, flush: Flush) -> None:
        """Add what is buffered to ``flush``, which is about to be sent."""
        self.refuse_if_broken()
        layer = self._buffer.merged()
        if layer.deleted:
            return
        if layer.writes or layer.cleared:
            flush.changes.append(entry_sql.Change(self.object_id, layer.writes, layer.cleared))
        requested = self.take_requested_alarm()
        if self.run is not None:
            self.run.requested_alarm = requested  # decided when the run ends
        elif requested is not None:
            self.slot.apply(requested.at, requested.trace)
        if layer.schedules:
            flush.schedules[self.object_id, self.slot.kind_id] = layer.schedules
            self.slot.set(schedule_due_at=schedules.first_due(self.schedules()))
        sends_wake_up = self.is_shared or publisher.has_capacity(self.conn)
        flush.store(self.slot, self.handle, self.now, sends_wake_up=sends_wake_up)
        flush.runs += self._ended
