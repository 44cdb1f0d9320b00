"""The items that wait for their batch: capacity, adding and taking. When they go is their ``window``.

They are kept in the batcher's storage. Each item has a key of its own, numbered with leading zeros so that text order
is the order of arrival; one further key has head and tail of the queue, its bytes, and when it is due. Moments are
whole microseconds since the epoch there: plain JSON, which is the quickest to write. Nothing here counts, scans or
skips: a queue of a million items costs what one of ten does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import QuerySet

from batcher import idempotency_keys
from batcher.errors import QueueFull
from batcher.items import Item, refused_item
from batcher.setting_rules import Policy
from batcher.tables import Batch, policy_of
from batcher.window import Window
from durable_objects import now
from durable_objects.models import DurableObject, Entry, Storage, decode
from durable_objects.validation import show

#: The storage key of the queue's own entry, and the prefix of the items'.
LINE = "line"
ITEM = "item:"

#: The bounds of ``QueueFull.retry_after``.
SOONEST = timedelta(seconds=1)
LATEST = timedelta(hours=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Waiting(NamedTuple):
    """An item that waits: its number among all that were ever accepted, its storage key, when it came."""

    number: int
    key: str
    item: Any
    came_at: datetime | None


class Queue:
    """The queue, as read in this turn. Change it inside one turn only, and ``save()`` at the end."""

    def __init__(self, storage: Storage) -> None:
        line: dict[str, Any] = storage.get(LINE, {})
        self._storage = storage
        #: The number of the first item that waits, and the one after the last.
        self.head: int = line.get("head", 1)
        self.tail: int = line.get("tail", 1)
        #: Items before this number were flushed: they go without waiting for their window.
        self._flushed: int = line.get("flushed", 1)
        #: The bytes of the waiting items as JSON.
        self.size: int = line.get("bytes", 0)
        self.window = Window(*(_moment(line.get(name)) for name in ("due", "ceiling", "last")))
        #: What the batcher itself has set its alarm to; one for another time was set by a person.
        self.planned: datetime | None = _moment(line.get("planned"))
        #: Somebody cancelled the alarm: nothing goes until the next item, ``flush()`` or a batch that is sent again.
        self.paused: bool = line.get("held", False)
        self._added: dict[str, Any] = {}

    @property
    def due(self) -> datetime | None:
        """When the waiting items are to go; None when nothing waits, or while the batcher is paused."""
        return self.window.due

    @property
    def count(self) -> int:
        """How many items wait."""
        return self.tail - self.head

    @property
    def accepted(self) -> int:
        """How many items have ever come."""
        return self.tail - 1

    def is_full(self, policy: Policy) -> bool:
        """Return whether what waits fills a batch."""
        return self.count >= policy.max_items or self.size >= policy.max_bytes

    @property
    def is_new(self) -> bool:
        """Whether nothing has ever come, or the storage was emptied since."""
        return self.tail == 1

    def begin(self, number: int) -> None:
        """Start a new queue, whose first item has this number."""
        self.head = self.tail = number

    def append(self, items: Sequence[Item], now: datetime) -> None:
        """Add to the end of the queue."""
        at = _micros(now)
        self._added |= {_key(number): {"item": item.value, "at": at} for number, item in enumerate(items, self.tail)}
        self.tail += len(items)
        self.size += sum(item.size for item in items)
        self.window.last = now

    def take(self, policy: Policy, now: datetime) -> tuple[int, list[str]]:
        """Take the oldest items, as many as one batch may have (at least one), out of storage.

        Returns the number of the first, and their JSON texts. Numbers within a batch have no gap, also where an entry
        was deleted by hand. What is left is due when the first item of it has waited its window.
        """
        taken: dict[int, Item] = {}
        size, has_space = 0, True
        while has_space and (page := self._page(start=max(taken, default=self.head - 1) + 1, policy=policy)):
            for key, entry in page.items():
                item, number = Item.of(entry["item"]), _number(key)
                fits = len(taken) < policy.max_items and size + item.size <= policy.max_bytes
                has_space = not taken or (fits and number - 1 in taken)
                if not has_space:
                    break
                taken[number] = item
                size += item.size
        self._storage.delete_many(map(_key, taken))
        first = min(taken, default=self.tail)
        self.head = self.tail if has_space else first + len(taken)
        self.size = max(self.size - size, 0) if self.count else 0
        self._reopen_window(policy, now)
        return first, [item.text for item in taken.values()]

    def first(self, at_most: int, *, size: int) -> list[Waiting]:
        """Return the first items that wait, about ``size`` bytes of them and at least one, without what is none: an
        entry that somebody has written by hand.
        """
        average = max(self.size // max(self.count, 1), 1)
        limit = max(min(at_most, size // average, self.count), 1)
        page = self._storage.list(prefix=ITEM, start=_key(self.head), limit=limit)
        return [
            Waiting(_number(key), key, entry["item"], _moment(entry.get("at")))
            for key, entry in page.items()
            if key.removeprefix(ITEM).isdigit() and isinstance(entry, dict) and "item" in entry
        ]

    def flush(self, now: datetime) -> None:
        """Make all that waits due now, in however many batches; ends a pause."""
        self.paused, self._flushed = False, self.tail
        self.window.due = now if self.count else None

    def resume(self, policy: Policy, now: datetime) -> None:
        """End a pause, if there is one: what waits is due once the first item of it has waited its window."""
        if self.paused:
            self.paused = False
            self._reopen_window(policy, now)

    def pause(self) -> None:
        """Make nothing due until the next item, ``flush()`` or ``resume``."""
        self.paused, self.window.due = True, None

    def set_alarm(self, at: datetime) -> None:
        """Set the batcher's alarm, and remember that it was not a person. ``save()`` afterwards."""
        self._storage.set_alarm(at)
        self.planned = self._storage.get_alarm()

    def set_alarm_by(self, at: datetime) -> None:
        """Set the alarm as ``set_alarm`` does, unless an earlier one is set."""
        alarm = self._storage.get_alarm()
        if alarm is None or at < alarm:
            self.set_alarm(at)

    def save(self) -> None:
        """Write the queue back, and what was added to it."""
        line: dict[str, Any] = {"head": self.head, "tail": self.tail, "flushed": self._flushed, "bytes": self.size}
        moments = {**vars(self.window), "planned": self.planned}
        line |= {name: _micros(at) for name, at in moments.items()} | {"held": self.paused}
        self._storage.put_many({**self._added, LINE: line})
        self._added = {}

    def _page(self, *, start: int, policy: Policy) -> dict[str, Any]:
        """Read the next items, at most about one batch's bytes of them.

        From a number on, and not from the prefix: PostgreSQL would walk over all that were taken since its last vacuum.
        """
        average = max(self.size // max(self.count, 1), 1)
        limit = max(min(policy.max_bytes // average + 1, policy.max_items + 1, 1000), 1)
        return self._storage.list(prefix=ITEM, start=_key(start), limit=limit)

    def _reopen_window(self, policy: Policy, now: datetime) -> None:
        if not self.count:
            self.window.due = None
        elif self.is_full(policy) or self.head < self._flushed:
            self.window.due = now
        else:
            first = self._storage.list(prefix=ITEM, start=_key(self.head), limit=1)
            added = next((_moment(entry["at"]) for entry in first.values()), None)
            self.window.reopen(policy, now, added or now)


def add(batcher: DurableObject, items: Sequence[Item]) -> Queue:
    """Add all of these, in a turn of the batcher, and return the queue as it is then.

    Raises ``InvalidValue``, ``QueueFull``; then none was added.
    """
    policy = policy_of(batcher)
    if largest := max((item.size for item in items if item.size > policy.max_bytes), default=0):
        raise refused_item(f"an item takes {largest} bytes as JSON", f"at most max_bytes, {policy.max_bytes}")
    moment, queue, alarm = now(), Queue(batcher.storage), batcher.storage.get_alarm()
    if queue.is_new:
        idempotency_keys.forget_all(batcher.pk)
        queue.begin(Batch.objects.of(batcher.pk).next_item())
    if policy.max_queued:
        _refuse_beyond(policy, batcher, queue, len(items), alarm - moment if alarm else policy.window)
    queue.append(items, moment)
    # Overdue without an alarm: it was taken away by hand, and this item opens a new window.
    stranded = (
        alarm is None
        and queue.due is not None
        and queue.due < moment
        and not Batch.objects.of(batcher.pk).is_retrying()
    )
    news = queue.due is None or stranded
    if news:
        queue.window.open(policy, moment)
    else:
        queue.window.stay_quiet(policy, moment)
    if queue.is_full(policy) and queue.due is not None and queue.due > moment:
        queue.window.due, news = moment, True
    queue.paused = False
    # An alarm that is set is moved for a new window or a full batch only: somebody may have moved it on purpose, and
    # one that comes too early for an item that came later is put off once, when it runs.
    if alarm is None or (news and not Batch.objects.of(batcher.pk).is_retrying()):
        queue.set_alarm_by(queue.due or moment)
    queue.save()
    return queue


def _refuse_beyond(policy: Policy, batcher: DurableObject, queue: Queue, more: int, pause: timedelta) -> None:
    """Raise unless there is capacity for ``more`` items. Those in an unfinished batch count as well."""
    if more > policy.max_queued:
        raise refused_item(f"{more} items at once", f"at most max_queued, {policy.max_queued}")
    if queue.accepted + more <= policy.max_queued:
        return  # no need to ask how many of them are finished
    undelivered = queue.count
    if undelivered + more <= policy.max_queued:
        undelivered += Batch.objects.of(batcher.pk).unfinished().item_count()
    if undelivered + more > policy.max_queued:
        raise QueueFull(
            f"batcher {show(batcher.name)} has {undelivered} items that are not delivered yet: {more} more were not "
            f"accepted. Allowed: at most max_queued, {policy.max_queued}.",
            min(max(pause, SOONEST), LATEST),
        )


def queue_lengths(object_ids: Sequence[int] | QuerySet[Any, int]) -> dict[int, int]:
    """Return how many items wait in each of these batchers, in one query; those that were never used are left out."""
    lines = Entry.objects.filter(object_id__in=object_ids, key=LINE).values_list("object_id", "value")
    decoded = ((pk, decode(text)) for pk, text in lines)
    return {pk: line["tail"] - line["head"] for pk, line in decoded}


def _key(number: int) -> str:
    return f"{ITEM}{number:020d}"


def _number(key: str) -> int:
    return int(key.removeprefix(ITEM))


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
