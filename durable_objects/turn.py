"""A turn: the lock on one object, one transaction, ``initialize()``, the code, the write-out, the commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self, cast

from durable_objects import alarms, bell, clock, crash, entries
from durable_objects.errors import RunSuperseded
from durable_objects.handle import Handle
from durable_objects.hold import Hold, held, let_go
from durable_objects.layers import Layers
from durable_objects.run import Wish


def current(handle: Handle) -> Turn | None:
    """The open turn on this object in this thread. Raises ``RunSuperseded`` for a runner that was fenced."""
    conn = clock.connection()
    outer = let_go(conn).get(handle.key)
    if outer is not None:
        outer.refuse_if_lost()
    turn = cast("Turn | None", held(conn).get(handle.key))
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


class Turn(Hold):
    """One turn, as a context manager: what is written is held back, and stored only if the block ends well."""

    initializing = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if error is None:
                self.write_out()
                crash.reach("turn.before_commit")
        except BaseException as failure:
            self.close(failure)
            raise
        else:
            self.close(error)
        finally:
            self.forget()

    def begin(self) -> None:
        """Start with nothing read and nothing written; what is rung for is sent after the commit."""
        wake_ups: list[bell.WakeUp] = []

        def committed() -> None:
            crash.reach("turn.after_commit")
            bell.ring(wake_ups)

        self._cache: dict[str, str | None] = {}
        self._wake_ups = wake_ups
        self.layers = Layers(self.conn, committed)
        self._admitted: list[Handle] = []
        self.admit(self.handle)

    def start(self) -> None:
        """Run the object's ``initialize()``."""
        self.initializing = True
        try:
            self.handle.initialize()
        finally:
            self.initializing = False

    def write_out(self) -> None:
        """Store entries and slot: at most one INSERT … ON CONFLICT, one DELETE, one slot update."""
        self.refuse_if_broken()
        layer = self.layers.merged()
        if layer.deleted:
            return
        if layer.writes or layer.cleared:
            entries.write(self.conn, self.object_id, layer.writes, cleared=layer.cleared)
        wish = self.take_wish()
        if self.run is not None:
            self.run.wish = wish  # decided when the run ends
        elif wish is not None:
            alarms.grant(self.slot, wish)
        if bell.can_ring() and alarms.mark_rung(self.slot, self.now):
            self._wake_ups.append(bell.wake_up(self.slot, self.handle.alarm_time_limit))
        alarms.write(self.conn, self.slot)

    def check(self) -> None:
        """Refuse a runner that was fenced, is over its time, or has deleted its object."""
        self.refuse_if_lost()
        if self.deleted:
            raise RunSuperseded(f"{self.handle.key} was deleted in this turn: it has no storage any more")
        if self.run is not None:
            self.run.check_time()

    def admit(self, handle: Handle) -> None:
        """Another instance of the object joins: it learns its key and reads its own fields."""
        if not any(handle is known for known in self._admitted):
            self._admitted.append(handle)
            handle.admitted(self.object_id)

    @property
    def deleted(self) -> bool:
        """Whether the object was deleted in this turn, and that was not undone."""
        return self.layers.merged().deleted

    def discard(self) -> None:
        """The object is being deleted: nothing of this turn is written out."""
        self.layers.top().deleted = True

    def get(self, keys: list[str]) -> dict[str, str]:
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
            read = entries.get(self.conn, self.object_id, unknown)
            self._cache.update({key: read.get(key) for key in unknown})
            found.update(read)
        return {key: text for key, text in found.items() if text is not None}

    def scan(self, where: entries.Range, limit: int | None) -> dict[str, str]:
        """The entries in the range in key order, as this turn sees them."""
        layer = self.layers.merged()
        written = {key: text for key, text in layer.writes.items() if key in where}
        found: dict[str, str | None] = {}
        if not layer.cleared:
            # Each held-back delete may hide one row, so that many more are read than asked for.
            gone = sum(text is None for text in written.values())
            found.update(entries.scan(self.conn, self.object_id, where, None if limit is None else limit + gone))
        found.update(written)
        kept = {key: text for key, text in found.items() if text is not None}
        return {key: kept[key] for key in sorted(kept, reverse=where.reverse)[:limit]}

    def wish(self, at: datetime | None) -> None:
        """Set (or with None delete) the alarm, as of the end of this turn."""
        self.layers.top().wish = Wish(at, self.slot.generation)

    def alarm(self) -> datetime | None:
        """What ``get_alarm`` answers in this turn (DO-13 … DO-18)."""
        own = self.layers.merged().wish or (self.run.wish if self.run else None)
        if own and own.generation == self.slot.generation:
            return own.at
        if self.run is not None and self.slot.generation == self.run.generation:
            return self.slot.scheduled_at if self.initializing else None
        return self.slot.pending(self.now)

    def take_wish(self) -> Wish | None:
        """What was asked of the alarm so far, taken out."""
        return self.layers.take_wish() or (self.run.wish if self.run else None)
