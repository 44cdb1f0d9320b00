"""The table of deliveries: what was sent, by which channel, under which key."""

from __future__ import annotations

from django.db import models


class Delivery(models.Model):
    """One reminder at one time by one channel. ``key`` is the same on every retry and goes with the message."""

    id = models.BigAutoField(primary_key=True)
    reminder = models.ForeignKey("durable_objects.Object", on_delete=models.CASCADE, related_name="+")
    key = models.UUIDField()
    channel = models.CharField(max_length=100)
    message = models.TextField()
    planned_at = models.DateTimeField()
    #: Tries that began, the error of the last that failed, and when it was delivered (None: not yet).
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(default="", blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["key", "channel"], name="reminders_one_per_key_and_channel")]

    def __str__(self) -> str:
        return f"delivery {self.key} by {self.channel}"
