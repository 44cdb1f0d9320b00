"""The schedules of objects. Only ``alarms.schedule_sql`` writes their rows."""

from __future__ import annotations

from typing import ClassVar, Self

from django.contrib.contenttypes.models import ContentType
from django.db import models

from durable_objects.database.fields import MomentField, SpanField
from durable_objects.tables.columns import ByteOrderCharField, RowManager
from durable_objects.tables.objects import Object


class Schedule(models.Model):
    """A named schedule of an object: when which of its methods is called, and with what.

    It runs as the alarm does, one at a time with it. A schedule that has no time left is deleted.
    """

    class State(models.TextChoices):
        """``armed``: will run. ``dead``: retries are used up and no time comes. ``cancelled``: declared by its class,
        and cancelled on this object.
        """

        ARMED = "armed"
        DEAD = "dead"
        CANCELLED = "cancelled"

    id = models.BigAutoField(primary_key=True)
    object = models.ForeignKey(Object, on_delete=models.CASCADE, related_name="+", db_index=False)
    #: As of an alarm.
    kind = models.ForeignKey(
        ContentType, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False, editable=False
    )
    name = ByteOrderCharField(max_length=512)
    method = models.CharField(max_length=200)
    #: The positional and the named arguments, as an entry's value is stored.
    arguments = models.TextField()
    #: As ``recurrence.rules.Rule.to_text()``; ``misfire`` and ``grace`` say what becomes of a time
    #: that was missed.
    rule = models.TextField()
    misfire = models.CharField(max_length=4)
    grace = SpanField(null=True)
    #: Whether the class declares it.
    declared = models.BooleanField(default=False)
    state = models.CharField(max_length=9, choices=State.choices, default=State.ARMED)
    #: The time of the occurrence that runs next, the same on every retry; ``due_at`` is when it may begin.
    scheduled_at = MomentField(null=True)
    due_at = MomentField(null=True)
    #: The one after that, once the misfire policy was applied to what was missed: not again on a retry or a revival.
    follow_at = MomentField(null=True)
    is_decided = models.BooleanField(default=False)
    retry_count = models.PositiveIntegerField(default=0)
    #: Its number among what was set on the object; another one with every change.
    set_number = models.PositiveBigIntegerField()
    last_error = models.TextField(default="", blank=True)
    #: Likewise.
    error_group = models.CharField(max_length=16, default="", db_default="", blank=True)
    #: The last occurrence whose retries were used up: what ``revive`` runs again.
    died_at = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["object", "name"], name="durable_objects_one_per_schedule")]
        indexes = [
            models.Index(fields=["kind", "due_at"], name="durable_objects_kind_due"),
            models.Index(fields=["due_at"], condition=models.Q(state="armed"), name="durable_objects_scheduled"),
            models.Index(fields=["object"], condition=models.Q(died_at__isnull=False), name="durable_objects_died"),
            models.Index(
                fields=["error_group", "object"],
                condition=models.Q(died_at__isnull=False),
                name="durable_objects_died_by_error",
            ),
            models.Index(
                fields=["due_at"],
                condition=models.Q(state="armed", retry_count__gt=0),
                name="durable_objects_retried",
            ),
        ]

    def __str__(self) -> str:
        return self.name
