"""The history of runs. Only ``alarms.history`` writes it."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from durable_objects.database.fields import MomentField
from durable_objects.tables.columns import RowManager
from durable_objects.tables.objects import Object


class AlarmRun(models.Model):
    """One call of ``alarm()``, or of a schedule's method: its moments, and how it went."""

    class Outcome(models.TextChoices):
        """``dead``: the last allowed run failed, or it gave up. ``superseded``: another run had taken over before this
        one ended. ``snoozed``: it asked to be run again later. ``skipped``: a schedule's times were missed, and its
        misfire policy runs none for them.
        """

        SUCCEEDED = "succeeded"
        FAILED = "failed"
        DEAD = "dead"
        SUPERSEDED = "superseded"
        SNOOZED = "snoozed"
        SKIPPED = "skipped"

    id = models.BigAutoField(primary_key=True)
    object = models.ForeignKey(Object, on_delete=models.CASCADE, related_name="+", db_index=False)
    scheduled_at = MomentField()
    due_at = MomentField()
    wake_up_for = MomentField(null=True)
    picked_up_at = MomentField()
    started_at = MomentField()
    ended_at = MomentField()
    # Numbers of plain types, as in ``tables.alarms``.
    retry_count = models.IntegerField()
    fence = models.BigIntegerField()
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    error = models.TextField(default="", blank=True)
    #: Which schedule it was; empty for the alarm.
    schedule = models.CharField(max_length=512, default="", db_default="", blank=True)
    set_number = models.BigIntegerField(default=0, db_default=0)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        verbose_name = "alarm run"
        indexes = [
            models.Index(fields=["object", "-id"], name="durable_objects_runs_of"),
            models.Index(fields=["ended_at"], name="durable_objects_runs_ended"),
            models.Index(
                fields=["outcome", "-id"], condition=~models.Q(outcome="succeeded"), name="durable_objects_runs_bad"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} at {self.started_at:%Y-%m-%d %H:%M:%S %Z}"
