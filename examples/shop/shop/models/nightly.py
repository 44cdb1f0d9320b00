"""Nightly work on the wall clock: at three in Berlin, in summer as in winter."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db import models

from durable_objects import AlarmInfo, exclusive, now
from durable_objects.models import DurableObject
from shop.models.trial import Customer

AT = time(3, 0)
ZONE = ZoneInfo("Europe/Berlin")


def next_time(at: time, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the first moment after ``after`` at which clocks in the zone show ``at``.

    A time that is skipped when summer time begins comes as much later (02:30 as 03:30); one that comes twice when it
    ends, the first time.
    """
    day = after.astimezone(zone).date()
    while (moment := datetime.combine(day, at, zone).astimezone(UTC)) <= after:
        day += timedelta(days=1)
    return moment


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
    """Counts each night. There is one: ``NightlyFigures.objects.get_by_name("all")``."""

    class Meta:
        proxy = True
        verbose_name_plural = "nightly figures"

    @exclusive
    def start(self) -> datetime:
        """Plan the next night unless one is planned, and return its time. Each release may call this."""
        return self.storage.get_alarm() or self._plan()

    def alarm(self, info: AlarmInfo) -> None:
        """Plan the next night and count: one transaction. When it raises, both are undone and tried again."""
        self._plan()
        paying = Customer.objects.filter(plan=Customer.Plan.PAID).count()
        DailyFigures.objects.update_or_create(
            day=info.scheduled_at.astimezone(ZONE).date(),
            defaults={"customers": Customer.objects.count(), "paying": paying},
        )

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """Go on tomorrow after a night on which all tries have failed."""
        self._plan()

    def _plan(self) -> datetime:
        at = next_time(AT, ZONE, now())
        self.storage.set_alarm(at)
        return at
