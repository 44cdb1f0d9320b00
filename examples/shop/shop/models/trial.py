"""The trial that expires: its end can be moved, and goes away when the customer pays."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models, transaction

from durable_objects import AlarmInfo, exclusive
from durable_objects.models import DurableObject

TRIAL = timedelta(days=14)


class Customer(models.Model):
    """Somebody who has signed up, with the plan that they are on."""

    class Plan(models.TextChoices):
        """What they may use."""

        TRIAL = "trial"
        PAID = "paid"
        FREE = "free"

    email = models.EmailField(unique=True)
    plan = models.CharField(max_length=5, choices=Plan, default=Plan.TRIAL)

    def __str__(self) -> str:
        return self.email

    @classmethod
    def sign_up(cls, email: str) -> Customer:
        """Make the customer and start the trial, both or neither."""
        with transaction.atomic():
            customer = cls.objects.create(email=email)
            Trial.of(customer).start()
        return customer


class TrialOver(Exception):
    """The trial has ended, so it cannot be extended."""


class Trial(DurableObject):
    """The trial of one customer, by the primary key."""

    class Meta:
        proxy = True

    @classmethod
    def of(cls, customer: Customer) -> Trial:
        """Return the trial of this customer. Names are text, so ``str(pk)``."""
        return cls.objects.get_by_name(str(customer.pk))

    @exclusive
    def start(self) -> None:
        """Begin: the alarm is the end."""
        self.storage.set_alarm(TRIAL)

    @exclusive
    def extend(self, by: timedelta) -> datetime:
        """Move the end, and return the new one. Raises ``TrialOver``."""
        ends = self.storage.get_alarm()
        if ends is None:
            raise TrialOver(f"the trial of customer {self.name} has ended")
        self.storage.set_alarm(ends + by)
        return ends + by

    @exclusive
    def upgrade(self) -> None:
        """Put the customer on the paid plan and cancel the end, in one transaction."""
        Customer.objects.filter(pk=self.name).update(plan=Customer.Plan.PAID)
        self.storage.delete_alarm()

    def alarm(self, info: AlarmInfo) -> None:
        """End the trial."""
        Customer.objects.filter(pk=self.name, plan=Customer.Plan.TRIAL).update(plan=Customer.Plan.FREE)
