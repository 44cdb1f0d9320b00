"""The tables of alerts: the rules, what they found and since when, the messages about it, and whose turn it is."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q

from durable_objects.conditions import title_of
from durable_objects.formatting import span as span_of

#: The longest e-mail address, with the name before it.
LONGEST_ADDRESS = 320


class AlertRule(models.Model):
    """To whom it is reported that a condition holds, from when on and how often. Written by staff, in admin."""

    id = models.BigAutoField(primary_key=True)
    condition = models.CharField(max_length=100)
    object_class = models.CharField(
        "class", max_length=255, blank=True, default="", help_text="Such as shop.Payment. Empty: all classes."
    )
    at_least = models.PositiveIntegerField(
        "at least", null=True, blank=True, help_text="From how many on. Empty: what the condition says itself."
    )
    span = models.DurationField(
        "time", null=True, blank=True, help_text="How late, or within what time. Empty: what the condition says itself."
    )
    hold_for = models.DurationField(
        "must hold for", default=timedelta(minutes=1), help_text="Before it is reported, and before its end is."
    )
    repeat_every = models.DurationField(
        null=True, blank=True, default=timedelta(hours=4), help_text="While it goes on. Empty: it is reported once."
    )
    channels = models.JSONField()
    person = models.CharField(
        max_length=200, blank=True, default="", help_text="A recipient's name. Empty: to the addresses of the settings."
    )
    is_enabled = models.BooleanField("on", default=True)
    silenced_until = models.DateTimeField(null=True, blank=True, editable=False)
    silenced_by = models.CharField(max_length=150, blank=True, default="", editable=False)
    silence_reason = models.CharField(max_length=500, blank=True, default="", editable=False)
    #: Why it could not be judged when it was last tried; empty: it could.
    flaw = models.TextField(blank=True, default="", editable=False)

    def __str__(self) -> str:
        limits = [f"at least {self.at_least:,}"] if self.at_least is not None else []
        limits += [span_of(self.span)] if self.span is not None else []
        of = f" of {self.object_class}" if self.object_class else ""
        title = f"{title_of(self.condition)}{of}"
        return f"{title} ({', '.join(limits)})" if limits else title

    def state(self, alert: Alert | None, now: datetime) -> str:
        """Return how it stands, with the alert that it has (None: none): ``off``, ``ok``, ``waiting``, ``firing``,
        ``silenced`` or ``flawed``.
        """
        if not self.is_enabled:
            return "off"
        if self.flaw:
            return "flawed"
        if self.is_silenced(now):
            return "silenced"
        return "ok" if alert is None or alert.state == Alert.State.OVER else str(alert.state)

    def is_silenced(self, now: datetime) -> bool:
        """Return whether nothing is reported at that moment."""
        return self.silenced_until is not None and self.silenced_until > now


class Alert(models.Model):
    """A time for which a rule's condition held. ``reported``: a message says so, and none yet that it is over."""

    class State(models.TextChoices):
        """``waiting``: it holds, and not yet for long enough. ``over`` it is once it has not held for as long."""

        WAITING = "waiting"
        FIRING = "firing"
        OVER = "over"

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts")
    key = models.UUIDField(default=uuid.uuid4, unique=True)
    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    since = models.DateTimeField()
    #: When it was last found to hold, or not to: what was not looked at for a while is waited for again.
    seen_at = models.DateTimeField()
    clear_since = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    text = models.TextField()
    #: Those that were reported, the newest ``SUBJECTS_KEPT`` of them.
    subjects = models.JSONField(default=list)
    reported = models.BooleanField(default=False)
    messages_made = models.PositiveIntegerField(default=0)
    last_message_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule"], condition=~Q(state="over"), name="reminders_one_alert_of_a_rule")
        ]

    def __str__(self) -> str:
        return f"{self.state} since {self.since:%Y-%m-%d %H:%M:%S %Z}"


class AlertMessage(models.Model):
    """One message about an alert, by one channel to one address. ``key`` is the same on every try."""

    class About(models.TextChoices):
        """What happened to the alert. ``test``: nothing."""

        OPENED = "opened"
        GREW = "grew"
        STANDS = "stands"
        RESOLVED = "resolved"
        TEST = "test"

    class Status(models.TextChoices):
        """``refused``: by the other side, for good. ``failed``: it was tried for a day."""

        PENDING = "pending"
        DELIVERED = "delivered"
        REFUSED = "refused"
        FAILED = "failed"

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="messages")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="messages", null=True)
    key = models.UUIDField()
    about = models.CharField(max_length=8, choices=About.choices)
    text = models.TextField()
    channel = models.CharField(max_length=100)
    address = models.CharField(max_length=LONGEST_ADDRESS, default="", blank=True)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    made_at = models.DateTimeField()
    #: When it is tried; while it is being tried, when that try counts as lost with its process.
    try_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    delivered_at = models.DateTimeField(null=True, blank=True)
    answer = models.TextField(default="", blank=True)
    error = models.TextField(default="", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key", "channel", "address"], name="reminders_one_message_per_address")
        ]
        indexes = [models.Index(fields=["try_at"], condition=Q(status="pending"), name="reminders_alerts_to_send")]

    def __str__(self) -> str:
        return f"{self.about} by {self.way}"

    @property
    def way(self) -> str:
        """By which channel and to whom, for people."""
        return f"{self.channel} to {self.address}" if self.address else self.channel


class KnownError(models.Model):
    """An error group of a class that was there before: another one is new."""

    id = models.BigAutoField(primary_key=True)
    kind_id = models.BigIntegerField()
    error_group = models.CharField(max_length=16)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind_id", "error_group"], name="reminders_one_row_per_error")]

    def __str__(self) -> str:
        return self.error_group


class AlertWatch(models.Model):
    """Whose turn it is to look at the rules: one row. Each turn has a ``number`` of its own, by which one that was
    stopped in its turn finds out that another process has taken over.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    number = models.PositiveBigIntegerField(default=0)
    held_by = models.CharField(max_length=100, blank=True, default="")
    held_until = models.DateTimeField(null=True)
    looked_at = models.DateTimeField(null=True)
    pinged_at = models.DateTimeField(null=True)
    #: Since when it is known which errors there are; None: it never was, and none of them is new.
    learned_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"turn {self.number}"

    @classmethod
    def row(cls) -> AlertWatch:
        """Return the one row, made where it is not there yet."""
        return cls.objects.get_or_create(pk=1)[0]
