"""Having an object: the lock on its row and the transaction around it; letting go of both, having them again.

What is held is kept per database connection, never on an instance: a call on the same object inside its turn joins it,
by whatever instance, and an instance may be shared by threads.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import failpoints
from durable_objects.alarms import leases, retry
from durable_objects.alarms.run import Run
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import clock, connection, savepoints
from durable_objects.database.errors import LeftOpen, as_busy, own_statements, why_broken
from durable_objects.database.savepoints import Savepoints
from durable_objects.errors import CannotUnlock, ObjectBusy, RunSuperseded
from durable_objects.handler_errors import in_short, is_failure
from durable_objects.turns import lock, read_ahead
from durable_objects.turns.handle import Handle, Key

#: How often a run asks for its object again after ``unlocked()``, where the database refuses at once.
_SECONDS_BETWEEN_TRIES = 1.0


def held(conn: BaseDatabaseWrapper) -> dict[Key, Hold]:
    """The objects that this connection has locked."""
    holds: dict[Key, Hold] = conn.__dict__.setdefault("durable_objects_held", {})
    return holds


def let_go(conn: BaseDatabaseWrapper) -> dict[Key, Hold]:
    """The objects that are inside ``unlocked()`` on this connection, or were lost there."""
    holds: dict[Key, Hold] = conn.__dict__.setdefault("durable_objects_let_go", {})
    return holds


class Hold(ABC):
    """One object, locked. ``slot`` is its alarm as read under the lock; ``run`` is set while ``alarm()`` runs."""

    object_id: int
    slot: Slot
    savepoints: Savepoints
    #: Whether the database has it all; what is raised after that comes from a hook.
    is_committed = False

    def __init__(self, handle: Handle, *, object_id: int | None = None, lock_timeout: timedelta | None = None) -> None:
        """With ``object_id`` the row must be there: ``RunSuperseded`` if not. Otherwise it is made when missing."""
        self.handle = handle
        self.conn = clock.connection()
        self.run: Run | None = None
        self.was_unlocked = False
        #: Other calls or runs are in this transaction too; what cannot be done there asks to be run again alone.
        self.is_shared = self.must_run_alone = False
        #: Why the object could not be had again after ``unlocked()``: raised by everything that is asked of it since.
        self.lost: Exception | None = None
        #: What the engine's own statements met in a savepoint that cannot end well, though somebody may have caught it.
        self.trouble: ObjectBusy | None = None
        self.joins = connection.joins_transaction(self.conn)
        self._wanted = object_id
        self._lock_timeout = lock_timeout
        self._atomics: list[transaction.Atomic] = []
        self._around: Hold | None = None
        #: How many savepoints were open when this began.
        self._floor = 0
        self._watches = False

    @abstractmethod
    def begin(self, read: read_ahead.Read) -> None:
        """The object is locked, its slot read, and what came along with it."""

    @abstractmethod
    def start(self) -> None:
        """Run the object's ``initialize()``."""

    @abstractmethod
    def write_out(self) -> None:
        """Store what was held back: the transaction is about to commit."""

    @property
    def is_locked(self) -> bool:
        """Whether the object is had: not so when ``unlocked()`` could not get it back."""
        return bool(self._atomics)

    def refuse_if_lost(self) -> None:
        """Raise again what took the object away: catching it once does not give it back."""
        if self.lost is not None:
            raise self.lost

    def refuse_if_broken(self) -> None:
        """Refuse to end well what Django would roll back without a word: an error of the database was swallowed."""
        self.refuse_if_lost()
        savepoints.check_not_ended(self.conn)
        self.conn.validate_no_broken_transaction()

    def refuse_if_shared(self) -> None:
        """Refuse what a turn with several calls cannot undo for one of them: that call is run again alone."""
        if self.is_shared:
            self.must_run_alone = True
            raise CannotUnlock(f"{self.handle.key}: not in a turn that other calls share; run again alone")

    @property
    def may_commit(self) -> bool:
        """Whether what is written out now is committed next: the transaction is the turn's own, with no savepoint."""
        return not self.joins and len(self._atomics) == 1 == connection.depth(self.conn)

    @property
    def savepoints_inside(self) -> int:
        """How many savepoints have been made in this turn, and are open."""
        return len(self.savepoints.open) - self._floor

    @property
    def now(self) -> datetime:
        """The database's clock, as read after the lock, carried on."""
        return self._clock.now()

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Commit what is done so far, let go of the object, and lock it again afterwards."""
        self._check_can_unlock()
        depth = len(self._atomics)
        self._around = let_go(self.conn).get(self.handle.key)
        self._let_go()
        self.was_unlocked = True
        failpoints.reach("turn.unlocked")
        try:
            if self.run is not None:
                leases.keep(self.run)
            connection.give_back(self.conn)
            yield
        except BaseException as error:
            if is_failure(error):
                self._lock_again(depth)
            else:  # whoever waits for the process to end does not wait for a lock
                self.lost = RunSuperseded(f"{self.handle.key}: interrupted while unlocked, by {in_short(error)}")
            raise
        finally:
            if self.run is not None:
                leases.drop(self.run)
        self._lock_again(depth)

    def _let_go(self) -> None:
        """Commit with a lease. When that raises, the object is lost to this turn, also where somebody catches it."""
        run = self.run
        before = None if run is None else (run.fence, run.leased)
        if run is not None:
            self.slot.lease(self.now, run.generation)
            run.fence, run.leased = self.slot.fence, True
        try:
            self.write_out()
            self.close(None)
        except BaseException as error:
            if run is not None and before is not None and not self.is_committed:
                run.fence, run.leased = before
            self.lost = LeftOpen(f"{self.handle.key}: unlocked() was refused: {in_short(error)}")
            raise
        finally:
            let_go(self.conn)[self.handle.key] = self

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A savepoint that ``unlocked()`` knows how to leave and enter again: a handler runs in it."""
        self._push()
        try:
            yield
            self.refuse_if_broken()
        except BaseException as error:
            self.trouble = why_broken(self.conn)
            if len(self._atomics) > 1:
                self._pop(error)
            raise
        self._pop(None)

    def open(self) -> None:
        """Begin the transaction, lock the row, read the slot in one round trip. Raises ``ObjectBusy``."""
        self._depth = connection.depth(self.conn)
        for other in held(self.conn).values():
            other.refuse_if_shared()
        whose = lock.Whose(self.handle.kind_pk(), self.handle.name, self._wanted)  # which may ask: before BEGIN
        wanted = read_ahead.wanted(self.handle.read_ahead, only_keys=not self.is_shared)
        connection.on_a_good_session(self.conn, lambda: self._open(whose, wanted))

    def _open(self, whose: lock.Whose, wanted: read_ahead.Wanted) -> None:
        try:
            with connection.waiting_for(self.conn, self._lock_timeout), own_statements(self.conn):
                self._push()
            if self.joins and not held(self.conn):
                lock.check_isolation(self.conn)
            self.savepoints = savepoints.watch(self.conn)
            self._watches, self._floor = True, self.savepoints.enter()
            self.slot, read_at, read = lock.take(self.conn, whose, None if self.joins else self._limits(), wanted)
            self.object_id = self.slot.object_id
            self._clock = clock.keep_reading(self.conn, read_at)
            self._check_fence()
            held(self.conn)[self.handle.key] = self
            self.begin(read)
        except BaseException as error:
            self.close(error)
            busy = lock.as_busy(error, self.handle.key)
            if busy is not None:
                raise busy from error.__cause__
            raise

    def close(self, error: BaseException | None) -> None:
        """End the transaction: commit, or with an error roll back. Raises when the commit is refused."""
        if self._watches:
            self._watches = False
            self.savepoints.leave(self._floor)
            savepoints.unwatch(self.conn)
        if held(self.conn).get(self.handle.key) is self:
            del held(self.conn)[self.handle.key]
            if not self.joins:
                connection.complain_if_long(self.conn, self.handle.key, self._clock.passed())
        if not held(self.conn):
            clock.drop_reading(self.conn)
        failure: BaseException | None = None
        while self._atomics:
            try:
                self._pop(error if failure is None else failure)
            except BaseException as refused:  # noqa: BLE001  the commit failed: what is around it must roll back
                failure = refused
        connection.leave_line(self.conn)
        if isinstance(failure, Error) and not self.is_committed and (busy := as_busy(self.conn, failure)):
            raise busy from failure
        if failure is not None:
            raise failure

    def forget(self) -> None:
        """The turn is over: a runner that lost its object is refused no longer."""
        if let_go(self.conn).get(self.handle.key) is self:
            del let_go(self.conn)[self.handle.key]
            if self._around is not None:
                let_go(self.conn)[self.handle.key] = self._around

    def _limits(self) -> lock.Limits:
        timeout, time_limit = self._lock_timeout or engine.LOCK_TIMEOUT, self.handle.alarm_time_limit
        return lock.Limits(timeout, time_limit, is_run=self._lock_timeout is not None)

    def _check_can_unlock(self) -> None:
        self.refuse_if_shared()
        if self.joins or len(held(self.conn)) > 1:
            raise CannotUnlock(
                f"{self.handle.key}: unlocked() inside a transaction of the caller or a turn of another "
                "object, which would stay open. Call the object outside of it."
            )
        own = len(self._atomics)
        if connection.depth(self.conn) > self._depth + own or self.savepoints_inside > own - 1:
            raise CannotUnlock(
                f"{self.handle.key}: unlocked() inside storage.transaction(), atomic() or a savepoint, "
                "which could not be undone any more. Leave that block first, or release the savepoint."
            )

    def _lock_again(self, depth: int) -> None:
        try:
            connection.check_as_before(self.conn, self._depth)
        except LeftOpen as error:
            self.lost = error
            raise
        connection.wake_up(self.conn)
        self._wanted = self.object_id
        waits = 0
        try:
            while not self._atomics:
                if self.run is not None:
                    waits += 1  # in line as a wake-up that was turned away, since others come meanwhile
                    self._lock_timeout = retry.patience(waits, engine.LOCK_TIMEOUT)
                self._try_again()
        except Exception as error:
            self.lost = self.lost or error
            raise
        while len(self._atomics) < depth:
            self._push()
        self.forget()
        failpoints.reach("turn.locked_again")
        self.start()

    def _try_again(self) -> None:
        begun = clock.monotonic()
        try:
            self.open()
        except ObjectBusy:
            if self.run is None:
                raise
            self.run.check_time()
            time.sleep(max(0.0, begun + _SECONDS_BETWEEN_TRIES - clock.monotonic()))

    def _check_fence(self) -> None:
        """A runner whose lease was taken over is refused, in its own turn and in those it opens while unlocked."""
        outer: Hold | None = self if self.was_unlocked else let_go(self.conn).get(self.handle.key)
        while outer is not None and outer.run is None:
            outer = outer._around  # a call that let go inside of the run's own block
        if outer is not None and outer.run is not None and outer.run.fence != self.slot.fence:
            outer.lost = RunSuperseded(
                f"{self.handle.key}: another run has taken over (fence {self.slot.fence}, this run's "
                f"was {outer.run.fence}). Stop here: nothing of this run counts any more."
            )
            raise outer.lost

    def _push(self) -> None:
        atomic = transaction.atomic(using=self.conn.alias)
        atomic.__enter__()
        self._atomics.append(atomic)

    def _pop(self, error: BaseException | None) -> None:
        connection.end(self.conn, self._atomics.pop(), error)
