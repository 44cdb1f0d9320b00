"""The tables: what each reminder is set to, for whom, and what was sent by which channel under which key."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from durable_objects import InvalidInput
from durable_objects.recurrence.rrule_parsing import RRule
from durable_objects.recurrence.series import Place
from durable_objects.recurrence.wall_clock import comes_twice
from durable_objects.recurrence.zones import find_zone
from durable_objects.validation import show
from reminders import validators
from reminders.conf import defaults
from reminders.quiet_hours import QuietHours
from reminders.recurrence import Series, check_zone

#: The longest e-mail address, with the name before it.
LONGEST_ADDRESS = 320
#: So long after its digest was to be sent a reminder that is still in it looks for itself.
DIGEST_OVERDUE_AFTER = timedelta(hours=1)


def any_version() -> int:
    """Return a number that no earlier recipient of the same name had."""
    return secrets.randbelow(2**62)


class Recipient(models.Model):
    """A person whom reminders are for: where they are reached, and when not. Written by staff, in admin."""

    name = models.CharField(max_length=200, unique=True, help_text="The name that reminders give as “person”.")
    time_zone = models.CharField(max_length=100, default="UTC", help_text="Such as Europe/Berlin.")
    quiet_hours = models.CharField(
        max_length=11,
        blank=True,
        help_text="Such as 22:00-07:00, in that zone. Reminders that are not urgent are held until they end.",
    )
    digest_window = models.DurationField(
        null=True,
        blank=True,
        validators=[validators.digest_window],
        help_text="From the first reminder that comes due on, all that do are one message, sent after this time. "
        "Urgent and snoozed ones come by themselves.",
    )
    email = models.EmailField(blank=True)
    webhook_url = models.CharField(max_length=2000, blank=True, validators=[validators.address])
    webhook_secret = models.CharField(
        max_length=200, blank=True, validators=[validators.secret], help_text="whsec_… (Standard Webhooks)."
    )
    #: Part of the address of the calendar feed: another one with each row, and one more ends the old address.
    feed_version = models.PositiveBigIntegerField(default=any_version, editable=False)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Check that the zone is one, and so are the quiet hours. Raises ``ValidationError``."""
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
        """Return the recipient of this name; where nobody has been entered, one with defaults."""
        found = cls.objects.filter(name=name).first() if name else None
        return found or cls(name=name, time_zone=defaults.TIME_ZONE)

    def undisturbed(self, moment: datetime) -> datetime:
        """Return the first moment from this one on that is not in their quiet hours; this one where their zone is not
        known any more.
        """
        zone = find_zone(self.time_zone)
        if not self.quiet_hours or zone is None:
            return moment
        return QuietHours.parse(self.quiet_hours).over_at(moment, zone)

    def window_for(self, *, urgent: bool, skip_if_late: timedelta | None) -> timedelta | None:
        """Return how long at most such a reminder waits for their digest once it is due; None: it does not."""
        window = None if urgent else self.digest_window
        return window if window is None or skip_if_late is None or window <= skip_if_late else None


def _naive(wall_time: str) -> datetime:
    return datetime.fromisoformat(wall_time)


class PlanQuerySet(models.QuerySet["Plan"]):
    """Plans, by whom they are for."""

    def to_or_once_to(self, person: str) -> PlanQuerySet:
        """Return what is set for a person, or has ended: each by an index of its own."""
        ended = models.Q(state__in=[state for state in Plan.State if state != Plan.State.SET])
        return self.filter(models.Q(state=Plan.State.SET) | ended, person=person)

    def of_person(self, person: str) -> PlanQuerySet:
        """Return what is set for a person, what comes next first: one query, by an index."""
        mine = self.filter(person=person, state=Plan.State.SET)
        return mine.order_by("next_at", "pk").select_related("object")

    def in_digest(self, *persons: str) -> PlanQuerySet:
        """Return what waits in the digests of these persons, what has waited longest first; by the same index."""
        theirs = self.filter(person__in=persons, state=Plan.State.SET, put_off=Plan.DIGEST)
        return theirs.order_by("next_at", "occurrence", "pk")


