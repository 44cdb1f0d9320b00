"""The processes at work. Each writes its own row."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Self

from django.db import models

from durable_objects.database.fields import MomentField, SpanField
from durable_objects.tables.columns import RowManager


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


class Process(models.Model):
    """A process that runs alarms or makes passes, by its heartbeat: alive, of which code, how busy. Only
    ``delivery.heartbeat`` writes these rows; a worker's children of a prefork pool have none of their own.
    """

    #: Its ``process.name``: host, space, process id.
    process = models.CharField(max_length=100, unique=True)
    #: ``DURABLE_OBJECTS["CODE_VERSION"]``, or what stands for it; and when a process of it was first seen.
    code_version = models.CharField(max_length=100, default="", blank=True)
    code_since = MomentField()
    started_at = MomentField()
    last_seen_at = MomentField()
    #: When it ended in good order; a process that was killed falls silent.
    ended_at = MomentField(null=True)
    #: How far its clock is ahead of the database's.
    clock_skew = SpanField(default=timedelta(0))
    #: How many alarms it can run at once; None for one that only makes passes.
    threads = models.PositiveIntegerField(null=True)
    #: How many of these are at work, since when the one that has been so for longest, and for which object.
    busy = models.PositiveIntegerField(default=0)
    busy_since = MomentField(null=True)
    busy_with = models.BigIntegerField(null=True)
    #: Wake-ups that it took in the last minute.
    taken_a_minute = models.PositiveIntegerField(default=0)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.process
