"""An item comes in: is there room, into the line with it, and when does the line go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from batcher import item_keys, scheduling
from batcher.configuration import Policy
from batcher.errors import QueueFull
from batcher.items import Item, refused_item
from batcher.queue import Waiting
from batcher.tables import Batch, policy_of
from durable_objects import now
from durable_objects.models import DurableObject
from durable_objects.validation import show

SOONEST = timedelta(seconds=1)
LATEST = timedelta(hours=1)


def add(batcher: DurableObject, items: Sequence[Item]) -> int:
    """Add all of these, in a turn of the batcher; how many wait then.

    Raises ``InvalidValue``, ``QueueFull``; then none was added.
    """
    policy = policy_of(batcher)
    if largest := max((item.size for item in items if item.size > policy.max_bytes), default=0):
        raise refused_item(f"an item takes {largest} bytes as JSON", f"at most max_bytes, {policy.max_bytes}")
    moment, waiting, alarm = now(), Waiting(batcher.storage), batcher.storage.get_alarm()
    if waiting.is_new:
        item_keys.forget_all(batcher.pk)
        waiting.begin(Batch.objects.of(batcher.pk).next_item())
    if policy.max_queued:
        _refuse_beyond(policy, batcher, waiting, len(items), alarm - moment if alarm else policy.window)
    waiting.append(items, moment)
    # Overdue without an alarm: it was taken away by hand, and this item opens a new window.
    stranded = (
        alarm is None and waiting.due is not None and waiting.due < moment and not scheduling.is_retrying(batcher)
    )
    news = waiting.due is None or stranded
    if news:
        waiting.open_window(policy, moment)
    else:
        waiting.stay_quiet(policy, moment)
    if waiting.is_full(policy) and waiting.due is not None and waiting.due > moment:
        waiting.due, news = moment, True
    waiting.held = False
    # An alarm that stands is moved for a new window or a full batch only: somebody may have moved it on purpose, and
    # one that comes too early for an item that came later is put off once, when it rings.
    if alarm is None or (news and not scheduling.is_retrying(batcher)):
        scheduling.alarm_by(batcher, waiting, waiting.due or moment)
    waiting.save()
    return waiting.count


def _refuse_beyond(policy: Policy, batcher: DurableObject, waiting: Waiting, more: int, pause: timedelta) -> None:
    """Raise unless there is room for so many more. What is in an unfinished batch takes room as well."""
    if more > policy.max_queued:
        raise refused_item(f"{more} items at once", f"at most max_queued, {policy.max_queued}")
    if waiting.accepted + more <= policy.max_queued:
        return  # nobody has to be asked how many of them are finished
    held = waiting.count
    if held + more <= policy.max_queued:
        held += Batch.objects.of(batcher.pk).unfinished().item_count()
    if held + more > policy.max_queued:
        raise QueueFull(
            f"batcher {show(batcher.name)} holds {held} items that are not delivered yet: {more} more were not "
            f"accepted. Allowed: at most max_queued, {policy.max_queued}.",
            min(max(pause, SOONEST), LATEST),
        )