class Plan(models.Model):
    """What one reminder is set to and where in its series it stands. Written by the reminder, in its turns.

    The row stays when the reminder is over or cancelled, and says so. The wall times are the truth: ``fire_at``,
    ``occurrence`` and ``next_at`` are the moments that they were by the time zones as these were known when they were
    computed, and ``Reminder.recompute()`` computes them again.
    """

    class State(models.TextChoices):
        """``over``: the last occurrence was delivered, refused for good, or skipped."""

        SET = "set"
        OVER = "over"
        CANCELLED = "cancelled"

    #: What ``put_off`` says. ``APART``: it was in a digest, and is delivered by itself now.
    QUIET, SNOOZED, DIGEST, APART = "quiet hours", "snoozed", "digest", "apart"

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="reminder"
    )
    state = models.CharField(max_length=9, choices=State.choices, default=State.SET)
    person = models.CharField(max_length=200, blank=True, default="")
    message = models.TextField()
    fire_at = models.DateTimeField()
    #: ``fire_at`` on the clock of ``time_zone`` (ISO 8601, without an offset).
    start_wall_time = models.CharField(max_length=26)
    recurrence = models.TextField(null=True, blank=True)  # noqa: DJ001  null: none, as in the contract
    time_zone = models.CharField(max_length=100)
    channels = models.JSONField()
    urgent = models.BooleanField(default=False)
    skip_if_late = models.DurationField(null=True, blank=True)
    #: A new one with each ``set_reminder``; one more with each change from outside. Keys are made from the first.
    series_id = models.UUIDField(default=uuid.uuid4)
    revision = models.PositiveIntegerField(default=0)
    #: The place in the series: see ``recurrence.Place``.
    occurrence = models.DateTimeField()
    number = models.PositiveBigIntegerField(default=1)
    wall_time = models.CharField(max_length=26)
    #: When it is delivered: later than ``occurrence`` once it was put off, and then why.
    next_at = models.DateTimeField()
    put_off = models.CharField(max_length=11, blank=True, default="")
    #: Times that an occurrence of this series was snoozed: each makes another delivery, with another key.
    snoozes = models.PositiveIntegerField(default=0)

    objects = PlanQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["person", "next_at"], condition=models.Q(state="set"), name="reminders_of_person"),
            models.Index(fields=["state", "person"], condition=~models.Q(state="set"), name="reminders_ended"),
            models.Index(fields=["put_off"], condition=~models.Q(put_off=""), name="reminders_put_off"),
        ]

    def __str__(self) -> str:
        return f"plan of {self.object_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store it, with the wall time of its start also where whoever made the row gave only the moment."""
        if not self.start_wall_time:
            self.start_wall_time = self.fire_at.astimezone(self.zone).replace(tzinfo=None).isoformat()
        super().save(*args, **kwargs)

    @property
    def key(self) -> uuid.UUID:
        """The key of the coming delivery: the same on every retry, another one for the next."""
        again = f"#{self.snoozes}" if self.snoozes else ""
        return uuid.uuid5(self.series_id, self.occurrence.astimezone(UTC).isoformat() + again)

    @property
    def zone(self) -> tzinfo:
        """The zone whose clocks it goes by; where that is gone, the offset from UTC that it had at this place."""
        return find_zone(self.time_zone) or timezone(
            _naive(self.wall_time) - self.occurrence.astimezone(UTC).replace(tzinfo=None)
        )

    def shown(self, moment: datetime) -> str:
        """Return a moment for people, on its clock."""
        return f"{moment.astimezone(self.zone):%A, %d %B %Y, %H:%M} ({self.clock})"

    def from_to(self, until: datetime) -> str:
        """Describe from when to when its delivery is put off."""
        there = [f"{moment.astimezone(self.zone):%a %d %b %Y, %H:%M}" for moment in (self.next_at, until)]
        return f"from {there[0]} to {there[1]} ({self.clock})"

    @property
    def clock(self) -> str:
        """The name of the clock that it goes by."""
        return self.time_zone if find_zone(self.time_zone) else str(self.zone)

    @property
    def wakes_at(self) -> datetime:
        """When its own alarm runs: one in a digest is delivered by that, and looks only once that is overdue."""
        return self.next_at + DIGEST_OVERDUE_AFTER if self.put_off == self.DIGEST else self.next_at

    @property
    def starts_at(self) -> datetime:
        """``fire_at`` as it is by its wall time, in its zone; where that comes twice, the one that was meant."""
        first = _naive(self.start_wall_time).replace(tzinfo=self.zone)
        second = first.replace(fold=1)
        return second if comes_twice(first) and second.astimezone(UTC) == self.fire_at else first

    @property
    def series(self) -> Series:
        """All of its times."""
        rule = None if self.recurrence is None else RRule.parse(self.recurrence, on_record=True)
        return Series(self.starts_at, rule, self.zone)

    @property
    def is_as_its_wall_time(self) -> bool:
        """Whether its moment is what its wall time says; else the clocks were changed since, or it was shifted by them.

        Costs next to nothing: ``place_now`` distinguishes the two cases.
        """
        if self.wall_time == self.start_wall_time:
            return self.starts_at.astimezone(UTC) == self.occurrence
        return _naive(self.wall_time).replace(tzinfo=self.zone).astimezone(UTC) == self.occurrence

    def is_astray(self, moment: datetime, find: Callable[[str], Recipient] = Recipient.find) -> bool:
        """Return whether what is ahead of this moment is planned for another one than its wall time, or the end of the
        quiet hours that it is held by, is now.
        """
        if self.next_at <= moment or self.put_off == self.DIGEST:
            return False
        if not self.is_as_its_wall_time and self.series.same(self.place) != self.place:
            return True
        return (
            self.put_off == self.QUIET and find(self.person).undisturbed(max(self.occurrence, moment)) != self.next_at
        )

    def place_now(self) -> Place | None:
        """Return its place by its zone's clocks as known now; None where the series has ended before that."""
        return self.place if self.is_as_its_wall_time else self.series.same(self.place)

    def next_now(self, moment: datetime) -> datetime | None:
        """Return when it is delivered by the zones as they are known now; None where nothing is to come any more."""
        place = self.place_now()
        if place is None or self.put_off == self.SNOOZED:
            return self.next_at if place else None
        return place.at if self.urgent or place.at <= moment else Recipient.find(self.person).undisturbed(place.at)

    @property
    def flaws(self) -> list[str]:
        """What is wrong with its zones, a sentence each, for somebody to mend; it is delivered all the same."""
        found = []
        if find_zone(self.time_zone) is None:
            found.append(
                f"The time zone {show(self.time_zone)} is not known here any more: the reminder goes on by "
                f"{self.zone}, its last known offset. Choose another zone."
            )
        return found + [
            f"An EXDATE in the zone {show(name)}, which is not known here any more, leaves nothing out. Replace it."
            for name in self._unknown_zones()
        ]

    def _unknown_zones(self) -> list[str]:
        try:
            return sorted(RRule.parse(self.recurrence, on_record=True).unknown_zones) if self.recurrence else []
        except InvalidInput:
            return []

    @property
    def place(self) -> Place:
        """Where in the series it stands."""
        return Place(self.occurrence, self.number, self.wall_time)

    def stand_at(self, place: Place) -> None:
        """Move to another place of the series, to be delivered at its time."""
        self.occurrence, self.number, self.wall_time = place.at, place.number, place.wall_time
        self.next_at, self.put_off = place.at, ""

    def is_set_to(self, fields: Mapping[str, Any]) -> bool:
        """Return whether this is what it is set to, or was when it was over. What was cancelled is set to nothing."""
        compared = fields.keys() - {"start_wall_time"}  # it follows from the others
        return self.state != self.State.CANCELLED and all(getattr(self, name) == fields[name] for name in compared)

    def is_as(self, other: Plan) -> bool:
        """Return whether it is the same reminder at the same place, and nothing was changed in between."""
        mine, theirs = (self.series_id, self.revision), (other.series_id, other.revision)
        return mine == theirs and self.occurrence == other.occurrence

    def is_too_late(self, moment: datetime) -> bool:
        """Return whether it is not worth delivering any more."""
        return self.skip_if_late is not None and moment - self.next_at > self.skip_if_late

    def goes_with_digest(self, recipient: Recipient, moment: datetime) -> bool:
        """Return whether it waits, now that it is due, for the digest of its recipient."""
        is_apart = self.put_off in {self.SNOOZED, self.APART} or self.is_too_late(moment)
        window = recipient.window_for(urgent=self.urgent, skip_if_late=self.skip_if_late)
        return window is not None and not is_apart

    def is_in_digest(self, key: uuid.UUID) -> bool:
        """Return whether this very delivery still waits in a digest."""
        return self.state == self.State.SET and self.put_off == self.DIGEST and self.key == key

    def following(self, moment: datetime) -> Place | None:
        """Return the next place of the series that is after this moment; None when it is over."""
        return self.series.following(self.place, max(self.occurrence, moment)) if self.recurrence else None


class Delivery(models.Model):
    """One reminder at one time by one channel to one address. ``key`` is the same on every retry, and for all of them,
    and goes with the message.
    """

    class Status(models.TextChoices):
        """``failed``: the last try so far failed. ``refused``: for good. ``skipped``: it would have been too late."""

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        REFUSED = "refused"
        SKIPPED = "skipped"

    id = models.BigAutoField(primary_key=True)
    reminder = models.ForeignKey("durable_objects.Object", on_delete=models.CASCADE, related_name="+")
    key = models.UUIDField()
    channel = models.CharField(max_length=100)
    #: Set where a channel has several addresses, as e-mail does.
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
    #: What the receiver answered.
    answer = models.TextField(default="", blank=True)

    #: The key of the digest that it was last tried as a part of; None: by itself.
    digest = models.UUIDField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["key", "channel", "address"], name="reminders_one_per_key_and_address")
        ]

    def __str__(self) -> str:
        return f"delivery {self.key} by {self.way}"

    @property
    def way(self) -> str:
        """By which channel and to whom, for people."""
        return f"{self.channel} to {self.address}" if self.address else self.channel

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to try."""
        return self.status in {self.Status.DELIVERED, self.Status.REFUSED, self.Status.SKIPPED}
