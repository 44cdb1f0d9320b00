"""The tables: each cleaner's own settings, its progress, and its last cleanups."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import models

from cleaner.conf import defaults
from cleaner.setting_rules import check, choose
from cleaner.targets import Chunk, OwnStorage
from durable_objects import InvalidInput


class CleanerSettings(models.Model):
    """One cleaner's own settings; empty means the project's (``settings.CLEANER``), and for ``model`` own storage."""

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="cleaner"
    )
    interval = models.DurationField(null=True, blank=True)
    max_age = models.DurationField(null=True, blank=True)
    #: The Django model whose rows are cleaned instead of own storage, and its field of time.
    model = models.CharField(max_length=200, blank=True)
    field = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "cleaner settings"

    def __str__(self) -> str:
        return f"settings of {self.object}"

    def clean(self) -> None:
        """Apply the rules of ``configure()`` to a form."""
        try:
            check({"interval": self.interval, "max_age": self.max_age})
            if self.model:
                choose(self.model, self.field)
        except InvalidInput as refused:
            raise ValidationError(str(refused)) from refused

    @property
    def interval_in_force(self) -> timedelta:
        """The time between two planned cleanups."""
        interval: timedelta = self.interval or defaults.INTERVAL
        return interval

    @property
    def max_age_in_force(self) -> timedelta:
        """What is older is deleted."""
        max_age: timedelta = defaults.MAX_AGE if self.max_age is None else self.max_age
        return max_age

    @property
    def target(self) -> str:
        """The name of what is cleaned: ``storage`` or ``app.Model.field``."""
        return f"{self.model}.{self.field}" if self.model else OwnStorage.name

    @classmethod
    def of(cls, object_id: int) -> CleanerSettings:
        """Return a cleaner's settings, unsaved when it has none of its own."""
        return cls.objects.filter(pk=object_id).first() or cls(object_id=object_id)


class CleanerProgress(models.Model):
    """A cleaner's progress: its planned time, and whether a planned cleanup is running.

    Written by the cleaner only. It is kept beside storage, so that storage has only the user's entries.
    """

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="cleaner"
    )
    #: The planned time that the schedule counts from; an alarm moved or run by hand does not shift it.
    planned_at = models.DateTimeField(null=True, blank=True)
    #: Since when a planned cleanup is running; None when none is.
    running_since = models.DateTimeField(null=True, blank=True)
    #: Whether it was stopped: nothing is planned until it is started again.
    stopped = models.BooleanField(default=False)

    class Meta:
        verbose_name = verbose_name_plural = "cleaner progress"

    def __str__(self) -> str:
        return f"progress of {self.object}"

    @classmethod
    def of(cls, object_id: int) -> CleanerProgress:
        """Return a cleaner's progress, unsaved when it has none yet."""
        return cls.objects.filter(pk=object_id).first() or cls(object_id=object_id)

    @classmethod
    def note(cls, object_id: int, **values: Any) -> None:
        """Store these values."""
        cls.objects.update_or_create(object_id=object_id, defaults=values)


class CleanerRun(models.Model):
    """One cleanup: planned (in one or more alarms, its failed tries included) or by hand. Written by the cleaner only.

    While it is open (``ended_at`` empty) ``cursor`` says how far it came, and a planned one continues from there.
    """

    object = models.ForeignKey(
        "durable_objects.Object", on_delete=models.CASCADE, related_name="+", db_index=False, verbose_name="cleaner"
    )
    target = models.CharField(max_length=500)
    #: The time it was asked for; None by hand.
    planned_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    older_than = models.DateTimeField()
    cursor = models.TextField(null=True)  # noqa: DJ001  null: at the beginning; any text may be a key
    examined = models.BigIntegerField(default=0)
    removed = models.BigIntegerField(default=0)
    #: Entries that were left alone: their timestamp looks like seconds, and milliseconds are expected.
    in_seconds = models.BigIntegerField(default=0)
    chunks = models.PositiveIntegerField(default=0)
    longest_chunk = models.DurationField(default=timedelta(0))
    #: Expired rows that were left at the end, at least: counted for a moment only. None: not known.
    remaining = models.BigIntegerField(null=True)
    oldest_left = models.DateTimeField(null=True)
    next_at = models.DateTimeField(null=True)
    error = models.TextField(default="", blank=True)

    class Meta:
        verbose_name = "cleanup"
        indexes: ClassVar = [models.Index(fields=["object", "-id"], name="cleaner_runs_of")]

    def __str__(self) -> str:
        return f"cleanup of {self.started_at:%Y-%m-%d %H:%M:%S %Z}"

    @classmethod
    def open_of(cls, object_id: int) -> CleanerRun | None:
        """Return the planned cleanup that is under way, if there is one."""
        planned = cls.objects.filter(object_id=object_id, planned_at__isnull=False)
        last = planned.order_by("-id").first()
        return last if last is not None and last.ended_at is None else None

    @classmethod
    def begin(cls, object_id: int, **values: Any) -> CleanerRun:
        """Create a new one, open, and delete the cleaner's oldest beyond ``HISTORY``."""
        run = cls.objects.create(object_id=object_id, **values)
        kept = cls.objects.filter(object_id=object_id).order_by("-id")
        too_old = kept.values_list("id", flat=True)[max(1, defaults.HISTORY) :].first()
        if too_old is not None:
            kept.filter(id__lte=too_old).delete()
        return run

    def note(self, chunk: Chunk) -> dict[str, Any] | None:
        """Add a chunk, in the turn that cleaned it; None when another call has ended the cleanup meanwhile.

        Returns the fields as they are now, to be put on this instance once the turn has committed.
        """
        values = {
            "cursor": chunk.last,
            "examined": self.examined + chunk.examined,
            "removed": self.removed + chunk.expired,
            "in_seconds": self.in_seconds + chunk.in_seconds,
            "chunks": self.chunks + 1,
            "longest_chunk": self.longest_chunk,
            "oldest_left": min(filter(None, (self.oldest_left, chunk.oldest_left)), default=None),
        }
        is_open = CleanerRun.objects.filter(pk=self.pk, ended_at__isnull=True).update(**values)
        return values if is_open else None

    def end(self, at: datetime, **values: Any) -> None:
        """Close it, if it is open."""
        values = {"ended_at": max(at, self.started_at), "longest_chunk": self.longest_chunk, **values}
        if CleanerRun.objects.filter(pk=self.pk, ended_at__isnull=True).update(**values):
            vars(self).update(values)

    @classmethod
    def last_of(cls, object_ids: list[int]) -> dict[int, CleanerRun]:
        """Return the last cleanup of each of these cleaners that ended, by the cleaner's key."""
        ended = cls.objects.filter(object_id__in=object_ids, ended_at__isnull=False).order_by()
        last = ended.values("object_id").annotate(last=models.Max("id")).values("last")
        return {run.object_id: run for run in cls.objects.filter(id__in=last)}
