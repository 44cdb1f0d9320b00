"""The lock on an object's row and the transaction that carries it: acquire, release for ``unlocked()``, reacquire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import events, failpoints
from durable_objects.alarms import backoff, leases
from durable_objects.alarms.run import Run
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import clock, connection, savepoints
from durable_objects.database.backends import backend_of
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import LeftOpen, as_busy, forget_trouble, own_statements, why_broken
from durable_objects.database.savepoints import Savepoints, SentBlock
from durable_objects.delivery import publisher
from durable_objects.errors import CannotUnlock, ObjectBusy, RunSuperseded
from durable_objects.handler_errors import in_short, is_failure
from durable_objects.turns import lock, opened_ahead, read_ahead
from durable_objects.turns.commit import Flush
from durable_objects.turns.handle import Handle, Key, shown
from durable_objects.turns.opened_ahead import Ahead

#: How often a run asks for its object again after ``unlocked()``, where the database refuses at once.
_SECONDS_BETWEEN_TRIES = 1.0


def unlocked_on(conn: BaseDatabaseWrapper) -> dict[Key, LockedTransaction]:
    """Return what is inside ``unlocked()`` on this connection, or could not lock its object again."""
    unlocked: dict[Key, LockedTransaction] = conn.__dict__.setdefault("durable_objects_unlocked", {})
    return unlocked


class LockedTransaction:
    """A transaction in which an object's row is locked: one of its own, or joined to the caller's as a savepoint.

    Released and acquired again it is another transaction, which finds the row by its primary key.
    """

    #: The object's alarm, as read under the lock.
    slot: Slot
    #: The database's clock, as read after the lock.
    reading: clock.Reading
    savepoints: Savepoints
    #: The run of the alarm that it is for: its fence is checked, and it is leased while unlocked.
    run: Run | None = None
    was_unlocked = False
    #: Why the object could not be locked again after ``unlocked()``: raised by every later call.
    lost: Exception | None = None
    #: Whether the database has it all; what is raised after that comes from a hook.
    is_committed = False
    #: What the engine's own statements met in a savepoint that cannot end well, though somebody may have caught it.
    trouble: ObjectBusy | None = None

    def __init__(
        self, handle: Handle, object_id: int | None, lock_timeout: timedelta | None, *, is_for_handler: bool = False
    ) -> None:
        """Prepare for the object of this handle; with ``object_id`` its row must be there, else it may be made.

        A ``lock_timeout`` says that it is for a run of the alarm; ``is_for_handler``, that nothing is written before
        ``savepoint``, so that this one comes with the lock.
        """
        self.key = handle.key
        self.conn = clock.connection()
        #: Whether its transaction has begun already.
        self._is_ahead = opened_ahead.is_for(self.conn, object_id if is_for_handler else None)
        self.joins = not self._is_ahead and connection.joins_transaction(self.conn)
        self._handle = handle
        self._object_id = object_id
        self._lock_timeout = lock_timeout
        self._sends_savepoint = is_for_handler and backend_of(self.conn).takes_several_statements
        #: Whether the savepoint that came with the lock is to be entered, and to be released by the next message.
        self._is_sent = self._is_to_be_released = False
        self._atomics: list[transaction.Atomic] = []
        self._watches = False
        #: What of this object was unlocked when this was.
        self._around: LockedTransaction | None = None
        #: How many ``atomic()`` blocks, and how many savepoints, are open around this transaction.
        self._blocks_around = self._savepoints_around = 0

    @property
    def is_open(self) -> bool:
        """Whether the row is locked by it."""
        return bool(self._atomics)

    @property
    def limits(self) -> Limits | None:
        """The limits of a transaction of its own; None where it joins the caller's."""
        if self.joins:
            return None
        timeout, time_limit = self._lock_timeout or engine.LOCK_TIMEOUT, self._handle.alarm_time_limit
        return Limits(timeout, time_limit, is_run=self._lock_timeout is not None)

    def prepare(self) -> lock.Whose:
        """Note what is open around it; return which row to lock. May ask for the class's key, so before BEGIN."""
        self._blocks_around = 0 if self._is_ahead else connection.depth(self.conn)
        return lock.Whose(self._handle.kind_pk(), self._handle.name, self._object_id)

    def acquire(self, whose: lock.Whose, wanted: read_ahead.Wanted, *, check_isolation: bool) -> read_ahead.Read:
        """Begin, lock the row, read slot, clock and what is wanted in one round trip. Raises ``ObjectBusy``,
        ``IsolationNotSupported``, ``RunSuperseded``; whatever it raises, ``close`` is to be called.
        """
        self.is_committed = False
        forget_trouble(self.conn)
        ahead = opened_ahead.take(self.conn) if self._is_ahead else None
        self._is_ahead = False
        if ahead is not None:
            self._atomics.append(ahead.block)
        else:
            with connection.waiting_for(self.conn, self._lock_timeout), own_statements(self.conn):
                self._push()
        if check_isolation:
            lock.check_isolation(self.conn)
        self.savepoints = savepoints.watch(self.conn)
        self._watches, self._savepoints_around = True, self.savepoints.enter()
        self._asked = lock.Asked(self.limits, wanted, self._lock_timeout is not None, self._sends_savepoint)
        taken = lock.take(self.conn, whose, self._asked, ahead.answered if ahead else None)
        self._is_sent, self._is_to_be_released = self._sends_savepoint, False
        self.slot, self._object_id = taken.slot, taken.slot.object_id
        self.reading = clock.keep_reading(self.conn, taken.now)
        if whose.name is None:
            self._handle.name = taken.name
            self.key = self._handle.key
        self._check_fence()
        self._publish_after_commit()
        if taken.is_new:
            events.object_created(self.conn, self._handle)
        return taken.read

    def _publish_after_commit(self) -> None:
        """Note the commit, and publish the wake-ups that will be in what is sent: before any hook of the user's."""
        wake_ups: list[publisher.WakeUp] = []
        budget = publisher.budget_of(self.conn)

        def committed() -> None:
            self.is_committed = True
            failpoints.reach("turn.after_commit")
            publisher.publish(wake_ups, budget)

        self._wake_ups = wake_ups
        self.conn.on_commit(committed, robust=True)  # kept there only: a cycle would make work for Python's collector

    def adopt(self, slot: Slot, reading: clock.Reading) -> None:
        """Stand for a part of a transaction that somebody else has opened and ends, with the row locked."""
        self.joins, self.slot, self.reading, self._object_id = False, slot, reading, slot.object_id
        self.savepoints = savepoints.of(self.conn)
        self._blocks_around, self._savepoints_around = connection.depth(self.conn), len(self.savepoints.open)

    def send(self, flush: Flush, next_object: Callable[[], int | None] | None = None) -> None:
        """Store these changes, with the commit where that is next; publish their wake-ups after it.

        Where nothing is to be done after the commit, the same message opens the transaction of the run that follows: of
        ``next_object``, if there is one, which is of the same class. It waits for nobody who has that locked.
        """
        self._wake_ups += flush.wake_ups
        if (limits := self._asked.limits) is not None:
            lock.restore_limits(self.conn, limits, outermost=self._blocks_around == 0)
        commits = not self.joins and len(self._atomics) == 1 == connection.depth(self.conn)
        before = [savepoints.RELEASING] if self._is_to_be_released else []
        self._is_to_be_released = False
        following = next_object() if next_object and commits and self._is_followed_at_once() else None
        if following is None:
            flush.send(self.conn, before, commit=commits)
            return
        whose = lock.Whose(self._handle.kind_pk(), None, following)
        opening = lock.opening(self.conn, whose, self._asked, skip_locked=True)
        then = [statement for part in opening for statement in part]
        results = flush.send(self.conn, before, commit=True, then=then, typed=len(self._asked.wanted.models))
        if (answered := lock.Answered(opening, results)).has_locked:
            opened_ahead.keep(self.conn, Ahead(following, self._atomics.pop(), answered))
            hooks, self.conn.run_on_commit = self.conn.run_on_commit, []
            for hook in hooks:  # its own
                hook[1]()

    def _is_followed_at_once(self) -> bool:
        """Return whether another transaction may begin as soon as this one is committed: nobody is called before that,
        and it finds the session as new.
        """
        has_hooks = len(self.conn.run_on_commit) > 1  # its own publishes the wake-ups
        is_as_new = not self.conn.__dict__.get(connection.LASTING)
        sends_span = engine.TRACING  # when the turn has ended, by an exporter that may take its time
        return self._sends_savepoint and is_as_new and not has_hooks and not self._wake_ups and not sends_span

    def close(self, error: BaseException | None) -> None:
        """End the transaction: commit, or with an error roll back. Raises when the commit is refused."""
        if self._watches:
            self._watches = False
            self.savepoints.leave(self._savepoints_around)
            savepoints.unwatch(self.conn)
        failure: BaseException | None = None
        while self._atomics:
            try:
                self._pop(error if failure is None else failure)
            except BaseException as refused:  # noqa: BLE001  the commit failed: what is around it must roll back
                failure = refused
        connection.leave_queue(self.conn)
        if isinstance(failure, Error) and not self.is_committed and (busy := as_busy(self.conn, failure)):
            raise busy from failure
        if failure is not None:
            raise failure

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Open a savepoint that can be left and entered again by ``unlocked()``: a handler runs in it."""
        self._push_savepoint()
        try:
            yield
            self.refuse_if_broken()
        except BaseException as error:
            self.trouble = why_broken(self.conn)
            if len(self._atomics) > 1:
                self._pop(error)
            raise
        self._pop(None)

    def refuse_if_lost(self) -> None:
        """Raise again what took the object away: catching it once does not give it back."""
        if self.lost is not None:
            raise self.lost

    def refuse_if_broken(self) -> None:
        """Refuse to end well what Django would roll back without a word: an error of the database was swallowed."""
        self.refuse_if_lost()
        savepoints.check_not_ended(self.conn)
        self.conn.validate_no_broken_transaction()

    def has_blocks_inside(self, level: int = 1) -> bool:
        """Return whether ``atomic()`` blocks or savepoints are open in it, beyond the first ``level`` of its own."""
        if connection.depth(self.conn) > self._blocks_around + level:
            return True
        return len(self.savepoints.open) - self._savepoints_around > level - 1

    def check_can_unlock(self) -> None:
        """Raise ``CannotUnlock`` where a block inside of it would stay open."""
        if self.has_blocks_inside(len(self._atomics)):
            raise CannotUnlock(
                f"{shown(self.key)}: unlocked() inside storage.transaction(), atomic() or a savepoint, "
                "which could not be undone any more. Leave that block first, or release the savepoint."
            )

    @contextmanager
    def unlocked(
        self, release: Callable[[], None], acquire: Callable[[], None], resume: Callable[[], None]
    ) -> Iterator[None]:
        """Leave the lock to others while the block lasts; a run is leased meanwhile.

        ``release`` writes out and closes; afterwards ``acquire`` opens again, and ``resume`` is called. Raises
        ``RunSuperseded`` when another run has taken over.
        """
        level = len(self._atomics)
        self._around = unlocked_on(self.conn).get(self.key)
        self._release(release)
        self.was_unlocked = True
        failpoints.reach("turn.unlocked")
        try:
            if self.run is not None:
                leases.keep(self.run)
                self.run.has_let_go()
            connection.return_to_pool(self.conn)
            yield
        except BaseException as error:
            if is_failure(error):
                self._reacquire(acquire, level)
                resume()
            else:  # whoever waits for the process to end does not wait for a lock
                self.lost = RunSuperseded(f"{shown(self.key)}: interrupted while unlocked, by {in_short(error)}")
            raise
        finally:
            if self.run is not None:
                leases.drop(self.run)
        self._reacquire(acquire, level)
        resume()

    def _release(self, release: Callable[[], None]) -> None:
        """Commit with a lease. When that raises, the object is lost to this turn, also where somebody catches it."""
        run = self.run
        before = None if run is None else (run.fence, run.leased)
        if run is not None:
            self.slot.lease(self.reading.now(), run.generation)
            run.fence, run.leased = self.slot.fence, True
        try:
            self.refuse_if_broken()
            while len(self._atomics) > 1:  # nothing is open in them: so the commit can go with the write-out
                self._pop(None)
            release()
        except BaseException as error:
            if run is not None and before is not None and not self.is_committed:
                run.fence, run.leased = before
            self.lost = LeftOpen(f"{shown(self.key)}: unlocked() was refused: {in_short(error)}")
            raise
        finally:
            unlocked_on(self.conn)[self.key] = self

    def _reacquire(self, acquire: Callable[[], None], level: int) -> None:
        try:
            connection.check_as_before(self.conn, self._blocks_around)
        except LeftOpen as error:
            self.lost = error
            raise
        connection.reconnect_if_gone(self.conn)
        waits = 0
        try:
            while not self._atomics:
                if self.run is not None:
                    waits += 1  # in line as a wake-up that was turned away, since others come meanwhile
                    self._lock_timeout = backoff.patience(waits, engine.LOCK_TIMEOUT)
                self._try(acquire)
        except Exception as error:
            self.lost = self.lost or error
            raise
        while len(self._atomics) < level:
            self._push_savepoint()
        self.end_unlocked()
        failpoints.reach("turn.locked_again")

    def _try(self, acquire: Callable[[], None]) -> None:
        begun = clock.monotonic()
        try:
            acquire()
        except ObjectBusy:
            if self.run is None:
                raise
            self.run.check_time()
            time.sleep(max(0.0, begun + _SECONDS_BETWEEN_TRIES - clock.monotonic()))

    def end_unlocked(self) -> None:
        """Stop refusing a runner that lost its object: the turn is over, or has the object again."""
        unlocked = unlocked_on(self.conn)
        if unlocked.get(self.key) is self:
            del unlocked[self.key]
            if self._around is not None:
                unlocked[self.key] = self._around

    def _check_fence(self) -> None:
        """Refuse a runner whose lease was taken over, in its own turn and in those it opens while unlocked."""
        outer: LockedTransaction | None = self if self.was_unlocked else unlocked_on(self.conn).get(self.key)
        while outer is not None and outer.run is None:
            outer = outer._around  # a call that unlocked inside of the run's own block
        if outer is not None and outer.run is not None and outer.run.fence != self.slot.fence:
            outer.lost = RunSuperseded(
                f"{shown(self.key)}: another run has taken over (fence {self.slot.fence}, this run's "
                f"was {outer.run.fence}). Stop here: nothing of this run counts any more."
            )
            raise outer.lost

    def _push(self, block: transaction.Atomic | None = None) -> None:
        block = block or transaction.atomic(using=self.conn.alias)
        block.__enter__()
        self._atomics.append(block)

    def _push_savepoint(self) -> None:
        sent, self._is_sent = self._is_sent, False
        self._push(SentBlock(self.conn) if sent else None)

    def _pop(self, error: BaseException | None) -> None:
        block = self._atomics.pop()
        connection.end(self.conn, block, error)
        self._is_to_be_released = isinstance(block, SentBlock) and error is None
