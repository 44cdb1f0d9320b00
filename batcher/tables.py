"""The tables: each batcher's own settings, the batches that were sealed, and the upstreams that have failed.

Who writes what: ``models`` (and admin) settings, ``batch_lifecycle`` batches, ``circuit_breaker`` upstreams.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from batcher.errors import InvalidSetting
from batcher.setting_rules import RULES, Policy, check
from durable_objects.models import DurableObject


class BatcherSettings(models.Model):
    """One batcher's own settings; empty means the project's (``settings.BATCHER``)."""

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="batcher"
    )
    upstream_url = models.TextField(null=True, blank=True)  # noqa: DJ001  null: the project's; empty: none
    headers = models.JSONField(null=True, blank=True)
    gzip = models.BooleanField(null=True, blank=True)
    secret = models.TextField(null=True, blank=True)  # noqa: DJ001  null: the project's; empty: no signature
    window = models.DurationField(null=True, blank=True)
    quiet = models.DurationField(null=True, blank=True)
    max_items = models.PositiveIntegerField(null=True, blank=True)
    max_bytes = models.PositiveIntegerField(null=True, blank=True)
    max_queued = models.PositiveIntegerField(null=True, blank=True)
    max_retries = models.PositiveIntegerField(null=True, blank=True)
    give_up_after = models.DurationField(null=True, blank=True)
    bisect = models.BooleanField(null=True, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "batcher settings"

    def __str__(self) -> str:
        return f"settings of {self.object}"

    def clean(self) -> None:
        """Apply the rules of ``configure()`` to a form."""
        try:
            check(self.own())
        except InvalidSetting as refused:
            raise ValidationError(str(refused)) from refused

    @cached_property
    def policy(self) -> Policy:
        """These over the project's, as they were when this was first asked."""
        return Policy.over_defaults(self.own())

    def own(self) -> dict[str, Any]:
        """Return the settings by name; None where the project's apply."""
        return {name: getattr(self, name) for name in RULES}


def policy_of(batcher: DurableObject) -> Policy:
    """Return the settings in force for a batcher."""
    return policy_in(batcher.row_of(BatcherSettings))


def policy_in(row: BatcherSettings | None) -> Policy:
    """Return the settings in force with this row, or without one."""
    return row.policy if row is not None else Policy.of_project()


class BatchQuerySet(models.QuerySet["Batch"]):
    """Batches, by what is to be done with them."""

    def of(self, object_id: int) -> BatchQuerySet:
        """Filter those of one batcher."""
        return self.filter(batcher_id=object_id)

    def unfinished(self) -> BatchQuerySet:
        """Filter those that are still to be delivered: ``open`` and ``set_aside``."""
        return self.filter(finished_at__isnull=True)  # and not by status: SQLite finds its index by this only

    def set_aside(self) -> BatchQuerySet:
        """Filter those whose quick retries are over, and that are tried again at longer intervals."""
        return self.unfinished().filter(status=Batch.Status.SET_ASIDE)

    def to_replay(self, *, unknown: bool) -> BatchQuerySet:
        """Filter the failed ones that can be sent again; with ``unknown`` also those that may have been delivered."""
        failed = self.filter(status=Batch.Status.FAILED, was_split=False)
        return failed if unknown else failed.filter(outcome_unknown=False)

    def is_retrying(self) -> bool:
        """Return whether one of them is in its quick retries, so that newer items wait."""
        return self.unfinished().filter(status=Batch.Status.OPEN).exists()

    def next_try(self) -> datetime | None:
        """Return when the first of them is to be tried."""
        soonest: datetime | None = self.aggregate(at=models.Min("next_try_at"))["at"]
        return soonest

    def next_item(self) -> int:
        """Return the number after the last item that is in one of them; 1 where none is."""
        last = self.filter(first_item__isnull=False).order_by("-first_item").defer("items_json").first()
        return (last.first_item or 0) + last.item_count if last is not None else 1

    def item_count(self) -> int:
        """Count the items in them."""
        counted: int = self.aggregate(items=models.Sum("item_count", default=0))["items"]
        return counted


