"""The table of messages that were received."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

#: Old receipts that are deleted with each new one: the table shrinks faster than it grows, in short statements.
FORGET_AT_MOST = 100


class Receipt(models.Model):
    """One message that was worked on: its row is committed together with that work, or not at all."""

    id = models.BigAutoField(primary_key=True)
    #: Whose message: keys of different senders do not meet.
    source = models.CharField(max_length=100)
    key = models.CharField(max_length=255)
    status = models.PositiveSmallIntegerField(default=0)
    received_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="receiver_one_per_source_and_key")]

    def __str__(self) -> str:
        return f"{self.key} from {self.source}"

    @classmethod
    def forget(cls, older_than: timedelta, using: str) -> int:
        """Delete some of the receipts that are older; return how many."""
        rows = cls.objects.using(using)
        old = rows.filter(received_at__lt=timezone.now() - older_than).order_by("received_at")
        return rows.filter(pk__in=list(old.values_list("pk", flat=True)[:FORGET_AT_MOST])).delete()[0]
