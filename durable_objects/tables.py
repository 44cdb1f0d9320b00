"""The tables: objects, their entries, alarm slot and schedules, the history of runs, and what is paused.

Who writes what: ``turn`` makes object rows, ``entries`` writes entries, ``alarms`` writes slots and schedules,
``history`` runs, ``dispatchers`` its own, ``pauses`` what is paused, ``limits`` how many run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.conf import engine
from durable_objects.database.backends import backend_of, is_supported
from durable_objects.database.fields import MomentField, SpanField

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
    _TextField = models.TextField[str, str]
else:
    _CharField, _TextField = models.CharField, models.TextField


Row = TypeVar("Row", bound=models.Model)


class _ByteOrder:
    """Text that compares by code point on every database, as DO-66 asks (SQLite's own order is that already)."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]  # a mixin of Field
        return parameters | {"collation": backend_of(connection).collation if is_supported(connection) else None}


class ByteOrderCharField(_ByteOrder, _CharField):
    """A ``CharField`` in code-point order."""


class ByteOrderTextField(_ByteOrder, _TextField):
    """A ``TextField`` in code-point order."""


class RowManager(models.Manager[Row]):
    """Rows of the engine's database, whatever a router says, unless asked for those of another."""

    def get_queryset(self) -> models.QuerySet[Row]:
        return super().get_queryset().using(self._db or engine.DATABASE)


class Object(models.Model):
    """One durable object: a class (``kind``) and a name. Locking this row locks the object."""

    id = models.BigAutoField(primary_key=True)
    kind = models.ForeignKey(ContentType, on_delete=models.PROTECT, related_name="+", editable=False)
    name = ByteOrderCharField(max_length=512)

    objects: ClassVar[RowManager[Self]] = RowManager()

    if not TYPE_CHECKING:  # see DurableObject

        class Meta:
            verbose_name = "object"
            constraints = [models.UniqueConstraint(fields=["kind", "name"], name="durable_objects_one_per_name")]

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """One key of an object's storage, its value as JSON text (see ``values``)."""

    id = models.BigAutoField(primary_key=True)
    object = models.ForeignKey(Object, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = ByteOrderTextField()
    value = models.TextField()

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        verbose_name_plural = "entries"
        constraints = [models.UniqueConstraint(fields=["object", "key"], name="durable_objects_one_per_key")]

    def __str__(self) -> str:
        return self.key


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
    state = models.CharField(max_length=5, choices=State.choices, default=State.IDLE)
    #: The time that was asked for, the same on every retry; ``due_at`` is when the next run may begin.
    scheduled_at = MomentField(null=True)
    due_at = MomentField(null=True)
    #: When the next run of one of the object's schedules may begin: the first of theirs.
    schedule_due_at = MomentField(null=True)
    #: When the object is to be woken, for its alarm or a schedule, whichever is first: this is what wake-ups go by.
    #: The database computes it, so that no writer can forget it.
    wake_at = models.GeneratedField(expression=_first_of_both(), output_field=MomentField(null=True), db_persist=True)
    #: Failed runs of this alarm; and starts that ended with their lease instead of a result.
    retry_count = models.PositiveIntegerField(default=0)
    crashed_starts = models.PositiveIntegerField(default=0)
    #: One more with every set and delete: tells a run whether the alarm is still the one it runs.
    generation = models.PositiveBigIntegerField(default=0)
    #: One more with every run that took a lease: tells a run whether another has taken over.
    fence = models.PositiveBigIntegerField(default=0)
    #: Until when a run inside ``unlocked()`` keeps the object; its process (``process.name``), of the last lease too.
    leased_until = MomentField(null=True)
    leased_by = models.CharField(max_length=100, default="", db_default="", blank=True)
    leased_generation = models.PositiveBigIntegerField(null=True)
    #: The number of the wake-up that is out, the time it was sent for, and how often it got lost.
    wake_up_number = models.PositiveBigIntegerField(default=0)
    wake_up_for = MomentField(null=True)
    wake_ups_lost = models.PositiveIntegerField(default=0)
    last_error = models.TextField(default="", blank=True)
    #: Counts what was set on this object, alarms and schedules: the number of one is in ``AlarmInfo.key``.
    sets = models.PositiveBigIntegerField(default=0, db_default=0)
    #: That of this alarm, also on its retries and when it is revived.
    set_number = models.PositiveBigIntegerField(default=0, db_default=0)
    #: The trace that set it, as W3C's ``traceparent``, to which its runs are linked; empty without ``TRACING``.
    set_by_trace = models.CharField(max_length=55, default="", db_default="", blank=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        indexes = [
            models.Index(fields=["wake_at"], condition=models.Q(wake_at__isnull=False), name="durable_objects_wake"),
            # For those who look: few rows are in these at a time, so that they cost next to nothing.
            models.Index(
                fields=["due_at"],
                condition=models.Q(state="armed", retry_count__gt=0),
                name="durable_objects_retrying",
            ),
            models.Index(fields=["object"], condition=models.Q(state="dead"), name="durable_objects_dead"),
            models.Index(
                fields=["leased_until"],
                condition=models.Q(leased_until__isnull=False),
                name="durable_objects_leased",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} alarm of {self.object_id}"


class Schedule(models.Model):
    """A named schedule of an object: when which of its methods is called, and with what.

    It runs as the alarm does, one at a time with it. A schedule that has no time left is deleted.
    """

    class State(models.TextChoices):
        """``armed``: will run. ``dead``: retries are used up and no time comes. ``cancelled``: declared by its class,
        and cancelled on this object.
        """

        ARMED = "armed"
        DEAD = "dead"
        CANCELLED = "cancelled"

    id = models.BigAutoField(primary_key=True)
    object = models.ForeignKey(Object, on_delete=models.CASCADE, related_name="+", db_index=False)
    name = ByteOrderCharField(max_length=512)
    method = models.CharField(max_length=200)
    #: The positional and the named arguments, as an entry's value is stored.
    arguments = models.TextField()
    #: As ``recurrence.rules.Rule.to_text()``; ``misfire`` and ``grace`` say what becomes of a time
    #: that was missed.
    rule = models.TextField()
    misfire = models.CharField(max_length=4)
    grace = SpanField(null=True)
    #: Whether the class declares it.
    declared = models.BooleanField(default=False)
    state = models.CharField(max_length=9, choices=State.choices, default=State.ARMED)
    #: The time of the occurrence that runs next, the same on every retry; ``due_at`` is when it may begin.
    scheduled_at = MomentField(null=True)
    due_at = MomentField(null=True)
    #: The one after that, once the misfire policy was applied to what was missed: not again on a retry or a revival.
    follow_at = MomentField(null=True)
    is_decided = models.BooleanField(default=False)
    retry_count = models.PositiveIntegerField(default=0)
    #: Its number among what was set on the object; another one with every change.
    set_number = models.PositiveBigIntegerField()
    last_error = models.TextField(default="", blank=True)
    #: The last occurrence whose retries were used up: what ``revive`` runs again.
    died_at = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["object", "name"], name="durable_objects_one_per_schedule")]
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(state="armed"), name="durable_objects_scheduled"),
            models.Index(fields=["object"], condition=models.Q(died_at__isnull=False), name="durable_objects_died"),
            models.Index(
                fields=["due_at"],
                condition=models.Q(state="armed", retry_count__gt=0),
                name="durable_objects_retried",
            ),
        ]

    def __str__(self) -> str:
        return self.name


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
    retry_count = models.PositiveIntegerField()
    fence = models.PositiveBigIntegerField()
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    error = models.TextField(default="", blank=True)
    #: Which schedule it was; empty for the alarm.
    schedule = models.CharField(max_length=512, default="", db_default="", blank=True)
    set_number = models.PositiveBigIntegerField(default=0, db_default=0)

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
        return f"{self.outcome} at {self.started_at:%Y-%m-%d %H:%M:%S}"


