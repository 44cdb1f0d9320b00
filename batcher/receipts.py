"""What became of one item: a look-up by its number, however many wait or were sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

from batcher.queue import Queue
from batcher.tables import Batch
from durable_objects.models import Storage

#: No database keeps a larger number.
LARGEST = 2**63 - 1


class ItemState(StrEnum):
    """``waiting`` for a batch; in one that is ``open`` or ``set_aside``; ``delivered``; ``failed``, and kept;
    ``unknown``: never accepted, or no longer on record.
    """

    WAITING = "waiting"
    OPEN = "open"
    SET_ASIDE = "set_aside"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Receipt:
    """What is known of one item. ``item`` is its number among all that the batcher ever accepted, from 1.

    ``position``: its place in the queue from 1, while it waits. ``batch`` is the key that it goes under, ``attempt``
    how many tries of it began. ``why``: the upstream's answer for the item or its batch, or why none came.
    ``outcome_unknown``: not delivered as far as we know, but a try may have been taken.
    """

    item: int
    state: ItemState
    position: int | None = None
    batch: uuid.UUID | None = None
    attempt: int | None = None
    why: str = ""
    outcome_unknown: bool = False


def waiting_receipt(item: int, queue: Queue) -> Receipt:
    """Return the receipt of an item in the queue."""
    return Receipt(item, ItemState.WAITING, position=item - queue.head + 1)


def find(storage: Storage, object_id: int | None, item: int) -> Receipt:
    """Return the receipt of the item with this number, as committed now."""
    if type(item) is not int or not 0 < item <= LARGEST or object_id is None:
        return Receipt(item, ItemState.UNKNOWN)
    queue = Queue(storage)
    if queue.head <= item < queue.tail:
        return waiting_receipt(item, queue)
    batch = _batch_of(object_id, item)
    if batch is not None:
        return _in_batch(item, batch)
    return Receipt(item, ItemState.UNKNOWN, why="no longer on record" if item < queue.tail else "never accepted")


def _batch_of(object_id: int, item: int) -> Batch | None:
    before = Batch.objects.of(object_id).filter(first_item__lte=item, was_split=False)
    batch = before.defer("items_json").order_by("-first_item").first()
    return batch if batch is not None and item < (batch.first_item or 0) + batch.item_count else None


def _in_batch(item: int, batch: Batch) -> Receipt:
    state, why, doubt = ItemState(batch.status), batch.answer, batch.outcome_unknown
    if batch.outcomes is not None:
        outcome = batch.outcomes.get(str(item - (batch.first_item or 0)))
        if outcome is None:
            state, why, doubt = ItemState.DELIVERED, "", False
        else:
            why = f"{outcome['status'] or ''} {outcome['error']}".strip() or "failed"
    if state is ItemState.DELIVERED:
        why = ""
    return Receipt(item, state, None, batch.id, batch.attempts, why, doubt)
