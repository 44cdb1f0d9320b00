"""A turn's writes, held back in layers: one per open savepoint, the engine's own or the user's ``atomic()``.

A savepoint that rolls back must take along what was written inside it, though none of that is in the database yet.
Django itself tells which did: each layer registers a marker with ``on_commit``, and Django drops those registered
inside a savepoint that is rolled back. So a layer whose savepoint is gone is merged into the one below when its
marker still stands, and forgotten when it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.run import Wish


@dataclass(slots=True)
class Layer:
    """What was written since one savepoint: key to text, None for deleted; ``cleared`` hides all below.

    ``deleted``: the object itself was.
    """

    savepoint: str
    marker: Callable[[], None]
    writes: dict[str, str | None] = field(default_factory=dict)
    cleared: bool = False
    deleted: bool = False
    wish: Wish | None = None

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
        self.wish = above.wish or self.wish


class Layers:
    """The stack of layers of one turn. ``on_commit`` is called when the turn's transaction has committed."""

    def __init__(self, conn: BaseDatabaseWrapper, on_commit: Callable[[], None]) -> None:
        self._conn = conn
        self._depth = len(conn.savepoint_ids)
        conn.on_commit(on_commit, robust=True)
        self._stack = [Layer("", on_commit)]
        self._apart: Layer | None = None

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A layer that is forgotten when the block raises, for code that writes nothing else: it has no savepoint."""
        layer = Layer("", lambda: None)
        self._apart = layer
        self._stack.append(layer)
        try:
            yield
            self._settle()
        except BaseException:
            del self._stack[self._stack.index(layer) :]
            raise
        else:
            self._stack.pop()
            self._stack[-1].absorb(layer)
        finally:
            self._apart = None

    def top(self) -> Layer:
        """The layer of the innermost savepoint that is open now: the one to write to."""
        self._settle()
        known = {layer.savepoint for layer in self._stack}
        around = set(self._conn.savepoint_ids[: self._depth])
        for savepoint in self._open_savepoints():
            around = around | {savepoint}
            if savepoint not in known:
                # A marker of its own for each layer: a fresh function object, told apart by identity.
                marker: Callable[[], None] = lambda: None  # noqa: E731  # a def in a loop would say no more
                # Not by on_commit(), which would tie an outer layer's marker to the innermost savepoint as well.
                self._conn.run_on_commit.append((around, marker, False))  # type: ignore[arg-type]  # triples since Django 4.2
                self._stack.append(Layer(savepoint, marker))
        return self._stack[-1]

    def merged(self) -> Layer:
        """All layers as one, for reading."""
        self._settle()
        if len(self._stack) == 1:
            return self._stack[0]
        whole = Layer("", lambda: None)
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
    def wish(self) -> Wish | None:
        """What was asked of the alarm last."""
        self._settle()
        return next((layer.wish for layer in reversed(self._stack) if layer.wish), None)

    def take_wish(self) -> Wish | None:
        """What was asked of the alarm, taken out of every layer."""
        wish = self.wish
        for layer in self._stack:
            layer.wish = None
        return wish

    def _open_savepoints(self) -> list[str]:
        return [sid for sid in self._conn.savepoint_ids[self._depth :] if sid]

    def _settle(self) -> None:
        if len(self._stack) == 1 or self._stack[-1] is self._apart:
            return
        still_open = set(self._open_savepoints())
        while len(self._stack) > 1 and self._stack[-1].savepoint not in still_open:
            if self._stack[-1] is self._apart:
                break
            layer = self._stack.pop()
            if any(hook[1] is layer.marker for hook in reversed(self._conn.run_on_commit)):  # among the last
                self._stack[-1].absorb(layer)
