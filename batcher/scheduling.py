"""What a batcher does next, and when: the batch to try now, and the alarm for what comes after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batcher import batches, circuit_breaker
from batcher.circuit_breaker import Gate
from batcher.queue import Waiting
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
    """What to try now: an older batch whose time has come, or a new one of what waits. In the alarm's turn.

    While the upstream's circuit breaker is open nothing is sealed and no try is counted.
    """
    moment, waiting, policy = now(), Waiting(batcher.storage), policy_of(batcher)
    due = Batch.objects.of(batcher.pk).unfinished().filter(next_try_at__lte=moment)
    batch = due.order_by("next_try_at", "sealed_at", "first_item").first()
    seals = _seals(batcher, waiting, batch, info, moment)
    if batch is None and not seals:
        return Next(None, Gate())
    gate = circuit_breaker.ask(policy.upstream_url, moment)
    if gate.wait_until is not None:
        for overdue in due.filter(give_up_at__lte=moment).defer("items_json"):
            batches.fail(overdue, f"{GIVEN_UP}. Before that: {overdue.answer}", moment)
        return Next(None, gate)
    if seals:
        first, texts = waiting.take(policy, moment)
        waiting.save()
        if texts:
            return Next(batches.seal(batcher.pk, first, texts, policy, moment), gate)
    if batch is not None:
        batches.begin(batch, moment)
    return Next(batch, gate)


def plan(batcher: DurableObject, not_before: datetime | None = None) -> None:
    """Set the next alarm: the earliest of what is to be done and of what a person asked for meanwhile.

    ``not_before``: no try may begin earlier, says the upstream's circuit breaker.
    """
    waiting, stands = Waiting(batcher.storage), batcher.storage.get_alarm()
    if waiting.held:
        return
    unfinished = Batch.objects.of(batcher.pk).unfinished()
    times = [unfinished.next_try()]
    if waiting.count and not is_retrying(batcher):
        times.append(waiting.due or now())
    wanted = min((time for time in times if time is not None), default=None)
    if wanted is not None and not_before is not None:
        wanted = max(wanted, not_before)
    by_hand = stands if stands != waiting.planned else None
    if by_hand is not None and (wanted is None or by_hand < wanted):
        batcher.storage.set_alarm(by_hand)
    elif wanted is not None:
        _set_alarm(batcher, waiting, wanted)
        waiting.save()
    elif stands is not None:
        batcher.storage.delete_alarm()


def alarm_by(batcher: DurableObject, waiting: Waiting, at: datetime) -> None:
    """Set the alarm, unless an earlier one stands. The line is to be saved afterwards."""
    stands = batcher.storage.get_alarm()
    if stands is None or at < stands:
        _set_alarm(batcher, waiting, at)


def is_retrying(batcher: DurableObject) -> bool:
    """Whether a batch is in its quick retries, so that newer items wait."""
    return Batch.objects.of(batcher.pk).unfinished().filter(status=Batch.Status.OPEN).exists()


def _set_alarm(batcher: DurableObject, waiting: Waiting, at: datetime) -> None:
    batcher.storage.set_alarm(at)
    waiting.planned = batcher.storage.get_alarm()


def _seals(batcher: DurableObject, waiting: Waiting, batch: Batch | None, info: AlarmInfo, moment: datetime) -> bool:
    """Whether a new batch goes before any older one."""
    if not waiting.count or is_retrying(batcher):
        return False
    if batch is not None:
        return waiting.due is not None and waiting.due < (batch.next_try_at or moment)
    # An alarm with nothing due was set or hastened by hand: then what waits goes, window or not. One of our own may
    # only have come early, for items that have come later than when it was set.
    is_ours = info.scheduled_at == waiting.planned and info.scheduled_at <= moment
    return not is_ours or (waiting.due is not None and waiting.due <= moment)
