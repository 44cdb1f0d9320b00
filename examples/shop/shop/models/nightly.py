"""Nightly work on the wall clock: at three in Berlin, in summer as in winter."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from django.db import models

from durable_objects import cron, now
from durable_objects.models import DurableObject
from shop.models.trial import Customer

ZONE = "Europe/Berlin"


class DailyFigures(models.Model):
    """How many customers there were on a night."""

    day = models.DateField(primary_key=True)
    customers = models.PositiveIntegerField()
    paying = models.PositiveIntegerField()

    class Meta:
        verbose_name_plural = "daily figures"

    def __str__(self) -> str:
        return f"{self.day}: {self.paying} of {self.customers}"


class NightlyFigures(DurableObject):
    """Counts each night. There is one, which ``migrate`` makes: ``NightlyFigures.objects.get_by_name("all")``."""

    class Meta:
        proxy = True
        verbose_name_plural = "nightly figures"

    @cron("0 3 * * *", zone=ZONE, of="all")
    def count(self) -> None:
        """Count, in one transaction. When it raises, it is undone and tried again. Called by hand it counts today."""
        info = self.schedules.info
        night = info.scheduled_at if info else now()
        paying = Customer.objects.filter(plan=Customer.Plan.PAID).count()
        DailyFigures.objects.update_or_create(
            day=night.astimezone(ZoneInfo(ZONE)).date(),
            defaults={"customers": Customer.objects.count(), "paying": paying},
        )
