"""The items that wait for their batch, in a batcher's storage: cheap to add to however many wait, taken oldest first.

Each item has a key of its own, numbered with leading zeros so that text order is the order of arrival; one further key
holds the head and tail of the line, its bytes, and when it is due. Moments are whole microseconds since the epoch
there: plain JSON, which is the quickest to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from batcher.items import Item
from batcher.policy import Policy
from durable_objects.storage import Storage

LINE = "line"
ITEM = "item:"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Waiting:
    """The line, as read in this turn. Change it inside one turn only, and ``save()`` at the end."""

    def __init__(self, storage: Storage) -> None:
        line: dict[str, Any] = storage.get(LINE, {})
        self._storage = storage
        #: The number of the first item that waits, and the one after the last.
        self._head: int = line.get("head", 1)
        self._tail: int = line.get("tail", 1)
        #: Items before this number were flushed: they go without waiting for their window.
        self._flushed: int = line.get("flushed", 1)
        #: The bytes of the waiting items as JSON.
        self.size: int = line.get("bytes", 0)
        #: When the waiting items are to go; None when nothing waits, or until somebody asks again.
        self.due: datetime | None = _moment(line.get("due"))
        #: Somebody cancelled the alarm: nothing goes until the next item or ``flush()``.
        self.held: bool = line.get("held", False)

    @property
    def count(self) -> int:
        """How many items wait."""
        return self._tail - self._head

    def is_full(self, policy: Policy) -> bool:
        """Whether what waits fills a batch."""
        return self.count >= policy.max_items or self.size >= policy.max_bytes

    def append(self, items: Sequence[Item], now: datetime) -> None:
        """Add to the end of the line."""
        at = _micros(now)
        numbered = enumerate(items, start=self._tail)
        self._storage.put_many({_key(number): {"item": item.value, "at": at} for number, item in numbered})
        self._tail += len(items)
        self.size += sum(item.size for item in items)

    def take(self, policy: Policy, now: datetime) -> list[str]:
        """Take the oldest items, as many as one batch holds (at least one), out of storage: their JSON texts.

        What is left is due when the first item of it has waited its window.
        """
        taken: dict[str, Item] = {}
        size, room = 0, True
        while room and (page := self._page(after=max(taken, default=None), policy=policy)):
            for key, entry in page.items():
                item = Item.of(entry["item"])
                room = len(taken) < policy.max_items and (size + item.size <= policy.max_bytes or not taken)
                if not room:
                    break
                taken[key] = item
                size += item.size
        self._storage.delete_many(taken)
        self._head = int(max(taken).removeprefix(ITEM)) + 1 if room is False else self._tail
        self.size = max(self.size - size, 0) if self.count else 0
        self.due = self._due_again(policy, now)
        return [item.text for item in taken.values()]

    def flush(self, now: datetime) -> None:
        """All that waits is due now, in however many batches."""
        self.held, self._flushed = False, self._tail
        self.due = now if self.count else None

    def save(self) -> None:
        """Write the line back."""
        line = {"head": self._head, "tail": self._tail, "flushed": self._flushed, "bytes": self.size}
        self._storage.put(LINE, {**line, "due": _micros(self.due), "held": self.held})

    def _page(self, *, after: str | None, policy: Policy) -> dict[str, Any]:
        """The next items in line: no more of them at once than about one batch's bytes."""
        average = max(self.size // max(self.count, 1), 1)
        limit = max(min(policy.max_bytes // average + 1, policy.max_items, 1000), 1)
        return self._storage.list(prefix=ITEM, start_after=after, limit=limit)

    def _due_again(self, policy: Policy, now: datetime) -> datetime | None:
        if not self.count:
            return None
        first = self._storage.get(_key(self._head))
        added = _moment(first["at"] if first else None) or now
        at_once = self.is_full(policy) or self._head < self._flushed
        return now if at_once else max(added + policy.window, now)


def _key(number: int) -> str:
    return f"{ITEM}{number:020d}"


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
