"""The instances of an object that have come into a turn: each has the key and the object's own fields as they stand."""

from __future__ import annotations

from durable_objects.turns.handle import Handle


class Instances:
    """The instances in one turn; the first is the one that it was opened for."""

    __slots__ = ("_all", "are_stale")

    def __init__(self, first: Handle) -> None:
        self._all: dict[int, Handle] = {id(first): first}
        #: Whether the object's own fields were changed past its instances.
        self.are_stale = False

    def admit(self, handle: Handle, object_id: int) -> None:
        """Let another instance join: it learns its key and reads its own fields."""
        if id(handle) not in self._all:
            self._all[id(handle)] = handle
            handle.admitted(object_id)

    def saved(self, handle: Handle) -> None:
        """Give own fields that this instance has stored to the others."""
        for other in self._all.values():
            if other is not handle:
                other.follow(handle, keep_unsaved=True)

    def read_fields(self, object_id: int) -> None:
        """Let all of them read their own fields again."""
        first, *others = self._all.values()
        first.admitted(object_id)
        for other in others:
            other.follow(first, keep_unsaved=False)
        self.are_stale = False
