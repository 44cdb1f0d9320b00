"""What an operation can do to all batchers that match: flush them, replay their failed batches, give up what is set
aside.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from batcher.batch_lifecycle import BY_HAND
from batcher.models import Batch, Batcher
from durable_objects.operations import bulk_verbs
from durable_objects.operations.bulk_verbs import BulkVerb

Rows = QuerySet[Any]


def _flush(turn: Any, operation: Any) -> bool:
    batcher: Batcher = turn.handle
    if not batcher.has_undelivered():
        return False
    batcher.flush()
    return True


def _replay(turn: Any, operation: Any, *, unknown: bool) -> str | bool:
    batcher: Batcher = turn.handle
    batches = batcher.replay_failed(unknown=unknown, reason=operation.reason)
    return f"batches: {batches:,}" if batches else False


def _give_up(turn: Any, operation: Any) -> str | bool:
    batcher: Batcher = turn.handle
    batches = batcher.fail_set_aside(operation.reason or BY_HAND)
    return f"batches: {batches:,}" if batches else False


def _with_set_aside(rows: Rows) -> Rows:
    return rows.filter(Exists(Batch.objects.set_aside().filter(batcher=OuterRef("pk"))))


def _with_failed(rows: Rows, *, unknown: bool) -> Rows:
    failed = Batch.objects.to_replay(unknown=unknown)
    return rows.filter(Exists(failed.filter(batcher=OuterRef("pk"))))


FLUSH = BulkVerb(
    "flush",
    "Flush",
    "What waits is sent now, and what is not delivered yet is tried now.",
    "Flush requested",
    _flush,
    of_alarms=False,
    together=False,
    of=Batcher,
)
REPLAY = BulkVerb(
    "replay",
    "Replay",
    "Their failed batches that are proven undelivered are sent again, with the same items and under the same keys.",
    "Replay requested",
    lambda turn, operation: _replay(turn, operation, unknown=False),
    of_alarms=False,
    together=False,
    of=Batcher,
    narrow=lambda rows: _with_failed(rows, unknown=False),
)
REPLAY_UNKNOWN = BulkVerb(
    "replay_unknown",
    "Replay also what may have arrived",
    "All their failed batches are sent again under the same keys, also those that the upstream may have: by its key it "
    "can tell a repetition.",
    "Replay requested, also of what may have been delivered",
    lambda turn, operation: _replay(turn, operation, unknown=True),
    of_alarms=False,
    together=False,
    is_destructive=True,
    of=Batcher,
    narrow=lambda rows: _with_failed(rows, unknown=True),
)
GIVE_UP = BulkVerb(
    "give_up",
    "Give up what is set aside",
    "Their batches that are set aside are kept as failed, and not tried again until they are replayed. A try under way "
    "may still deliver.",
    "Given up",
    _give_up,
    of_alarms=False,
    together=False,
    is_destructive=True,
    of=Batcher,
    narrow=_with_set_aside,
)

for _verb in (FLUSH, REPLAY, REPLAY_UNKNOWN, GIVE_UP):
    bulk_verbs.register(_verb)