class Dispatcher(models.Model):
    """A process that makes the dispatcher's passes: shows that somebody does."""

    #: Its ``process.name``: host, space, process id.
    process = models.CharField(max_length=100, unique=True)
    started_at = MomentField()
    last_pass_at = MomentField()
    #: Since when the broker takes no wake-ups from it; None while it does.
    refused_since = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    def __str__(self) -> str:
        return self.process


class Pause(models.Model):
    """What is paused: everything, the objects of a class, or one object. While it stands, no run of theirs starts."""

    class Scope(models.TextChoices):
        """``class``: one of Django's content types, so also one that this code does not have."""

        EVERYTHING = "everything"
        CLASS = "class"
        OBJECT = "object"

    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(max_length=10, choices=Scope.choices)
    kind = models.OneToOneField(ContentType, on_delete=models.CASCADE, null=True, related_name="+")
    object = models.OneToOneField(Object, on_delete=models.CASCADE, null=True, related_name="+")
    reason = models.TextField(default="", blank=True)
    #: Who asked for it: a user of the admin, or of the machine.
    by = models.CharField(max_length=150, default="", blank=True)
    since = MomentField()
    #: When it ends by itself; None: when it is resumed.
    until = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope"], condition=models.Q(scope="everything"), name="durable_objects_one_pause_of_all"
            ),
            models.CheckConstraint(
                condition=models.Q(scope="everything", kind=None, object=None)
                | models.Q(scope="class", kind__isnull=False, object=None)
                | models.Q(scope="object", kind=None, object__isnull=False),
                name="durable_objects_pause_of_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return f"pause of {self.scope}"


class ClassLimit(models.Model):
    """When runs of a class with ``alarm_concurrency`` or ``alarm_rate`` start. Who starts one locks this row."""

    kind = models.OneToOneField(ContentType, on_delete=models.CASCADE, primary_key=True, related_name="+")
    #: Before this time no further run starts; and when the last one did.
    next_start_at = MomentField(null=True)
    last_start_at = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    def __str__(self) -> str:
        return f"limit of {self.kind_id}"
