"""The tables: what each reminder is set to, for whom, and what was sent by which channel under which key."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models

from durable_objects import InvalidInput
from reminders.conf import defaults
from reminders.quiet import QuietHours
from reminders.rules import check_zone
from reminders.series import Place, Series

#: So long may an e-mail address be, with the name before it.
LONGEST_ADDRESS = 320


class Recipient(models.Model):
    """A person whom reminders are for: where they are reached, and when not. Written by staff, in admin."""

    name = models.CharField(max_length=200, unique=True, help_text="What a reminder's “person” says.")
    time_zone = models.CharField(max_length=100, default="UTC", help_text="Such as Europe/Berlin.")
    quiet_hours = models.CharField(
        max_length=11,
        blank=True,
        help_text="Such as 22:00-07:00, in that zone. What is not urgent is held till their end.",
    )
    email = models.EmailField(blank=True)
    webhook_url = models.CharField(max_length=2000, blank=True, validators=[URLValidator(["http", "https"])])
    webhook_secret = models.CharField(max_length=200, blank=True, help_text="whsec_… (Standard Webhooks).")
    #: One more makes the address of the calendar feed another one.
    feed_version = models.PositiveIntegerField(default=1, editable=False)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """The zone is one, and so are the quiet hours."""
        wrong = {}
        for field, check in (("time_zone", check_zone), ("quiet_hours", QuietHours.parse)):
            try:
                if getattr(self, field) or field == "time_zone":
                    check(getattr(self, field))
            except InvalidInput as refused:
                wrong[field] = str(refused)
        if wrong:
            raise ValidationError(wrong)

    @classmethod
    def find(cls, name: str) -> Recipient:
        """The recipient of this name; one without anything of their own where nobody has been entered."""
        found = cls.objects.filter(name=name).first() if name else None
        return found or cls(name=name, time_zone=defaults.TIME_ZONE)

    def undisturbed(self, moment: datetime) -> datetime:
        """The first moment from this one on that is not in their quiet hours."""
        if not self.quiet_hours:
            return moment
        return QuietHours.parse(self.quiet_hours).over_at(moment, ZoneInfo(self.time_zone))


class PlanQuerySet(models.QuerySet["Plan"]):
    """What reminders are set to."""

    def of_person(self, person: str) -> PlanQuerySet:
        """What is set for a person, what comes next first: one query, by an index."""
        mine = self.filter(person=person, state=Plan.State.SET)
        return mine.order_by("next_at", "pk").select_related("object")


class Plan(models.Model):
    """What one reminder is set to and where in its series it stands. Written by the reminder, in its turns.

    The row stays when the reminder is over or cancelled, and says so.
    """

    class State(models.TextChoices):
        """``over``: the last occurrence was delivered, or skipped."""

        SET = "set"
        OVER = "over"
        CANCELLED = "cancelled"

    #: What ``put_off`` says.
    QUIET, SNOOZED = "quiet hours", "snoozed"

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="reminder"
    )
    state = models.CharField(max_length=9, choices=State.choices, default=State.SET)
    person = models.CharField(max_length=200, blank=True, default="")
    message = models.TextField()
    fire_at = models.DateTimeField()
    recurrence = models.TextField(null=True, blank=True)  # noqa: DJ001  null: none, as in the contract
    time_zone = models.CharField(max_length=100)
    channels = models.JSONField()
    urgent = models.BooleanField(default=False)
    skip_if_late = models.DurationField(null=True, blank=True)
    #: A new one with each ``set_reminder``; one more with each change from outside. Keys are made from the first.
    series_id = models.UUIDField(default=uuid.uuid4)
    revision = models.PositiveIntegerField(default=0)
    #: The place in the series: see ``series.Place``.
    occurrence = models.DateTimeField()
    number = models.PositiveBigIntegerField(default=1)
    wall = models.CharField(max_length=26)
    #: When it is delivered: later than ``occurrence`` once it was put off, and then why.
    next_at = models.DateTimeField()
    put_off = models.CharField(max_length=11, blank=True, default="")
    #: Times that an occurrence of this series was snoozed: each makes another delivery, with another key.
    snoozes = models.PositiveIntegerField(default=0)

    objects = PlanQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["person", "next_at"], condition=models.Q(state="set"), name="reminders_of_person")
        ]

    def __str__(self) -> str:
        return f"plan of {self.object_id}"

    @property
    def key(self) -> uuid.UUID:
        """The key of the coming delivery: the same on every retry, another one for the next."""
        again = f"#{self.snoozes}" if self.snoozes else ""
        return uuid.uuid5(self.series_id, self.occurrence.astimezone(UTC).isoformat() + again)

    @property
    def series(self) -> Series:
        """All of its times."""
        return Series(self.fire_at, self.recurrence, self.time_zone)

    @property
    def place(self) -> Place:
        """Where in the series it stands."""
        return Place(self.occurrence, self.number, self.wall)

    def stand_at(self, place: Place) -> None:
        """Go to another place of the series, to be delivered at its time."""
        self.occurrence, self.number, self.wall = place.at, place.number, place.wall
        self.next_at, self.put_off = place.at, ""

    def is_as(self, other: Plan) -> bool:
        """Whether it is the same reminder at the same place, and nothing was changed in between."""
        mine, theirs = (self.series_id, self.revision), (other.series_id, other.revision)
        return mine == theirs and self.occurrence == other.occurrence

    def is_too_late(self, moment: datetime) -> bool:
        """Whether it is not worth delivering any more."""
        return self.skip_if_late is not None and moment - self.next_at > self.skip_if_late

    def following(self, moment: datetime) -> Place | None:
        """The next place of the series that is after this moment; None when it is over."""
        return self.series.following(self.place, max(self.occurrence, moment)) if self.recurrence else None


class Delivery(models.Model):
    """One reminder at one time by one channel to one address. ``key`` is the same on every retry, and for all of them,
    and goes with the message.
    """

    class Status(models.TextChoices):
        """``failed``: refused, or the last try so far did. ``skipped``: it would have been too late."""

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        REFUSED = "refused"
        SKIPPED = "skipped"

    id = models.BigAutoField(primary_key=True)
    reminder = models.ForeignKey("durable_objects.Object", on_delete=models.CASCADE, related_name="+")
    key = models.UUIDField()
    channel = models.CharField(max_length=100)
    #: Where a channel tells several apart, as e-mail does.
    address = models.CharField(max_length=LONGEST_ADDRESS, default="", blank=True)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    message = models.TextField()
    #: Its time in the series, and when it was to be delivered: later if it was put off.
    occurrence = models.DateTimeField(null=True)
    planned_at = models.DateTimeField()
    #: Tries that began, the error of the last that failed, and when it was delivered (None: not yet).
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(default="", blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    #: What the other side said to it.
    answer = models.TextField(default="", blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["key", "channel", "address"], name="reminders_one_per_key_and_address")
        ]

    def __str__(self) -> str:
        return f"delivery {self.key} by {self.way}"

    @property
    def way(self) -> str:
        """By which channel and to whom, in words."""
        return f"{self.channel} to {self.address}" if self.address else self.channel

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to try."""
        return self.status in {self.Status.DELIVERED, self.Status.REFUSED, self.Status.SKIPPED}
