"""What operators do to many objects: a row for each operation, written by ``operations.bulk`` and ``bulk_chunks``."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from durable_objects.database.fields import MomentField
from durable_objects.tables.columns import RowManager


class Operation(models.Model):
    """A verb on everything that matches: what was asked by whom, and how far it is.

    Each object's change commits together with the figures here and with ``cursor``: whatever is killed on the way, no
    object is done twice, and none is counted twice.
    """

    class State(models.TextChoices):
        """``waiting``: until the one before it (``after``) is done. ``stopped``: by somebody, or for ``error``."""

        WAITING = "waiting"
        RUNNING = "running"
        STOPPED = "stopped"
        DONE = "done"

    id = models.BigAutoField(primary_key=True)
    verb = models.CharField(max_length=50)
    #: What it is done to: the canonical text of a selection, and the same in words, as they were when it was asked.
    selection = models.TextField()
    words = models.TextField()
    #: Of the verb, as JSON.
    arguments = models.JSONField(default=dict)
    reason = models.TextField(default="", blank=True)
    #: Who asked: a user of the admin or of the machine; and the primary key of the admin's user, who is in the log.
    by = models.CharField(max_length=150, default="", blank=True)
    user = models.CharField(max_length=64, default="", blank=True)
    #: The content types of the classes that the user may do this to; None: all.
    kinds = models.JSONField(null=True)
    #: At most this many objects a second; None: as fast as it goes.
    rate = models.FloatField(null=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.RUNNING)
    #: Why it stopped by itself.
    error = models.TextField(default="", blank=True)
    #: Done once this one is done.
    after = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+")
    #: The first operation of the plan after an outage that this one is part of; and the content types of the classes
    #: that the plan has paused, to be resumed once this operation, its last, is done.
    plan = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+")
    resumes = models.JSONField(default=list)
    asked_at = MomentField()
    started_at = MomentField(null=True)
    ended_at = MomentField(null=True)
    #: When a chunk was last committed.
    beat_at = MomentField(null=True)
    #: For how long it has stood still, stopped by somebody, between its beginning and ``beat_at``.
    seconds_stopped = models.FloatField(default=0, db_default=0)
    #: How many matched when it was asked, and what became of those that it has come to.
    total = models.PositiveBigIntegerField(default=0)
    done = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    #: The first failures: object, class, name, error.
    failures = models.JSONField(default=list)
    #: Objects up to the primary key ``cursor`` are done, except ``pending``, which were locked; those behind ``last``
    #: were made later and are left alone.
    cursor = models.BigIntegerField(default=0)
    last = models.BigIntegerField(default=0)
    pending = models.JSONField(default=list)
    #: One more with every worker that takes it over: another one is refused at its next commit.
    fence = models.PositiveBigIntegerField(default=0)
    #: While it runs: when a worker is to be asked for it (again).
    ask_at = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        indexes = [
            models.Index(fields=["ask_at"], condition=models.Q(ask_at__isnull=False), name="durable_objects_asked"),
            models.Index(fields=["plan"], condition=models.Q(plan__isnull=False), name="durable_objects_plan"),
        ]

    def __str__(self) -> str:
        return f"operation {self.pk}: {self.verb.replace('_', ' ')}"  # no name: the log shows it to others
