"""What a batcher does next, and when: the batch to try now, and the alarm for what comes after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batcher import batch_lifecycle, circuit_breaker
from batcher.circuit_breaker import Gate
from batcher.queue import Queue
from batcher.tables import Batch, policy_of
from durable_objects import AlarmInfo, now
from durable_objects.models import DurableObject

GIVEN_UP = "given up: the upstream's circuit breaker is open"


@dataclass(frozen=True)
class Next:
    """The batch to try now, its try counted (None: none), and what the breaker of its upstream says."""

    batch: Batch | None
    gate: Gate


def next_batch(batcher: DurableObject, info: AlarmInfo) -> Next:
    """Choose what to try now, in the alarm's turn: an older batch whose time has come, or a new one of what waits.

    While the upstream's circuit breaker is open nothing is sealed and no try is counted.
    """
    moment, queue, policy = now(), Queue(batcher.storage), policy_of(batcher)
    due = Batch.objects.of(batcher.pk).unfinished().filter(next_try_at__lte=moment)
    batch = due.order_by("next_try_at", "sealed_at", "first_item").first()
    seals = _seals(batcher, queue, batch, info, moment)
    if batch is None and not seals:
        return Next(None, Gate())
    gate = circuit_breaker.ask(policy.upstream_url, moment)
    if gate.wait_until is not None:
        for overdue in due.filter(give_up_at__lte=moment).defer("items_json"):
            batch_lifecycle.fail(overdue, f"{GIVEN_UP}. Before that: {overdue.answer}", moment)
        return Next(None, gate)
    if seals:
        first, texts = queue.take(policy, moment)
        queue.save()
        if texts:
            return Next(batch_lifecycle.seal(batcher.pk, first, texts, policy, moment), gate)
    if batch is not None:
        batch_lifecycle.begin(batch, moment)
    return Next(batch, gate)


def plan(batcher: DurableObject, not_before: datetime | None = None) -> None:
    """Set the next alarm: the earliest of what is to be done and of what a person asked for meanwhile.

    ``not_before``: no try may begin earlier, says the upstream's circuit breaker.
    """
    queue, alarm = Queue(batcher.storage), batcher.storage.get_alarm()
    if queue.paused:
        return
    batches = Batch.objects.of(batcher.pk)
    times = [batches.unfinished().next_try()]
    if queue.count and not batches.is_retrying():
        times.append(queue.due or now())
    wanted = min((time for time in times if time is not None), default=None)
    if wanted is not None and not_before is not None:
        wanted = max(wanted, not_before)
    by_hand = alarm if alarm != queue.planned else None
    if by_hand is not None and (wanted is None or by_hand < wanted):
        batcher.storage.set_alarm(by_hand)
    elif wanted is not None:
        queue.set_alarm(wanted)
        queue.save()
    elif alarm is not None:
        batcher.storage.delete_alarm()


def _seals(batcher: DurableObject, queue: Queue, batch: Batch | None, info: AlarmInfo, moment: datetime) -> bool:
    """Return whether a new batch goes before any older one."""
    if not queue.count or Batch.objects.of(batcher.pk).is_retrying():
        return False
    if batch is not None:
        return queue.due is not None and queue.due < (batch.next_try_at or moment)
    # An alarm with nothing due was set or hastened by hand: then what waits goes, window or not. One of our own may
    # only have come early, for items that have come later than when it was set.
    is_ours = info.scheduled_at == queue.planned and info.scheduled_at <= moment
    return not is_ours or (queue.due is not None and queue.due <= moment)
