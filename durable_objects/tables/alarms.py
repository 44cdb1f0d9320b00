"""The alarm slot of an object. Only ``alarms.sql``, ``alarms.leases`` and ``delivery.claims`` write its rows."""

from __future__ import annotations

from typing import ClassVar, Self

from django.contrib.contenttypes.models import ContentType
from django.db import models

from durable_objects.database.fields import MomentField
from durable_objects.tables.columns import RowManager
from durable_objects.tables.objects import Object


def _first_of_both() -> models.Case:
    """Return the first of the alarm's due time, while it is armed, and the schedules'."""
    armed = models.Q(state="armed")
    alone, first = models.Q(schedule_due_at__isnull=True), models.Q(due_at__lte=models.F("schedule_due_at"))
    return models.Case(
        models.When(armed & (alone | first), then=models.F("due_at")), default=models.F("schedule_due_at")
    )


class Alarm(models.Model):
    """An object's alarm slot: made by its first ``set_alarm``, kept while the object lives, armed or not."""

    class State(models.TextChoices):
        """``idle``: nothing set. ``armed``: will run. ``dead``: its retries are used up."""

        IDLE = "idle"
        ARMED = "armed"
        DEAD = "dead"

    object = models.OneToOneField(Object, on_delete=models.CASCADE, primary_key=True, related_name="alarm_row")
    #: The object's own, for lists and counts of a class. The constraint is on the object's row: no second look per row.
    kind = models.ForeignKey(
        ContentType, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False, editable=False
    )
    state = models.CharField(max_length=5, choices=State.choices, default=State.IDLE, db_default=State.IDLE)
    #: The time that was asked for, the same on every retry; ``due_at`` is when the next run may begin.
    scheduled_at = MomentField(null=True)
    due_at = MomentField(null=True)
    #: When the next run of one of the object's schedules may begin: the first of theirs.
    schedule_due_at = MomentField(null=True)
    #: When the object is to be woken, for its alarm or a schedule, whichever is first: this is what wake-ups go by.
    #: The database computes it, so that no writer can forget it.
    wake_at = models.GeneratedField(expression=_first_of_both(), output_field=MomentField(null=True), db_persist=True)
    # Numbers are of plain types: PostgreSQL reads each CHECK, as positive ones have it, again for each statement.
    #: Failed runs of this alarm; and starts that ended with their lease instead of a result.
    retry_count = models.IntegerField(default=0, db_default=0)
    crashed_starts = models.IntegerField(default=0, db_default=0)
    #: One more with every set and delete: tells a run whether the alarm is still the one it runs.
    generation = models.BigIntegerField(default=0, db_default=0)
    #: One more with every run that took a lease: tells a run whether another has taken over.
    fence = models.BigIntegerField(default=0, db_default=0)
    #: Until when a run inside ``unlocked()`` keeps the object; its process (``process.name``), of the last lease too.
    leased_until = MomentField(null=True)
    leased_by = models.CharField(max_length=100, default="", db_default="", blank=True)
    leased_generation = models.BigIntegerField(null=True)
    #: The number of the wake-up that is out, the time it was sent for, and how often it got lost.
    wake_up_number = models.BigIntegerField(default=0, db_default=0)
    wake_up_for = MomentField(null=True)
    wake_ups_lost = models.IntegerField(default=0, db_default=0)
    last_error = models.TextField(default="", db_default="", blank=True)
    #: ``error_groups.fingerprint`` of it: the same for errors that differ in values only.
    error_group = models.CharField(max_length=16, default="", db_default="", blank=True)
    #: Counts what was set on this object, alarms and schedules: the number of one is in ``AlarmInfo.key``.
    sets = models.BigIntegerField(default=0, db_default=0)
    #: That of this alarm, also on its retries and when it is revived.
    set_number = models.BigIntegerField(default=0, db_default=0)
    #: The trace that set it, as W3C's ``traceparent``, to which its runs are linked; empty without ``TRACING``.
    set_by_trace = models.CharField(max_length=55, default="", db_default="", blank=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        indexes = [
            models.Index(fields=["wake_at"], condition=models.Q(wake_at__isnull=False), name="durable_objects_wake"),
            models.Index(
                fields=["kind", "wake_at"], condition=models.Q(wake_at__isnull=False), name="durable_objects_kind_wake"
            ),
            # For those who look: few rows are in these at a time, so that they cost next to nothing.
            models.Index(
                fields=["wake_at"],
                condition=models.Q(state="armed", retry_count__gt=0),
                name="durable_objects_retrying",
            ),
            models.Index(
                fields=["kind", "wake_at"],
                condition=models.Q(state="armed", retry_count__gt=0),
                name="durable_objects_kind_retrying",
            ),
            models.Index(fields=["object"], condition=models.Q(state="dead"), name="durable_objects_dead"),
            models.Index(fields=["kind", "object"], condition=models.Q(state="dead"), name="durable_objects_kind_dead"),
            models.Index(
                fields=["error_group", "kind", "object"],
                condition=models.Q(state="dead"),
                name="durable_objects_dead_by_error",
            ),
            models.Index(
                fields=["leased_until"],
                condition=models.Q(leased_until__isnull=False),
                name="durable_objects_leased",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} alarm of {self.object_id}"
