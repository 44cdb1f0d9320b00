"""The tables: each cleaner's own settings, and where it stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from cleaner.conf import defaults
from durable_objects import InvalidInput
from durable_objects.names import show

LEAST_INTERVAL = timedelta(seconds=1)
LONGEST = timedelta(days=36500)


class CleanerSettings(models.Model):
    """One cleaner's own settings; empty means the project's (``settings.CLEANER``)."""

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="cleaner"
    )
    interval = models.DurationField(null=True, blank=True)
    max_age = models.DurationField(null=True, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "cleaner settings"

    def __str__(self) -> str:
        return f"settings of {self.object}"

    def clean(self) -> None:
        """The same rules for a form as for ``configure()``."""
        try:
            check({"interval": self.interval, "max_age": self.max_age})
        except InvalidInput as refused:
            raise ValidationError(str(refused)) from refused

    @property
    def interval_in_force(self) -> timedelta:
        """The time between two planned cleanups."""
        interval: timedelta = self.interval or defaults.INTERVAL
        return interval

    @property
    def max_age_in_force(self) -> timedelta:
        """Entries with an older timestamp are deleted."""
        max_age: timedelta = defaults.MAX_AGE if self.max_age is None else self.max_age
        return max_age

    @classmethod
    def of(cls, object_id: int) -> CleanerSettings:
        """A cleaner's settings, not saved when it has none of its own."""
        return cls.objects.filter(pk=object_id).first() or cls(object_id=object_id)


class CleanerProgress(models.Model):
    """Where a cleaner stands: its planned time, whether a planned cleanup is running, and the last one that ended.

    Written by the cleaner only. It is kept beside storage, so that storage holds nothing but the user's entries.
    """

    object = models.OneToOneField(
        "durable_objects.Object", on_delete=models.CASCADE, primary_key=True, related_name="+", verbose_name="cleaner"
    )
    #: The planned time that the schedule goes by; an alarm moved or run by hand does not shift it.
    planned_at = models.DateTimeField(null=True, blank=True)
    #: Since when a planned cleanup is running; None when none is.
    running_since = models.DateTimeField(null=True, blank=True)
    last_report = models.JSONField(null=True, blank=True)

    class Meta:
        verbose_name = verbose_name_plural = "cleaner progress"

    def __str__(self) -> str:
        return f"progress of {self.object}"

    @classmethod
    def of(cls, object_id: int) -> CleanerProgress:
        """A cleaner's progress, not saved when it has none yet."""
        return cls.objects.filter(pk=object_id).first() or cls(object_id=object_id)

    @classmethod
    def note(cls, object_id: int, **values: Any) -> None:
        """Write down some of it."""
        cls.objects.update_or_create(object_id=object_id, defaults=values)


def check(changes: dict[str, Any]) -> None:
    """Raise ``InvalidInput`` for the first change that is refused, naming the value and what is allowed."""
    limits = {"interval": LEAST_INTERVAL, "max_age": timedelta(0)}
    for name, value in changes.items():
        if value is not None and not (isinstance(value, timedelta) and limits[name] <= value <= LONGEST):
            error = InvalidInput(f"{name} is {show(value)}. Allowed: a timedelta from {limits[name]} to {LONGEST}.")
            error.allowed = f"a timedelta from {limits[name]} to {LONGEST}"
            raise error
