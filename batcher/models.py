"""The batcher: items in one by one, batches out to an upstream."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Unpack

from batcher import upstream
from batcher.conf import defaults
from batcher.items import Item, checked, refused_item
from batcher.policy import Changes, Policy, check, refusal
from batcher.rows import Batch, BatcherSettings, policy_of
from batcher.upstream import Answer, Verdict
from batcher.waiting import Waiting
from durable_objects import AlarmInfo, RunSuperseded, crash, exclusive, now
from durable_objects.models import DurableObject
from durable_objects.names import show

__all__ = ["Batch", "Batcher", "BatcherSettings"]

logger = logging.getLogger("batcher")


class Batcher(DurableObject):
    """Collects items and posts them upstream, one batch per window (10 s from the first item) or sooner when full.

    Each accepted item reaches the upstream at least once, in one batch and under one key only, in the order in which it
    came. A batch that is not delivered is tried again after 2, 4 and 8 s, then set aside and tried at long intervals,
    and kept as failed after a day: nothing is thrown away. While a batch is in its quick retries newer items wait.

    Override ``process_batch`` in a proxy of your own to do something else with a batch.
    """

    class Meta:
        proxy = True

    def add_item(self, item: object) -> int:
        """Add one item, any JSON value; how many wait now. Raises ``InvalidValue`` for anything else."""
        return self.add_items([item])

    def add_items(self, items: Iterable[object]) -> int:
        """Add several items, all or none of them; how many wait now. Raises ``InvalidValue``."""
        line = checked(items)
        return self._append(line) if line else self.queued()

    def queued(self) -> int:
        """How many items wait for a batch (not those in one already). A plain read."""
        return Waiting(self.storage).count

    def get_alarm_time(self) -> datetime | None:
        """When the batcher acts next, aware UTC; None when nothing is to be done, or while it is at it."""
        return self.storage.get_alarm()

    def cancel_alarm(self) -> bool:
        """Stop until the next ``add_item`` or ``flush()``; whether an alarm was set. What waits, waits on."""
        return self._hold() if self._is_in_use() else False

    def flush(self) -> None:
        """Send now what waits, and try now what was not delivered yet. Does nothing when there is nothing."""
        if self._is_in_use():
            self._hurry()

    @exclusive
    def configure(self, **changes: Unpack[Changes]) -> None:
        """Change the given settings, and only those; None puts one back to the project's (``settings.BATCHER``).

        ``upstream_url``, ``headers``, ``window`` (timedelta), ``max_items``, ``max_bytes``, ``max_retries``,
        ``give_up_after`` (timedelta). Holds from the next item and the next try on. Raises ``InvalidInput`` naming the
        value and what is allowed; then nothing was changed.
        """
        check(changes)
        BatcherSettings.objects.update_or_create(object_id=self.pk, defaults=changes)

    @exclusive
    def replay(self, batch_id: uuid.UUID | str) -> None:
        """Send a batch again, whatever became of it: the same items under the same key. Raises ``InvalidInput``."""
        batch = self._batch(batch_id)
        batch.revive(self._policy(), now())
        waiting = Waiting(self.storage)
        waiting.held = False
        waiting.save()
        self._alarm_by(now())

    def process_batch(self, batch: Batch) -> Answer | None:
        """Deliver ``batch.items`` under the key ``batch.id``; ``batch.attempt`` counts the tries from 1.

        Runs while the object is unlocked, at least once per batch. Returning means delivered, unless it is an
        ``Answer`` that says otherwise; raising means that it is to be tried again. The default posts
        ``{"batcher": name, "batch": id, "items": [...]}`` as JSON with ``Idempotency-Key: id``; without an
        ``upstream_url`` it logs the batch.
        """
        policy = self._policy()
        if not policy.upstream_url:
            logger.info("Batcher %s: batch %s of %s items, no upstream", self.name, batch.id, batch.item_count)
            return None
        name = json.dumps(self.name, ensure_ascii=False)
        body = f'{{"batcher":{name},"batch":"{batch.id}","items":{batch.items_json}}}'
        return upstream.post(
            policy.upstream_url, body.encode(), key=str(batch.id), headers=policy.headers, timeout=defaults.TIMEOUT
        )

    def alarm(self, info: AlarmInfo) -> None:
        """Seal what is due into a batch, post it while unlocked, write down what came of it, and set the next alarm.

        A try that fails does not raise: its retries are the batch's own, so that items added meanwhile (their
        alarm would replace the engine's retry) cannot disturb them.
        """
        batch = self._next_batch()
        if batch is not None:
            with self.unlocked():
                crash.reach("batcher.sealed")
                answer = self._deliver(batch)
                crash.reach("batcher.posted")
            self._settle(batch, answer)
            crash.reach("batcher.settled")
        self._plan()

    # -- from outside, in a turn

    @exclusive
    def _append(self, items: list[Item]) -> int:
        policy = self._policy()
        if largest := max((item.size for item in items if item.size > policy.max_bytes), default=0):
            raise refused_item(f"an item takes {largest} bytes as JSON", f"at most max_bytes, {policy.max_bytes}")
        moment, waiting, alarm = now(), Waiting(self.storage), self.storage.get_alarm()
        waiting.append(items, moment)
        # Overdue without an alarm: it was taken away by hand, and this item opens a new window.
        stranded = alarm is None and waiting.due is not None and waiting.due < moment and not self._is_retrying()
        news = waiting.due is None or stranded
        if waiting.due is None or stranded:
            waiting.due = moment + policy.window
        if waiting.is_full(policy) and waiting.due > moment:
            waiting.due, news = moment, True
        waiting.held = False
        waiting.save()
        # An alarm that stands is moved for a new window or a full batch only: somebody may have moved it on purpose.
        if alarm is None or (news and not self._is_retrying()):
            self._alarm_by(waiting.due)
        return waiting.count

    @exclusive
    def _hold(self) -> bool:
        was_set = self.storage.get_alarm() is not None
        waiting = Waiting(self.storage)
        waiting.held, waiting.due = True, None
        waiting.save()
        self.storage.delete_alarm()
        return was_set

    @exclusive
    def _hurry(self) -> None:
        moment, waiting = now(), Waiting(self.storage)
        unfinished = Batch.objects.of(self.pk).unfinished().update(next_try_at=moment)
        if not (waiting.count or unfinished):
            return
        waiting.flush(moment)
        waiting.save()
        self._alarm_by(moment)

    # -- the steps of alarm()

    def _next_batch(self) -> Batch | None:
        """The batch to try now, its try counted: an older one whose time has come, or a new one of what waits."""
        moment, waiting = now(), Waiting(self.storage)
        due = Batch.objects.of(self.pk).unfinished().filter(next_try_at__lte=moment)
        batch = due.order_by("next_try_at", "sealed_at").first()
        # An alarm with nothing due was set by hand: then what waits goes, window or not.
        first = batch is None or (waiting.due is not None and waiting.due < (batch.next_try_at or moment))
        if waiting.count and first and not self._is_retrying():
            policy = self._policy()
            texts = waiting.take(policy, moment)
            waiting.save()
            batch = Batch.seal(self.pk, texts, policy, moment) if texts else batch
        if batch is not None:
            batch.begin()
        return batch

    def _deliver(self, batch: Batch) -> Answer:
        """One try, of which nothing escapes but that this run was superseded."""
        try:
            answer = self.process_batch(batch)
        except RunSuperseded:
            raise
        except Exception as error:  # whatever an override raises is a failed try of this batch
            logger.warning("Batcher %s: batch %s could not be processed", self.name, batch.id, exc_info=True)
            return Answer.failed(error)
        return answer if isinstance(answer, Answer) else Answer(Verdict.DELIVERED)

    def _settle(self, batch: Batch, answer: Answer) -> None:
        """Write down what came of a try. The batch may have been deleted meanwhile; then there is nothing to write."""
        row = Batch.objects.of(self.pk).unfinished().defer("items_json").filter(pk=batch.pk).first()
        if row is None:
            return
        row.settle(answer, self._policy(), now())
        level = logging.INFO if answer.verdict is Verdict.DELIVERED else logging.WARNING
        logger.log(
            level, "Batcher %s: batch %s of %s items, try %s: %s, now %s", self.name, row.id, row.item_count,
            row.attempts, answer.status_code or answer.text or "done", row.status,
        )  # fmt: skip

    def _plan(self) -> None:
        """Set the next alarm: the earliest of what is to be done and of what others asked for meanwhile."""
        waiting, stands = Waiting(self.storage), self.storage.get_alarm()
        if waiting.held:
            return
        times = [Batch.objects.of(self.pk).unfinished().next_try()]
        if waiting.count and not self._is_retrying():
            times.append(waiting.due or now())
        # An alarm that only stands for the waiting items has been weighed above: they may have to wait longer now.
        times.append(None if stands == waiting.due else stands)
        if wanted := [time for time in times if time is not None]:
            self.storage.set_alarm(min(wanted))
        elif stands is not None:
            self.storage.delete_alarm()

    # -- small questions

    def _alarm_by(self, at: datetime) -> None:
        """Set the alarm, unless an earlier one stands."""
        stands = self.storage.get_alarm()
        if stands is None or at < stands:
            self.storage.set_alarm(at)

    def _is_retrying(self) -> bool:
        """Whether a batch is in its quick retries, so that newer items wait."""
        return Batch.objects.of(self.pk).filter(status=Batch.Status.OPEN).exists()

    def _is_in_use(self) -> bool:
        """Whether the object is there at all: a question to one that was never used must not make it."""
        return type(self).objects.filter(name=self.name).exists()

    def _policy(self) -> Policy:
        return policy_of(self.pk)

    def _batch(self, batch_id: uuid.UUID | str) -> Batch:
        try:
            wanted = batch_id if isinstance(batch_id, uuid.UUID) else uuid.UUID(batch_id)
            return Batch.objects.of(self.pk).get(pk=wanted)
        except (AttributeError, TypeError, ValueError, Batch.DoesNotExist):
            problem = f"batcher {show(self.name)} has no batch {show(batch_id)}"
            raise refusal(problem, "the id of one of its batches") from None
