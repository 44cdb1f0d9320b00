"""The tables: each batcher's own settings, and the batches that were sealed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from batcher import retrying
from batcher.policy import InvalidSetting, Policy, check
from batcher.upstream import Answer, Verdict

#: What a try or a replay may change; never the items.
OUTCOME = ["status", "failures", "status_code", "answer", "next_try_at", "give_up_at", "finished_at"]


class BatcherSettings(models.Model):
    """One batcher's own settings; empty means the project's (``settings.BATCHER``)."""

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="batcher"
    )
    upstream_url = models.TextField(null=True, blank=True)  # noqa: DJ001  null: the project's; empty: none
    headers = models.JSONField(null=True, blank=True)
    window = models.DurationField(null=True, blank=True)
    max_items = models.PositiveIntegerField(null=True, blank=True)
    max_bytes = models.PositiveIntegerField(null=True, blank=True)
    max_retries = models.PositiveIntegerField(null=True, blank=True)
    give_up_after = models.DurationField(null=True, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "batcher settings"

    def __str__(self) -> str:
        return f"settings of {self.object}"

    def clean(self) -> None:
        """The same rules for a form as for ``configure()``."""
        try:
            check(self.own())
        except InvalidSetting as refused:
            raise ValidationError(str(refused)) from refused

    def own(self) -> dict[str, Any]:
        """The settings by name; None where the project's hold."""
        return {field.name: getattr(self, field.name) for field in self._meta.fields if field.name != "object"}


def policy_of(object_id: int) -> Policy:
    """The settings in force for a batcher."""
    row = BatcherSettings.objects.filter(pk=object_id).first()
    return Policy.over_defaults(row.own() if row else {})


class BatchQuerySet(models.QuerySet["Batch"]):
    """Batches, by what is to be done with them."""

    def of(self, object_id: int) -> BatchQuerySet:
        """Those of one batcher."""
        return self.filter(batcher_id=object_id)

    def unfinished(self) -> BatchQuerySet:
        """Those that are still to be delivered."""
        return self.filter(status__in=[Batch.Status.OPEN, Batch.Status.SET_ASIDE])

    def next_try(self) -> datetime | None:
        """When the first of them is to be tried."""
        soonest: datetime | None = self.aggregate(at=models.Min("next_try_at"))["at"]
        return soonest


class Batch(models.Model):
    """Items that were sealed together and are posted together, under one key, until the upstream has them.

    ``id`` is that key. ``attempt`` is the number of the running try, ``attempts`` of all that began (a try that was cut
    off by a crash counts). The items never change.
    """

    class Status(models.TextChoices):
        """``open``: in its quick retries, newer items wait for it. ``set_aside``: tried again at long intervals.
        ``failed``: refused or given up, kept for a replay.
        """

        OPEN = "open"
        SET_ASIDE = "set_aside"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batcher = models.ForeignKey("durable_objects.Object", on_delete=models.CASCADE, related_name="+", db_index=False)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.OPEN)
    #: The items as the JSON array that is posted.
    items_json = models.TextField()
    item_count = models.PositiveIntegerField()
    attempts = models.PositiveIntegerField(default=0)
    #: Failed tries since it was sealed, set aside or replayed: what the next pause goes by.
    failures = models.PositiveIntegerField(default=0)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    answer = models.TextField(default="", blank=True)
    sealed_at = models.DateTimeField()
    next_try_at = models.DateTimeField(null=True, blank=True)
    give_up_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager[Batch]] = models.Manager.from_queryset(BatchQuerySet)()

    class Meta:
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=["batcher", "-sealed_at"], name="batcher_batches_of"),
            models.Index(fields=["-sealed_at"], name="batcher_by_age"),
            models.Index(
                fields=["batcher", "next_try_at"],
                condition=models.Q(status__in=["open", "set_aside"]),
                name="batcher_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.id}"

    @property
    def items(self) -> list[Any]:
        """The items, in the order in which they came."""
        items: list[Any] = json.loads(self.items_json)
        return items

    @property
    def attempt(self) -> int:
        """The number of the running try, from 1."""
        return self.attempts

    @classmethod
    def seal(cls, object_id: int, texts: Sequence[str], policy: Policy, now: datetime) -> Batch:
        """A new batch of these items (JSON texts), to be tried at once."""
        return cls.objects.create(
            batcher_id=object_id,
            items_json=f"[{','.join(texts)}]",
            item_count=len(texts),
            sealed_at=now,
            next_try_at=now,
            give_up_at=now + policy.give_up_after,
        )

    def begin(self) -> None:
        """A try begins: counted before it is made, so that a crash cannot hide it."""
        self.attempts += 1
        self.save(update_fields=["attempts"])

    def settle(self, answer: Answer, policy: Policy, now: datetime) -> None:
        """Write down what came of a try, and when the next one is."""
        self.status_code, self.answer = answer.status_code, answer.text
        if answer.verdict is Verdict.RETRY:
            following = retrying.after_failure(
                now,
                set_aside=self.status == self.Status.SET_ASIDE,
                failures=self.failures,
                max_retries=policy.max_retries,
                give_up_at=self.give_up_at,
                retry_after=answer.retry_after,
            )
            self.next_try_at, self.failures = following.at, following.failures
            self.status = self.Status.SET_ASIDE if following.set_aside else self.Status.OPEN
        if answer.verdict is not Verdict.RETRY or self.next_try_at is None:
            delivered = answer.verdict is Verdict.DELIVERED
            self.status = self.Status.DELIVERED if delivered else self.Status.FAILED
            self.next_try_at, self.finished_at = None, now
        self.save(update_fields=OUTCOME)

    def revive(self, policy: Policy, now: datetime) -> None:
        """To be tried now, under the same key, and once more for ``give_up_after`` if that fails."""
        if self.status != self.Status.OPEN:
            self.status, self.failures, self.finished_at = self.Status.SET_ASIDE, 0, None
            self.give_up_at = now + policy.give_up_after
        self.next_try_at = now
        self.save(update_fields=OUTCOME)
