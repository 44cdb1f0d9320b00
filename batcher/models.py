"""The batcher: items in one by one, batches out to an upstream."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from datetime import datetime
from itertools import accumulate
from typing import Unpack

from batcher import batch_lifecycle, circuit_breaker, delivery, idempotency_keys, receipts, scheduling
from batcher.batch_lifecycle import BY_HAND
from batcher.errors import InvalidSetting, KeyReused, QueueFull, refusal
from batcher.items import Item, checked
from batcher.queue import LINE, Queue, add
from batcher.receipts import ItemState, Receipt, waiting_receipt
from batcher.responses import Answer, Verdict
from batcher.secrets import masked
from batcher.setting_rules import Changes, Policy, check
from batcher.tables import Batch, BatcherSettings, Upstream, policy_of
from durable_objects import AlarmInfo, exclusive, failpoints, now
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject
from durable_objects.validation import show

__all__ = [
    "Batch", "Batcher", "BatcherSettings", "InvalidSetting", "ItemState", "KeyReused", "QueueFull", "Receipt",
    "Upstream",
]  # fmt: skip

logger = get_logger("batcher")


class Batcher(DurableObject):
    """Collects items and posts them upstream, one batch per window (10 s from the first item) or sooner when full.

    Each accepted item reaches the upstream at least once, in one batch and under one key only, in the order in which it
    came. A batch that is not delivered is tried again after 2, 4 and 8 s, then set aside and tried at long intervals,
    and kept as failed after a day: nothing is thrown away. While a batch is in its quick retries newer items wait.

    Override ``process_batch`` in a proxy of your own to do something else with a batch.
    """

    class Meta:
        proxy = True

    read_ahead = (LINE, BatcherSettings)

    # -- items in

    def add_item(self, item: object) -> int:
        """Add one item, any JSON value, and return how many wait now. Raises ``InvalidValue``, ``QueueFull``."""
        return self.add_items([item])

    def add_items(self, items: Iterable[object]) -> int:
        """Add several items, all or none, and return how many wait now. Raises ``InvalidValue``, ``QueueFull``."""
        line = checked(items)
        return self._append(line) if line else self.queued()

    @exclusive(combine=True, many="_submit_all")
    def submit(self, item: object, key: str | None = None) -> Receipt:
        """Add one item as ``add_item`` does, and return its receipt, whose number ``receipt()`` takes.

        With a ``key`` of 1 to 255 characters a repetition within a day (``KEYS_FOR``) adds nothing, and returns
        the receipt of the first. Raises ``KeyReused`` for the same key with another item.
        """
        if key is None:
            return self._submit_all([item])[0]
        moment = now()
        idempotency_keys.check(key)
        before = None if Queue(self.storage).is_new else idempotency_keys.item_with(self.pk, key, item, moment)
        if before is not None:
            return self.receipt(before)
        receipt = self._submit_all([item])[0]
        idempotency_keys.remember(self.pk, key, item, receipt.item, moment)
        return receipt

    @exclusive(combine=True)
    def submit_all(self, items: Iterable[object]) -> list[Receipt]:
        """Add several items as ``add_items`` does, and return a receipt for each, in order."""
        return self._submit_all(items)

    # -- questions, all of them plain reads

    def queued(self) -> int:
        """Return how many items wait for a batch (not those in one already)."""
        return Queue(self.storage).count

    def has_undelivered(self) -> bool:
        """Return whether an item waits, or a batch is still to be delivered."""
        object_id = self._object_id()
        return object_id is not None and (self.queued() > 0 or Batch.objects.of(object_id).unfinished().exists())

    def receipt(self, item: int) -> Receipt:
        """Return what became of the item with this number: an indexed look-up, however many wait or were sent."""
        return receipts.find(self.storage, self._object_id(), item)

    def get_alarm_time(self) -> datetime | None:
        """Return when the batcher acts next, aware UTC; None when nothing is to be done, or while it is doing it."""
        return self.storage.get_alarm()

    def settings(self) -> dict[str, object]:
        """Return the settings in force, by name, with what is secret in them masked."""
        return masked(vars(self._policy()))

    def upstream(self) -> Upstream | None:
        """Return the circuit breaker of the upstream that it posts to; None where nothing has ever failed."""
        return circuit_breaker.of(self._policy().upstream_url)

    # -- steering

    def cancel_alarm(self) -> bool:
        """Pause until the next ``add_item``, ``flush()`` or batch that is sent again; waiting items are kept. Return
        whether an alarm was set.
        """
        return self._pause() if self._object_id() is not None else False

    def flush(self) -> None:
        """Send now what waits, and try now what was not delivered yet. Does nothing when there is nothing.

        It ends the pause of the upstream's circuit breaker: the first try goes as its probe.
        """
        if self._object_id() is not None:
            self._hurry()

    @exclusive
    def configure(self, **changes: Unpack[Changes]) -> None:
        """Change the given settings, and only those; None puts one back to the project's (``settings.BATCHER``).

        ``upstream_url``, ``headers``, ``gzip``, ``secret`` (signs as Standard Webhooks: ``whsec_…``), ``window`` and
        ``quiet`` (timedelta; with ``quiet`` the window ends when no item came for so long), ``max_items``,
        ``max_bytes``, ``max_queued`` (0: any number), ``max_retries``, ``give_up_after`` (timedelta), ``bisect``. Holds
        from the next item and the next try on. Raises ``InvalidInput`` naming the value (unless it is secret) and what
        is allowed; then nothing was changed.
        """
        check(changes)
        BatcherSettings.objects.update_or_create(object_id=self.pk, defaults=changes)

    @exclusive
    def replay(self, batch_id: uuid.UUID | str, reason: str = "") -> None:
        """Send a batch again, whatever became of it: the same items under the same key.

        The reason is kept in its history. It ends the pause of the upstream's circuit breaker. Raises
        ``InvalidInput`` for one that was split, and for an id that is not one of this batcher's.
        """
        batch_lifecycle.revive(self._batch(batch_id), self._policy(), now(), reason)
        self._resume()

    def replay_failed(self, *, unknown: bool = False, reason: str = "") -> int:
        """Send every failed batch again, as ``replay`` does, in one turn; return how many there are.

        Those that the upstream may have are left out, unless ``unknown``.
        """
        return self._replay_failed(unknown=unknown, reason=reason) if self._object_id() is not None else 0

    @exclusive
    def fail(self, batch_id: uuid.UUID | str, reason: str = BY_HAND) -> None:
        """Give up on a batch now: it is kept as failed, and newer items are sent.

        Raises ``InvalidInput`` if it is finished. A try that is under way may still deliver it.
        """
        batch = self._batch(batch_id)
        if batch.finished_at is not None:
            raise refusal(f"{batch} is {batch.status} already", "a batch that is open or set aside")
        self._give_up([batch], reason)

    def fail_set_aside(self, reason: str = BY_HAND) -> int:
        """Give up on every batch that is set aside, as ``fail`` does, in one turn; return how many there are."""
        return self._fail_set_aside(reason) if self._object_id() is not None else 0

    @exclusive
    def split(self, batch_id: uuid.UUID | str) -> list[Batch]:
        """Split a batch in two, under keys of their own, and try them now; return them. The batch is kept.

        Raises ``InvalidInput`` for one of a single item, and unless it is proven that the upstream has none of it.
        """
        parts = batch_lifecycle.split_by_hand(self._batch(batch_id), now())
        self._resume()
        return parts

    @exclusive
    def drop_item(self, batch_id: uuid.UUID | str, place: int, reason: str) -> Batch:
        """Take the item at this place (from 0) out of a batch, and try the others now, under keys of their own.

        The item is kept in a failed batch of its own, which is returned. Raises ``InvalidInput`` as ``split`` does, and
        for a place that the batch does not have.
        """
        dropped = batch_lifecycle.drop(self._batch(batch_id), place, reason, now())
        self._resume()
        return dropped

    # -- batches out

    def process_batch(self, batch: Batch) -> Answer | None:
        """Deliver ``batch.items`` under the key ``batch.id``; ``batch.attempt`` counts the tries from 1.

        Runs while the object is unlocked, at least once per batch. Returning means delivered, unless it is an
        ``Answer`` that says otherwise; raising means that it is to be tried again. The default posts
        ``{"batcher": name, "batch": id, "items": [...]}`` as JSON with ``Idempotency-Key: id``; without an
        ``upstream_url`` it logs the batch.
        """
        policy = self._policy()
        if not policy.upstream_url:
            logger.info("Batcher %r: batch %s of %s items, no upstream", self.name, batch.id, batch.item_count)
            return None
        return delivery.post(self.name, batch, policy)

    def preview(self, batch: Batch) -> str:
        """Return what the next try of a batch would send, and where, with what is secret masked; a long body cut."""
        policy = self._policy()
        if type(self).process_batch is not Batcher.process_batch:
            return f"{self._meta.label}.process_batch() with these items:\n\n{delivery.beginning(batch)}"
        if not policy.upstream_url:
            return f"No upstream is set: the batch is logged, and counts as delivered.\n\n{delivery.beginning(batch)}"
        return delivery.preview(self.name, batch, policy)

    def alarm(self, info: AlarmInfo) -> None:
        """Seal what is due into a batch, post it while unlocked, record the result, and set the next alarm.

        A try that fails does not raise: its retries are the batch's own, so that items added meanwhile (their
        alarm would replace the engine's retry) cannot disturb them.
        """
        todo = scheduling.next_batch(self, info)
        if todo.batch is not None:
            with self.unlocked():
                failpoints.reach("batcher.sealed")
                answer = delivery.attempt(self.process_batch, todo.batch, todo.gate, self.name)
            self._settle(todo.batch, answer)
            failpoints.reach("batcher.settled")
        scheduling.plan(self, not_before=todo.gate.wait_until)

    def _settle(self, tried: Batch, answer: Answer) -> None:
        """Record the result of a try, unless the batch was deleted meanwhile."""
        batch = Batch.objects.of(self.pk).filter(pk=tried.pk).defer("items_json").first()
        if batch is None:
            return
        policy, moment = self._policy(), now()
        batch_lifecycle.settle(batch, answer, policy, moment)
        level = logging.INFO if answer.verdict is Verdict.DELIVERED else logging.WARNING
        logger.log(
            level, "Batcher %r: batch %s of %s items, try %s: %s, now %s", self.name, batch.id, batch.item_count,
            batch.attempts, answer.status_code or answer.text or "done", batch.status,
        )  # fmt: skip
        if batch_lifecycle.may_split(batch, policy):
            batch_lifecycle.split(batch, moment)
        batch_lifecycle.prune(self.pk, Queue(self.storage).tail, moment)

    # -- turns and small questions

    def _submit_all(self, items: Iterable[object]) -> list[Receipt]:
        line = checked(items)
        queue = add(self, line) if line else Queue(self.storage)
        return [waiting_receipt(number, queue) for number in range(queue.tail - len(line), queue.tail)]

    @exclusive(combine=True, many="_append_all")
    def _append(self, line: list[Item]) -> int:
        return self._append_all([line])[0]

    def _append_all(self, lines: list[list[Item]]) -> list[int]:
        queue = add(self, [item for line in lines for item in line])
        ends = list(accumulate(map(len, lines)))
        return [queue.count - ends[-1] + end for end in ends]

    @exclusive
    def _pause(self) -> bool:
        was_set = self.storage.get_alarm() is not None
        queue = Queue(self.storage)
        queue.pause()
        queue.save()
        self.storage.delete_alarm()
        return was_set

    @exclusive
    def _hurry(self) -> None:
        moment, queue = now(), Queue(self.storage)
        if not (batch_lifecycle.hasten(self.pk, moment) or queue.count):
            return
        queue.flush(moment)
        self._try_now(queue, moment)

    @exclusive
    def _replay_failed(self, *, unknown: bool, reason: str) -> int:
        failed = Batch.objects.of(self.pk).to_replay(unknown=unknown)
        keys = list(failed.values_list("pk", flat=True))
        if keys:
            batch_lifecycle.revive_failed(keys, self._policy(), now(), reason)
            self._resume()
        return len(keys)

    @exclusive
    def _fail_set_aside(self, reason: str) -> int:
        batches = list(Batch.objects.of(self.pk).set_aside().defer("items_json"))
        if batches:
            self._give_up(batches, reason)
        return len(batches)

    def _give_up(self, batches: list[Batch], reason: str) -> None:
        for batch in batches:
            batch_lifecycle.fail(batch, reason, now())
        if (alarm := self.storage.get_alarm()) is not None:
            queue = Queue(self.storage)
            queue.set_alarm_by(min(alarm, queue.due or alarm))
            queue.save()

    def _resume(self) -> None:
        """Try now what was just made due; ends a pause."""
        moment, queue = now(), Queue(self.storage)
        queue.resume(self._policy(), moment)
        self._try_now(queue, moment)

    def _try_now(self, queue: Queue, moment: datetime) -> None:
        circuit_breaker.end_pause(self._policy().upstream_url, moment)
        queue.set_alarm_by(moment)
        queue.save()

    def _object_id(self) -> int | None:
        """Return the row's key, or None: a question to a batcher that was never used must not create it."""
        return type(self).objects.filter(name=self.name).values_list("pk", flat=True).first()

    def _policy(self) -> Policy:
        return policy_of(self)

    def _batch(self, batch_id: uuid.UUID | str) -> Batch:
        try:
            wanted = batch_id if isinstance(batch_id, uuid.UUID) else uuid.UUID(batch_id)
            return Batch.objects.of(self.pk).get(pk=wanted)
        except (AttributeError, TypeError, ValueError, Batch.DoesNotExist):
            problem = f"batcher {show(self.name)} has no batch {show(batch_id)}"
            raise refusal(problem, "the id of one of its batches") from None
