"""A turn's writes, held back in layers: one per open savepoint, the engine's own or the user's, however it is made.

A savepoint that rolls back must take along what was written inside it, though none of that is in the database yet. So a
layer whose savepoint was released is merged into the one below, and one whose savepoint was undone is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from durable_objects.alarms.run import RequestedAlarm
from durable_objects.database.savepoints import Savepoint, Savepoints


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

    def clear(self) -> None:
        """Everything that was there so far is deleted."""
        self.writes.clear()
        self.cleared = True

    def absorb(self, above: Layer) -> None:
        """Take over what the layer above held: its savepoint was released."""
        if above.cleared:
            self.clear()
        self.writes.update(above.writes)
        self.deleted = self.deleted or above.deleted
        self.saved = self.saved or above.saved
        self.requested_alarm = above.requested_alarm or self.requested_alarm


class Layers:
    """The stack of layers of one turn, which has just begun."""

    def __init__(self, savepoints: Savepoints) -> None:
        self._savepoints = savepoints
        self._floor = len(savepoints.open)
        self._stack = [Layer()]
        self._undone_save = False

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A layer that is forgotten when the block raises, for code that writes nothing else: it has no savepoint."""
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
        """The layer of the innermost savepoint that is open now: the one to write to."""
        self._settle()
        known = [layer.savepoint for layer in self._stack]
        self._stack += [Layer(each) for each in self._savepoints.open[self._floor :] if each not in known]
        return self._stack[-1]

    def merged(self) -> Layer:
        """All layers as one, for reading."""
        self._settle()
        if len(self._stack) == 1:
            return self._stack[0]
        whole = Layer()
        for layer in self._stack:
            whole.absorb(layer)
        return whole

    def find(self, key: str) -> tuple[bool, str | None]:
        """Whether a layer decides this key, and its text (None: deleted)."""
        self._settle()
        for layer in reversed(self._stack):
            if key in layer.writes:
                return True, layer.writes[key]
            if layer.cleared:
                return True, None
        return False, None

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
        """What was asked of the alarm, taken out of every layer."""
        requested = self.requested_alarm
        for layer in self._stack:
            layer.requested_alarm = None
        return requested

    def take_undone_save(self) -> bool:
        """Whether own fields were stored and that was undone, since this was asked last."""
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
