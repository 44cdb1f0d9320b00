"""A turn's writes, buffered in layers: one per open savepoint, the engine's own or the user's, however it is made.

A savepoint that rolls back must take along what was written inside it, though none of that is in the database yet. So a
layer whose savepoint was released is merged into the one below, and one whose savepoint was undone is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms import schedule_sql
from durable_objects.alarms.run import RequestedAlarm
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.database.savepoints import Savepoint, Savepoints
from durable_objects.entries import sql as entry_sql


@dataclass(slots=True, eq=False)
class Layer:
    """What was written since one savepoint: key to text, None for deleted; ``cleared`` hides all below.

    ``deleted``: the object itself was. Without a savepoint it stays until it is taken away.
    """

    savepoint: Savepoint | None = None
    writes: dict[str, str | None] = field(default_factory=dict)
    cleared: bool = False
    deleted: bool = False
    #: Whether the object's own fields were stored, which the instances of it know.
    saved: bool = False
    requested_alarm: RequestedAlarm | None = None
    #: Schedules that were changed, None for deleted.
    schedules: dict[str, ScheduledCall | None] = field(default_factory=dict)

    def clear(self) -> None:
        """Delete everything that was there so far."""
        self.writes.clear()
        self.cleared = True

    def absorb(self, above: Layer) -> None:
        """Take over the layer above: its savepoint was released."""
        if above.cleared:
            self.clear()
        self.writes.update(above.writes)
        self.deleted = self.deleted or above.deleted
        self.saved = self.saved or above.saved
        self.requested_alarm = above.requested_alarm or self.requested_alarm
        self.schedules.update(above.schedules)


class WriteBuffer:
    """The stack of layers of one turn, which has just begun, over what it has read of the object's entries."""

    def __init__(
        self, conn: BaseDatabaseWrapper, object_id: int, savepoints: Savepoints, read: dict[str, str | None]
    ) -> None:
        """Begin with what was read already: the texts of keys, None for those that are not there."""
        self._conn, self._object_id, self._read = conn, object_id, read
        self._savepoints = savepoints
        self._savepoints_around = len(savepoints.open)
        self._stack = [Layer()]
        self._undone_save = False
        self._schedules: dict[str, ScheduledCall] | None = None

    @contextmanager
    def separate_layer(self) -> Iterator[None]:
        """Push a layer that is dropped when the block raises: no savepoint, for code that writes nothing else."""
        layer = Layer()
        self._stack.append(layer)
        try:
            yield
            self._settle()
        except BaseException:
            del self._stack[self._stack.index(layer) :]
            raise
        else:
            place = self._stack.index(layer)
            kept = self._stack[place:]  # its own, and those of savepoints that were left open
            del self._stack[place:]
            for each in kept:
                self._stack[-1].absorb(each)

    def top(self) -> Layer:
        """Return the layer of the innermost savepoint that is open now: the one to write to."""
        self._settle()
        known = [layer.savepoint for layer in self._stack]
        self._stack += [Layer(each) for each in self._savepoints.open[self._savepoints_around :] if each not in known]
        return self._stack[-1]

    def merged(self) -> Layer:
        """Return all layers as one, for reading."""
        self._settle()
        if len(self._stack) == 1:
            return self._stack[0]
        whole = Layer()
        for layer in self._stack:
            whole.absorb(layer)
        return whole

    def find(self, key: str) -> tuple[bool, str | None]:
        """Return whether a layer decides this key, and its text (None: deleted)."""
        self._settle()
        for layer in reversed(self._stack):
            if key in layer.writes:
                return True, layer.writes[key]
            if layer.cleared:
                return True, None
        return False, None

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the texts under the keys: what was written, else what is stored, which is read once."""
        found: dict[str, str | None] = {}
        unknown = []
        for key in keys:
            decided, found[key] = self.find(key)
            if not decided and key in self._read:
                found[key] = self._read[key]
            elif not decided:
                unknown.append(key)
        if unknown:
            read = entry_sql.get(self._conn, self._object_id, unknown)
            self._read.update({key: read.get(key) for key in unknown})
            found.update(read)
        return {key: text for key, text in found.items() if text is not None}

    def scan(self, where: entry_sql.Range, limit: int | None) -> dict[str, str]:
        """Return the entries in the range in key order: what is stored, with what was written."""
        layer = self.merged()
        written = {key: text for key, text in layer.writes.items() if key in where}
        found: dict[str, str | None] = {}
        if not layer.cleared:
            # Each buffered delete may hide one row, so that many more are read than asked for.
            deleted = sum(text is None for text in written.values())
            found.update(entry_sql.scan(self._conn, self._object_id, where, None if limit is None else limit + deleted))
        found.update(written)
        kept = {key: text for key, text in found.items() if text is not None}
        return {key: kept[key] for key in sorted(kept, reverse=where.reverse)[:limit]}

    def forget_read(self) -> None:
        """Read again what was read: the entries are about to change in the database."""
        self._read.clear()

    @property
    def deleted(self) -> bool:
        """Whether the object was deleted."""
        for layer in self._stack:  # asked at every step, and settling cannot make it so
            if layer.deleted:
                self._settle()
                return any(layer.deleted for layer in self._stack)
        return False

    @property
    def requested_alarm(self) -> RequestedAlarm | None:
        """What was asked of the alarm last."""
        self._settle()
        return next((layer.requested_alarm for layer in reversed(self._stack) if layer.requested_alarm), None)

    def take_requested_alarm(self) -> RequestedAlarm | None:
        """Return what was asked of the alarm last, and drop it from every layer."""
        requested = self.requested_alarm
        for layer in self._stack:
            layer.requested_alarm = None
        return requested

    def schedules(self) -> dict[str, ScheduledCall]:
        """Return the object's schedules by name: what was changed, else what is stored, which is read once."""
        if self._schedules is None:
            self._schedules = schedule_sql.load(self._conn, self._object_id)
        seen = self._schedules | self.merged().schedules
        return {name: call for name, call in sorted(seen.items()) if call is not None}

    def change_schedule(self, name: str, call: ScheduledCall | None) -> None:
        """Change a schedule, to None to delete it."""
        self.top().schedules[name] = call

    def take_undone_save(self) -> bool:
        """Return whether own fields were stored and that was undone, since the last call."""
        self._settle()
        undone, self._undone_save = self._undone_save, False
        return undone

    def _settle(self) -> None:
        while (ended := self._stack[-1].savepoint) is not None and not ended.is_open:
            layer = self._stack.pop()
            if not ended.undone:
                self._stack[-1].absorb(layer)
            elif layer.saved:
                self._undone_save = True