class Batch(models.Model):
    """Items that are sealed into one POST, under one key, until the upstream has them.

    ``id`` is that key. ``attempt`` is the number of the running try, ``attempts`` of all that began (a try that was cut
    off by a crash counts). The items never change.
    """

    class Status(models.TextChoices):
        """``open``: in its quick retries, newer items wait for it. ``set_aside``: tried again at long intervals.
        ``delivered``: the upstream has every item. ``failed``: refused or given up, in whole or in part
        (``failed_items``), kept for a replay.
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
    #: The number of its first item among all that the batcher ever accepted; the others follow without a gap.
    first_item = models.PositiveBigIntegerField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    #: Failed tries since it was sealed, set aside or replayed: they decide the next pause.
    failures = models.PositiveIntegerField(default=0)
    #: When the running try began; None while none is. One that finds it set was preceded by a crash.
    began_at = models.DateTimeField(null=True, blank=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    answer = models.TextField(default="", blank=True)
    #: The upstream's last answer for each item that it did not accept, by its place in the batch (from 0, as text):
    #: ``{"4": {"status": 422, "error": "…"}}``. What it once accepted stays accepted. None: it accepted nothing yet.
    outcomes = models.JSONField(null=True, blank=True)
    #: Once finished: how many items the upstream did not accept.
    failed_items = models.PositiveIntegerField(default=0)
    #: A try may have been taken without our knowing: no answer after the body was sent, a crash before it was written
    #: down, an answer that does not say what became of each item. False on a failed batch: it is proven undelivered.
    outcome_unknown = models.BooleanField(default=False)
    sealed_at = models.DateTimeField()
    next_try_at = models.DateTimeField(null=True, blank=True)
    give_up_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    #: Its tries with their answers, and what people did to it: see ``batch_history``. None: nothing is on record.
    history = models.JSONField(null=True, blank=True, editable=False)
    #: Split into smaller ones after it was refused as a whole (``bisect``), or by hand: its items are theirs now.
    was_split = models.BooleanField(default=False)
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="parts")

    objects: ClassVar[models.Manager[Batch]] = models.Manager.from_queryset(BatchQuerySet)()

    class Meta:
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=["batcher", "-sealed_at"], name="batcher_batches_of"),
            models.Index(fields=["-sealed_at"], name="batcher_by_age"),
            models.Index(
                fields=["batcher", "next_try_at"],
                condition=models.Q(finished_at__isnull=True),
                name="batcher_unfinished",
            ),
            models.Index(
                fields=["status", "-sealed_at"], condition=~models.Q(status="delivered"), name="batcher_undelivered"
            ),
            models.Index(fields=["-sealed_at"], condition=models.Q(outcome_unknown=True), name="batcher_unknown"),
            models.Index(fields=["batcher", "-first_item"], name="batcher_by_item"),
            models.Index(
                fields=["batcher", "finished_at"],
                condition=models.Q(status="delivered"),
                name="batcher_delivered",
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


class ItemKey(models.Model):
    """Which item came with a key of the client's own. Committed with the item; only ``idempotency_keys`` writes it."""

    id = models.BigAutoField(primary_key=True)
    batcher = models.ForeignKey("durable_objects.Object", on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    #: The item's number among all that the batcher ever accepted, and the SHA-256 of its JSON.
    item = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    came_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["batcher", "key"], name="batcher_one_item_per_key")]
        indexes = [models.Index(fields=["batcher", "came_at"], name="batcher_keys_by_age")]

    def __str__(self) -> str:
        return f"key of item {self.item}"


class Upstream(models.Model):
    """The circuit breaker of one upstream, shared by all batchers that post to it.

    There is a row from the first answer or failure on. Success where nothing has failed since then writes nothing.
    """

    class State(models.TextChoices):
        """``closed``: posts go. ``open``: none goes before ``retry_at``. ``half_open``: one goes, as a probe."""

        CLOSED = "closed"
        OPEN = "open"
        HALF_OPEN = "half_open"

    #: Scheme, host and port: ``https://example.com:443``.
    origin = models.CharField(max_length=300, primary_key=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.CLOSED)
    #: Failed tries in a row, of whatever batchers.
    failures = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    #: From when on a probe may go; while one is under way, when it counts as lost.
    retry_at = models.DateTimeField(null=True, blank=True)
    #: What the last failure was: a status, or the error.
    last_error = models.CharField(max_length=200, default="", blank=True)

    def __str__(self) -> str:
        return self.origin
