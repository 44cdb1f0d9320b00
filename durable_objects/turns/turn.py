"""A turn: the lock on one object, one transaction, ``initialize()``, the code, the write-out, the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

from django.db import models, transaction

from durable_objects import failpoints
from durable_objects.alarms import history
from durable_objects.alarms.run import RequestedAlarm, Run
from durable_objects.alarms.slot import Slot
from durable_objects.database import clock, connection, savepoints
from durable_objects.delivery import publisher
from durable_objects.entries import sql as entry_sql
from durable_objects.errors import DurableObjectError, RunSuperseded
from durable_objects.plain_functions import check_answer
from durable_objects.turns import lock, read_ahead
from durable_objects.turns.commit import Flush
from durable_objects.turns.handle import Handle
from durable_objects.turns.transaction import Hold, held, let_go
from durable_objects.turns.write_buffer import Layers


def current(handle: Handle) -> Turn | None:
    """The open turn on this object in this thread. Raises ``RunSuperseded`` for a runner that was fenced."""
    conn, key = clock.connection(), handle.key
    outer = let_go(conn).get(key)
    if outer is not None:
        outer.refuse_if_lost()
    turn = cast("Turn | None", held(conn).get(key))
    if turn is not None:
        turn.check()
    return turn


@contextmanager
def enter(handle: Handle) -> Iterator[Turn]:
    """Join the open turn on this object, or open one."""
    joined = current(handle)
    if joined is not None:
        joined.admit(handle)
        yield joined
    else:
        with Turn(handle) as turn:
            turn.start()
            yield turn


def fall_behind() -> None:
    """Own fields were changed past the instances: those in open turns read theirs again at the next call."""
    for each in held(clock.connection()).values():
        cast("Turn", each).is_behind = True


class Turn(Hold):
    """One turn, as a context manager: what is written is held back, and stored only if the block ends well."""

    initializing = False
    #: Whether the object's own fields were changed past its instances.
    is_behind = False

    def __init__(self, handle: Handle, *, object_id: int | None = None, lock_timeout: timedelta | None = None) -> None:
        super().__init__(handle, object_id=object_id, lock_timeout=lock_timeout)
        #: The instances of the object that have come into this turn.
        self._admitted: dict[int, Handle] = {}

    def __enter__(self) -> Self:
        if not self.is_locked:
            self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if error is None:
                self.write_out(before_sending=lambda: failpoints.reach("turn.before_commit"))
        except BaseException as failure:
            self.close(failure)
            raise
        else:
            self.close(error)
        finally:
            self.forget()

    def begin(self, read: read_ahead.Read) -> None:
        """Start with nothing written; what is rung for is sent after the commit."""
        wake_ups: list[publisher.WakeUp] = []
        budget = publisher.budget_of(self.conn)

        def committed() -> None:
            self.is_committed = True
            failpoints.reach("turn.after_commit")
            publisher.publish(wake_ups, budget)

        self._cache: dict[str, str | None] = read.texts
        self._rows: dict[type[models.Model], models.Model | tuple[Any, ...] | None] = {**read.rows}
        self._wake_ups = wake_ups
        self._ended: list[dict[str, Any]] = []
        self.conn.on_commit(committed, robust=True)
        self.layers = Layers(self.savepoints)
        self._admitted = {id(self.handle): self.handle, **self._admitted}
        self._read_again()

    def adopt(self, slot: Slot, reading: clock.Reading) -> None:
        """Begin as one of several turns in a transaction that somebody else has opened, with the object locked."""
        self.slot, self.object_id, self._clock = slot, slot.object_id, reading
        self.joins, self.is_shared = False, True
        self.savepoints = savepoints.of(self.conn)
        self._floor = len(self.savepoints.open)
        self.begin(read_ahead.Read())

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block lasts, calls on the object join this turn: for one that was adopted."""
        held(self.conn)[self.handle.key] = self
        try:
            yield
        finally:
            del held(self.conn)[self.handle.key]

    def start(self) -> None:
        """Run the object's ``initialize()``."""
        self._catch_up()
        self.initializing = True
        try:
            check_answer(self.handle.initialize(), type(self.handle), "initialize")  # type: ignore[func-returns-value]  # it may
        finally:
            self.initializing = False

    def run_apart(self, handle: Handle, call: Callable[[], Any]) -> Any:
        """One of several calls in this turn: an instance and an ``initialize()`` of its own, undone if it raises."""
        self.handle = handle
        self.admit(handle)
        hooks = len(self.conn.run_on_commit)
        try:
            with self.layers.apart():
                self.start()
                return call()
        except BaseException:
            del self.conn.run_on_commit[hooks:]
            raise

    def write_out(self, before_sending: Callable[[], None] = lambda: None) -> None:
        """Store entries, slot and history: at most one DELETE, and one INSERT … ON CONFLICT into each table."""
        flush = Flush()
        self.hand_over(flush)
        self._wake_ups += flush.wake_ups
        before_sending()
        if not self.joins:
            lock.say_again(self.conn, self._limits(), outermost=self._depth == 0)
        flush.send(self.conn, commit=self.may_commit)

    def hand_over(self, flush: Flush) -> None:
        """Give what is held back to ``flush``, which is about to be sent."""
        self.refuse_if_broken()
        layer = self.layers.merged()
        if layer.deleted:
            return
        if layer.writes or layer.cleared:
            flush.changes.append(entry_sql.Change(self.object_id, layer.writes, layer.cleared))
        requested = self.take_requested_alarm()
        if self.run is not None:
            self.run.requested_alarm = requested  # decided when the run ends
        elif requested is not None:
            self.slot.apply(requested.at)
        if self.slot.needs_wake_up(self.now) and self._may_publish():
            self.slot.mark_published(self.now)
            groups, limit = self.handle.alarm_groups, self.handle.alarm_time_limit
            flush.wake_ups.append(publisher.wake_up(self.slot, limit, grouped=groups))
        flush.slots.append(self.slot)
        flush.runs += self._ended

    def _may_publish(self) -> bool:
        """Whether a wake-up sent after the commit would count, and there is room for it."""
        return publisher.can_publish() and (self.is_shared or publisher.has_capacity(self.conn))

    def record(self, run: Run, outcome: str, error: str = "") -> None:
        """Write down how the run ended, with what else this turn stores."""
        self._ended.append(history.row_of(run, outcome, self.now, error))

    def check(self) -> None:
        """Refuse a runner that was fenced, is over its time, or has deleted its object."""
        self.refuse_if_lost()
        if self.deleted:
            raise RunSuperseded(f"{self.handle.key} was deleted in this turn: it has no storage any more")
        if self.run is not None:
            self.run.check_time()

    def admit(self, handle: Handle) -> None:
        """Another instance of the object joins: it learns its key and reads its own fields."""
        self._catch_up()
        if id(handle) not in self._admitted:
            self._admitted[id(handle)] = handle
            handle.admitted(self.object_id)

    def saved(self, handle: Handle) -> None:
        """This instance has stored own fields: the others have them too, and again when a savepoint is undone."""
        self.layers.top().saved = True
        for other in self._admitted.values():
            if other is not handle:
                other.follow(handle, keep_unsaved=True)

    def _catch_up(self) -> None:
        if self.layers.take_undone_save() or self.is_behind:
            self._read_again()

    def _read_again(self) -> None:
        first, *others = self._admitted.values()
        first.admitted(self.object_id)
        for other in others:
            other.follow(first, keep_unsaved=False)
        self.is_behind = False

    @property
    def deleted(self) -> bool:
        """Whether the object was deleted in this turn, and that was not undone."""
        return self.layers.deleted

    @contextmanager
    def deleting(self) -> Iterator[None]:
        """The object is deleted in the block: nothing of this turn is written out, unless the block raises."""
        with transaction.atomic(using=self.conn.alias):
            layer = self.layers.top()
            layer.deleted = layer.saved = True  # an instance that was deleted knows its key no more, until it is undone
            yield

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """The texts under the keys, as this turn sees them."""
        found: dict[str, str | None] = {}
        unknown = []
        for key in keys:
            decided, found[key] = self.layers.find(key)
            if not decided and key in self._cache:
                found[key] = self._cache[key]
            elif not decided:
                unknown.append(key)
        if unknown:
            read = entry_sql.get(self.conn, self.object_id, unknown)
            self._cache.update({key: read.get(key) for key in unknown})
            found.update(read)
        return {key: text for key, text in found.items() if text is not None}

    def row_of(self, model: type[models.Model]) -> tuple[bool, models.Model | None]:
        """Whether the object's row of this model was read with the lock, and that row."""
        row = self._rows.get(model)
        if isinstance(row, tuple):
            row = self._rows[model] = read_ahead.instance(self.conn, model, row)
        return model in self._rows, row

    def scan(self, where: entry_sql.Range, limit: int | None) -> dict[str, str]:
        """The entries in the range in key order, as this turn sees them."""
        layer = self.layers.merged()
        written = {key: text for key, text in layer.writes.items() if key in where}
        found: dict[str, str | None] = {}
        if not layer.cleared:
            # Each held-back delete may hide one row, so that many more are read than asked for.
            gone = sum(text is None for text in written.values())
            found.update(entry_sql.scan(self.conn, self.object_id, where, None if limit is None else limit + gone))
        found.update(written)
        kept = {key: text for key, text in found.items() if text is not None}
        return {key: kept[key] for key in sorted(kept, reverse=where.reverse)[:limit]}

    def reread(self) -> None:
        """Entries are about to change in the database beside this turn's writes: forget what was read of them.

        Raises ``DurableObjectError`` inside a savepoint: its rollback would bring back what this turn has seen go.
        """
        if connection.depth(self.conn) > self._depth + 1 or self.savepoints_inside:
            raise DurableObjectError(
                f"{self.handle.key}: entries cannot be swept inside storage.transaction(), atomic() or an alarm() that "
                "keeps its object locked. Sweep outside of it, or in `with self.unlocked():`."
            )
        self._cache.clear()

    def request_alarm(self, at: datetime | None) -> None:
        """Set (or with None delete) the alarm, as of the end of this turn."""
        self.layers.top().requested_alarm = RequestedAlarm(at, self.slot.generation)

    def alarm(self) -> datetime | None:
        """What ``get_alarm`` answers in this turn (DO-13 … DO-18)."""
        own = self.layers.requested_alarm or (self.run.requested_alarm if self.run else None)
        if own and own.generation == self.slot.generation:
            return own.at
        if self.run is not None and self.slot.generation == self.run.generation:
            return self.slot.scheduled_at if self.initializing else None
        return self.slot.pending(self.now)

    def take_requested_alarm(self) -> RequestedAlarm | None:
        """What was asked of the alarm so far, taken out."""
        return self.layers.take_requested_alarm() or (self.run.requested_alarm if self.run else None)
