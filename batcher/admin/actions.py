"""The buttons of batchers and batches: flush; replay, split, drop an item, fail."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from batcher.batch_lifecycle import BY_HAND
from batcher.delivery import SHOWN
from batcher.models import Batch, Batcher
from durable_objects import DurableObjectError
from durable_objects.admin import Verb
from durable_objects.formatting import short
from durable_objects.models import DurableObject, Object, as_handle


def as_batcher(handle: DurableObject, row: Any) -> Batcher:
    """Return the handle as a batcher. Raises ``DurableObjectError`` for anything else."""
    if not isinstance(handle, Batcher):
        raise DurableObjectError(f"{row} belongs to an object of {handle._meta.label}, which is not a batcher")
    return handle


def _flush(handle: DurableObject, row: Any) -> bool:
    batcher = as_batcher(handle, row)
    if not batcher.has_undelivered():
        return False
    batcher.flush()
    return True


def _replay_failed(handle: DurableObject, row: Any) -> str | bool:
    replayed = as_batcher(handle, row).replay_failed()
    return f"batches: {replayed:,}" if replayed else False


FLUSH = Verb(
    "flush",
    "Flush",
    "Send the waiting items of these batchers now, and try undelivered batches again now?",
    "Flush requested",
    _flush,
    of_many="flush",
)
REPLAY_FAILED = Verb(
    "replay_failed",
    "Replay failed batches",
    "Send the failed batches of these batchers again, with the same items and under the same keys? Those that the "
    "upstream may have are left out: replay them one by one, or by an operation that says so.",
    "Replay requested",
    _replay_failed,
    of_many="replay",
    tone="quiet",
)
REPLAY = Verb(
    "replay",
    "Replay",
    "Send these batches again, with the same items and under the same keys?",
    "Replay requested",
    lambda handle, batch: as_batcher(handle, batch).replay(batch.pk),
    because=lambda handle, batch, reason: as_batcher(handle, batch).replay(batch.pk, reason),
    is_risky=lambda batch: batch.outcome_unknown,
    preview=lambda handle, batch: as_batcher(handle, batch).preview(batch),
)
SPLIT = Verb(
    "split",
    "Split",
    "Split these batches in two, under keys of their own, and send both parts now? Only what is proven undelivered is "
    "split.",
    "Split",
    lambda handle, batch: f"into {_parts(as_batcher(handle, batch).split(batch.pk))}",
    tone="quiet",
)
FAIL = Verb(
    "fail",
    "Fail now",
    "Give up on these batches? They are kept as failed, and newer items are sent. A try under way may still deliver.",
    "Given up",
    lambda handle, batch: as_batcher(handle, batch).fail(batch.pk),
    because=lambda handle, batch, reason: as_batcher(handle, batch).fail(batch.pk, reason or BY_HAND),
    tone="danger",
)


class DropForm(forms.Form):
    """Why an item is dropped."""

    reason = forms.CharField(max_length=200, help_text="Kept with the item, which stays on record as failed.")


def drop_of(batch: Batch, place: int) -> Verb:
    """Return the verb that takes one item out of a batch."""
    return Verb(
        "drop_item",
        "Drop the item",
        f"Take item {place} out of this batch? It is kept as failed in a batch of its own; the others are sent now, "
        "under a new key.",
        "Item dropped",
        lambda handle, row: False,
        preview=lambda handle, row: short(json.dumps(batch.items[place], ensure_ascii=False), SHOWN),
        form=DropForm,
        call_with=lambda target, given: _drop(target, batch, place, given["reason"]),
    )


def _drop(target: Object, batch: Batch, place: int, reason: str) -> str:
    handle = as_handle(target)
    dropped = as_batcher(handle, batch).drop_item(batch.pk, place, reason) if handle is not None else None
    return f"item {place}, {reason!r}, kept as {dropped}"


def _parts(parts: list[Batch]) -> str:
    return " and ".join(f"{part} of {part.item_count:,}" for part in parts)
