"""The buttons of batchers and batches: flush, replay, fail."""

from __future__ import annotations

from typing import Any

from batcher.models import Batch, Batcher
from durable_objects import DurableObjectError
from durable_objects.admin import Verb
from durable_objects.models import DurableObject


def as_batcher(handle: DurableObject, row: Any) -> Batcher:
    """Return the handle as a batcher. Raises ``DurableObjectError`` for anything else."""
    if not isinstance(handle, Batcher):
        raise DurableObjectError(f"{row} belongs to an object of {handle._meta.label}, which is not a batcher")
    return handle


def _flush(handle: DurableObject, row: Any) -> bool:
    batcher = as_batcher(handle, row)
    if not batcher.queued() and not Batch.objects.of(row.pk).unfinished().exists():
        return False
    batcher.flush()
    return True


FLUSH = Verb(
    "flush",
    "Flush",
    "Send the waiting items of these batchers now, and try undelivered batches again now?",
    "Flush requested",
    _flush,
)
REPLAY = Verb(
    "replay",
    "Replay",
    "Send these batches again, with the same items and under the same keys?",
    "Replay requested",
    lambda handle, batch: as_batcher(handle, batch).replay(batch.pk),
)
FAIL = Verb(
    "fail",
    "Fail now",
    "Give up on these batches? They are kept as failed, and newer items are sent. A try under way may still deliver.",
    "Given up",
    lambda handle, batch: as_batcher(handle, batch).fail(batch.pk),
)
