"""What happens to a batch: sealed, tried, settled, split, replayed, failed, pruned. Only this module writes batches.

Each of these is called in a turn of the batcher, under its lock.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from batcher import backoff, batch_history
from batcher.conf import defaults
from batcher.errors import refusal
from batcher.responses import Answer, Outcomes, Verdict, verdict_on_all
from batcher.setting_rules import Policy
from batcher.tables import Batch

#: What a try, a replay or a person may change; never the items.
OUTCOME = [
    "status", "failures", "began_at", "status_code", "answer", "outcomes", "failed_items", "outcome_unknown",
    "next_try_at", "give_up_at", "finished_at", "history", "was_split",
]  # fmt: skip
#: What changes of a failed one that is to be sent again, and how many of them a statement takes.
REVIVED = [
    "status", "failures", "status_code", "answer", "failed_items", "next_try_at", "give_up_at", "finished_at",
    "history",
]  # fmt: skip
REVIVED_AT_ONCE = 200
#: A batch that is refused with one of these as a whole may have one item that the upstream refuses.
SPLIT_ON = {400, 413, 422}
PRUNED_AT_ONCE = 20
SENT_AGAIN = "to be sent again"
#: Why a person has given up on a batch, where no other reason was given.
BY_HAND = "failed by hand"

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
    changed = ["attempts", "began_at"]
    if batch.began_at is not None:
        batch.outcome_unknown = True
        batch_history.cut_off(batch)
        changed += ["outcome_unknown", "history"]
    batch.attempts, batch.began_at = batch.attempts + 1, now
    batch.save(update_fields=changed)


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
    batch_history.tried(batch, answer, now)
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


def split(batch: Batch, now: datetime, at: Sequence[int] = (), reason: str = "") -> list[Batch]:
    """Create batches, to be tried now, of the parts of a failed one, which is kept and not sent again.

    ``at``: the places where a part begins, beside the first; none: in the middle.
    """
    items = batch.items
    starts = [0, *(at or [len(items) // 2])]
    batch.was_split, batch.failed_items = True, 0
    batch_history.note(batch, "split", now, reason)
    batch.save(update_fields=OUTCOME)
    return [_part(batch, start, items[start:end], now) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def split_by_hand(batch: Batch, now: datetime, at: Sequence[int] = (), reason: str = "by hand") -> list[Batch]:
    """Split a batch that is not delivered, also one that is still tried. Raises ``InvalidInput`` for one of a single
    item, one that is under way, and one of which the upstream may have taken anything: other keys would send that
    twice.
    """
    if problem := _why_whole(batch):
        raise refusal(f"{batch} {problem}", "a batch of several items, none of which the upstream can have")
    if batch.finished_at is None:
        batch.next_try_at = None
        _finish(batch, now)
    return split(batch, now, at, reason)


def drop(batch: Batch, place: int, reason: str, now: datetime) -> Batch:
    """Take an item out of a batch that is not delivered: it is kept in a batch of its own, which is failed; what is
    left is tried now. Return that batch. Raises ``InvalidInput`` as ``split_by_hand`` does, and for a place that it
    does not have.
    """
    if type(place) is not int or not 0 <= place < batch.item_count:
        raise refusal(f"{batch} has no item at {place!r}", f"a place from 0 to {batch.item_count - 1}")
    starts = [start for start in (place, place + 1) if 0 < start < batch.item_count]
    parts = split_by_hand(batch, now, starts, f"item {place} is dropped: {reason}")
    dropped = parts[1 if place else 0]
    fail(dropped, f"dropped: {reason}", now)
    return dropped


def revive(batch: Batch, policy: Policy, now: datetime, reason: str = "") -> None:
    """Make a batch due now, under the same key, and retried for ``give_up_after`` again if that fails.

    Raises ``InvalidInput`` for one that was split: its items are under other keys now.
    """
    _make_due(batch, policy, now, reason)
    batch.save(update_fields=OUTCOME)


def revive_failed(keys: Sequence[uuid.UUID], policy: Policy, now: datetime, reason: str = "") -> None:
    """Do to each of these, which are failed, what ``revive`` does, in few statements."""
    for at in range(0, len(keys), REVIVED_AT_ONCE):
        some = list(Batch.objects.filter(pk__in=keys[at : at + REVIVED_AT_ONCE]).defer("items_json"))
        for batch in some:
            _make_due(batch, policy, now, reason)
        Batch.objects.bulk_update(some, REVIVED)


def _make_due(batch: Batch, policy: Policy, now: datetime, reason: str) -> None:
    if batch.was_split:
        parts = ", ".join(str(pk) for pk in batch.parts.values_list("pk", flat=True))
        raise refusal(f"{batch} was split and its items are in other batches", f"its parts: {parts}")
    if batch.status == Batch.Status.DELIVERED:
        batch.outcomes = {}  # what was accepted stays accepted, whatever the next answer is
    if batch.status != Batch.Status.OPEN:
        batch.status, batch.failures, batch.failed_items, batch.finished_at = Batch.Status.SET_ASIDE, 0, 0, None
        batch.give_up_at = now + policy.give_up_after
        _is_to_be_sent_again(batch)
    batch_history.note(batch, "replayed", now, reason)
    batch.next_try_at = now


def fail(batch: Batch, reason: str, now: datetime) -> None:
    """Finish a batch as failed, without another try. If a try under way still succeeds, the batch is delivered."""
    batch.answer, batch.next_try_at = reason, None
    batch.outcome_unknown = batch.outcome_unknown or batch.began_at is not None
    batch_history.note(batch, "given up", now, reason)
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


def is_proven_undelivered(batch: Batch) -> bool:
    """Return whether it may be split: several items, of which the upstream has none for certain."""
    return not _why_whole(batch)


def _why_whole(batch: Batch) -> str:
    """Return why a batch cannot be split; empty if it can."""
    reasons = {
        "was split already": batch.was_split,
        "is delivered": batch.status == Batch.Status.DELIVERED,
        "has one item only": batch.item_count < 2,
        "is being sent now": batch.began_at is not None,
        "may have reached the upstream by a try that got no clear answer": batch.outcome_unknown,
        "was answered item by item: what is accepted would be sent twice": batch.outcomes is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


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
        give_up_at=parent.give_up_at,
    )
