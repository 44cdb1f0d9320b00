"""What happens to a batch: sealed, tried, settled, split, replayed, failed, pruned. Only this module writes batches.

Each of these is called in a turn of the batcher, under its lock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from batcher import backoff
from batcher.conf import defaults
from batcher.errors import refusal
from batcher.responses import Answer, Outcomes, Verdict, verdict_on_all
from batcher.setting_rules import Policy
from batcher.tables import Batch

#: What a try, a replay or a person may change; never the items.
OUTCOME = [
    "status", "failures", "began_at", "status_code", "answer", "outcomes", "failed_items", "outcome_unknown",
    "next_try_at", "give_up_at", "finished_at", "was_split",
]  # fmt: skip
#: A batch that is refused with one of these as a whole may have one item that the upstream refuses.
SPLIT_ON = {400, 413, 422}
PRUNED_AT_ONCE = 20
SENT_AGAIN = "to be sent again"

_UNFINISHED = {Batch.Status.OPEN, Batch.Status.SET_ASIDE}


def seal(object_id: int, first_item: int, texts: Sequence[str], policy: Policy, now: datetime) -> Batch:
    """Create a batch of these items (JSON texts), whose first try begins now."""
    return Batch.objects.create(
        batcher_id=object_id,
        items_json=f"[{','.join(texts)}]",
        item_count=len(texts),
        first_item=first_item,
        attempts=1,
        began_at=now,
        sealed_at=now,
        next_try_at=now,
        give_up_at=now + policy.give_up_after,
    )


def begin(batch: Batch, now: datetime) -> None:
    """Count another try, before it is made, so that a crash cannot hide it."""
    batch.outcome_unknown = batch.outcome_unknown or batch.began_at is not None
    batch.attempts, batch.began_at = batch.attempts + 1, now
    batch.save(update_fields=["attempts", "began_at", "outcome_unknown"])


def settle(batch: Batch, answer: Answer, policy: Policy, now: datetime) -> None:
    """Record the result of a try, and when the next one is.

    A batch that a person has failed meanwhile stays failed, unless it is delivered. A try in which nothing was
    sent does not count, and no batch is given up for it.
    """
    was_failed = batch.status not in _UNFINISHED
    if answer.is_untried:
        batch.began_at, batch.attempts = None, batch.attempts - 1
        batch.next_try_at = None if was_failed else now + (answer.retry_after or timedelta(0))
        batch.save(update_fields=["began_at", "attempts", "next_try_at"])
        return
    batch.began_at, batch.status_code, batch.answer = None, answer.status_code, answer.text
    batch.outcome_unknown = batch.outcome_unknown or answer.unknown
    verdict = _merge(batch, answer)
    if verdict is Verdict.RETRY and not was_failed:
        _try_later(batch, answer, policy, now)
    else:
        batch.next_try_at = None
    if batch.next_try_at is None:
        _finish(batch, now)
    batch.save(update_fields=OUTCOME)


def may_split(batch: Batch, policy: Policy) -> bool:
    """Return whether this settled batch is to be split: it was refused as a whole, and is proven undelivered."""
    return (
        policy.bisect
        and batch.status == Batch.Status.FAILED
        and batch.status_code in SPLIT_ON
        and batch.failed_items == batch.item_count > 1
        and batch.outcomes is None
        and not batch.outcome_unknown
    )


def split(batch: Batch, now: datetime) -> list[Batch]:
    """Create two batches, to be tried now, of the halves of a failed one, which is kept and not sent again."""
    items, half = batch.items, batch.item_count // 2
    batch.was_split, batch.failed_items = True, 0
    batch.save(update_fields=OUTCOME)
    return [_part(batch, start, items[start:end], now) for start, end in ((0, half), (half, len(items)))]


def revive(batch: Batch, policy: Policy, now: datetime) -> None:
    """Make a batch due now, under the same key, and retried for ``give_up_after`` again if that fails.

    Raises ``InvalidInput`` for one that was split: its items are under other keys now.
    """
    if batch.was_split:
        parts = ", ".join(str(pk) for pk in batch.parts.values_list("pk", flat=True))
        raise refusal(f"{batch} was split and its items are in other batches", f"its parts: {parts}")
    if batch.status == Batch.Status.DELIVERED:
        batch.outcomes = {}  # what was accepted stays accepted, whatever the next answer is
    if batch.status != Batch.Status.OPEN:
        batch.status, batch.failures, batch.failed_items, batch.finished_at = Batch.Status.SET_ASIDE, 0, 0, None
        batch.give_up_at = now + policy.give_up_after
        _is_to_be_sent_again(batch)
    batch.next_try_at = now
    batch.save(update_fields=OUTCOME)


def fail(batch: Batch, reason: str, now: datetime) -> None:
    """Finish a batch as failed, without another try. If a try under way still succeeds, the batch is delivered."""
    batch.answer, batch.next_try_at = reason, None
    batch.outcome_unknown = batch.outcome_unknown or batch.began_at is not None
    _finish(batch, now)
    batch.save(update_fields=OUTCOME)


def hasten(object_id: int, now: datetime) -> int:
    """Make every unfinished batch due now, and return how many there are."""
    return Batch.objects.of(object_id).unfinished().update(next_try_at=now)


def prune(object_id: int, next_item: int, now: datetime) -> None:
    """Delete the oldest delivered batches, a few at once: over their age, or too many items ago."""
    delivered = Batch.objects.of(object_id).filter(status=Batch.Status.DELIVERED).order_by("finished_at")
    oldest = delivered.values_list("pk", "finished_at", "first_item")[:PRUNED_AT_ONCE]
    too_old, too_far = now - defaults.KEEP_DELIVERED, next_item - defaults.KEEP_DELIVERED_ITEMS
    gone = [pk for pk, at, first in oldest if at < too_old or (first is not None and first < too_far)]
    if gone:
        Batch.objects.filter(pk__in=gone).delete()


def _is_to_be_sent_again(batch: Batch) -> None:
    """Mark the answer to earlier tries as such: it is not the answer to the try to come."""
    if not batch.answer.startswith(SENT_AGAIN):
        before = " ".join(str(part) for part in (batch.status_code, batch.answer) if part)
        batch.answer = f"{SENT_AGAIN}\nbefore that: {before}" if before else SENT_AGAIN
    batch.status_code = None


def _merge(batch: Batch, answer: Answer) -> Verdict:
    """Merge the outcomes of the items into those of earlier tries, and return the verdict on the batch."""
    if answer.verdict is Verdict.DELIVERED and answer.outcomes is None:
        batch.outcomes = {}
    elif answer.outcomes is not None:
        before: Outcomes | None = batch.outcomes
        batch.outcomes = {at: outcome for at, outcome in answer.outcomes.items() if before is None or at in before}
        return verdict_on_all(batch.outcomes)
    return answer.verdict


def _try_later(batch: Batch, answer: Answer, policy: Policy, now: datetime) -> None:
    following = backoff.after_failure(
        now,
        set_aside=batch.status == Batch.Status.SET_ASIDE,
        failures=batch.failures,
        max_retries=policy.max_retries,
        give_up_at=batch.give_up_at,
        retry_after=answer.retry_after,
    )
    batch.next_try_at, batch.failures = following.at, following.failures
    batch.status = Batch.Status.SET_ASIDE if following.set_aside else Batch.Status.OPEN


def _finish(batch: Batch, now: datetime) -> None:
    batch.failed_items = batch.item_count if batch.outcomes is None else len(batch.outcomes)
    batch.status = Batch.Status.FAILED if batch.failed_items else Batch.Status.DELIVERED
    batch.outcome_unknown = batch.outcome_unknown and bool(batch.failed_items)
    batch.finished_at = now


def _part(parent: Batch, start: int, items: list[Any], now: datetime) -> Batch:
    return Batch.objects.create(
        batcher_id=parent.batcher_id,
        parent=parent,
        items_json=json.dumps(items, ensure_ascii=False, separators=(",", ":")),
        item_count=len(items),
        first_item=None if parent.first_item is None else parent.first_item + start,
        sealed_at=parent.sealed_at,
        next_try_at=now,
        give_up_at=max(parent.give_up_at, now),
    )
