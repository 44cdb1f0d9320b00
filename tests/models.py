"""Object classes and rows that only tests use."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import models

from benchmarks.objects import Busy, Once, Ticker
from durable_objects import AlarmInfo, GiveUp, Snooze, exclusive
from durable_objects.models import DurableObject, Object
from tests.chaos.recording_object import Few, Hasty, Moment, Paced, Witness
from tests.chaos.storm.subject import BriefSubject, FewSubject, Mark, PacedSubject, ScheduledSubject, Subject

__all__ = [
    "Account", "Branch", "BriefSubject", "Busy", "Corner", "Counter", "Few", "FewSubject", "Fickle", "Grouped",
    "Hasty", "Impatient", "Kiosk", "LoudCounter", "Mark", "Moment", "Note", "Once", "Paced", "PacedSubject", "Profile",
    "Profiled", "ScheduledSubject", "Script", "Scripted", "Shop", "Subject", "Ticker", "Voucher", "Witness",
]  # fmt: skip


class Counter(DurableObject):
    """Counts up; has no alarm."""

    class Meta:
        proxy = True

    @exclusive
    def add(self, by: int = 1) -> int:
        """The count after adding."""
        count: int = self.storage.get("count", 0) + by
        self.storage.put("count", count)
        return count

    @exclusive(combine=True, many="add_all")
    def add_one(self, by: int) -> int:
        """The same, of which several calls are made by ``add_all``."""
        return self.add_all([by])[0]

    def add_all(self, numbers: list[int]) -> list[int]:
        """Add each, write down how many came at once, and refuse what is negative; the count after each."""
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)} is negative")
        self.storage.put("at once", [*self.storage.get("at once", []), len(numbers)])
        return [self.add(number) for number in numbers]


class Scripted(DurableObject):
    """Does in ``alarm()`` and ``initialize()`` what a test put into ``Scripted.script``; writes down each call."""

    class Meta:
        proxy = True

    script: Script

    def initialize(self) -> None:
        self.script.initialize(self)

    def alarm(self, info: AlarmInfo) -> None:
        self.script.infos.append(info)
        self.script.alarm(self, info)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        self.script.deaths.append(error)
        self.script.alarm_died(self, info, error)

    def scheduled(self, *args: Any, **kwargs: Any) -> None:
        """What schedules call."""
        self.script.calls.append((self.schedules.info, args, kwargs))
        self.script.scheduled(self, *args, **kwargs)


class Script:
    """What a ``Scripted`` object does, nothing at first: set what the test needs. Answers are thrown away."""

    def __init__(self) -> None:
        self.infos: list[AlarmInfo] = []
        self.deaths: list[BaseException] = []
        self.calls: list[tuple[AlarmInfo | None, tuple[Any, ...], dict[str, Any]]] = []
        self.scheduled: Callable[..., object] = lambda obj, *args, **kwargs: None
        self.initialize: Callable[[Any], object] = lambda obj: None
        self.alarm: Callable[[Any, AlarmInfo], object] = lambda obj, info: None
        self.alarm_died: Callable[[Scripted, AlarmInfo, BaseException], object] = lambda obj, info, error: None


#: What it does in a test that says nothing.
Scripted.script = Script()


class Grouped(DurableObject):
    """The same script, in a class that says that its handler touches storage and models only."""

    class Meta:
        proxy = True

    alarm_groups = True

    def initialize(self) -> None:
        Scripted.script.initialize(self)

    def alarm(self, info: AlarmInfo) -> None:
        Scripted.script.infos.append(info)
        Scripted.script.alarm(self, info)

    def note(self) -> None:
        """What a schedule calls."""
        self.storage.put("noted", True)


class Impatient(DurableObject):
    """Fails always, may be retried once, and only briefly."""

    class Meta:
        proxy = True

    alarm_max_retries = 1
    alarm_time_limit = timedelta(minutes=1)

    def alarm(self, info: AlarmInfo) -> None:
        raise ValueError("no patience")


class Fickle(DurableObject):
    """Fails, is retried after 3 s, snoozes for 2 s, and gives up."""

    class Meta:
        proxy = True

    alarm_backoff = [timedelta(seconds=3)]
    alarm_jitter = 0.1

    def alarm(self, info: AlarmInfo) -> None:
        if not info.is_retry:
            raise ValueError("not yet")
        with self.unlocked():
            runs = self.storage.get("runs", 0)
            self.storage.put("runs", runs + 1)
        if not runs:
            raise Snooze(timedelta(seconds=2), "later")
        raise GiveUp("enough")


class Account(DurableObject):
    """A subclass with a table of its own."""

    owner = models.CharField(max_length=50, default="nobody")
    balance = models.IntegerField(default=0)

    @exclusive
    def deposit(self, amount: int) -> int:
        """The balance after the deposit, read under the lock and saved."""
        self.balance += amount
        self.save()
        return self.balance


class Note(models.Model):
    """A row of the user's own, to be committed together with an object's storage."""

    text = models.CharField(max_length=50, unique=True)


class Voucher(models.Model):
    """A row beside an object, which keeps it from being deleted."""

    object = models.OneToOneField(Object, on_delete=models.PROTECT, primary_key=True, related_name="+")


class Profile(models.Model):
    """A row beside an object, with values that drivers give in many ways."""

    object = models.OneToOneField(Object, on_delete=models.CASCADE, primary_key=True, related_name="+")
    text = models.TextField(default="")
    is_open = models.BooleanField(null=True)
    pause = models.DurationField(null=True)
    price = models.DecimalField(max_digits=10, decimal_places=3, null=True)
    since = models.DateTimeField(null=True)
    extra = models.JSONField(null=True)


class Profiled(DurableObject):
    """Reads a key and its profile with the lock."""

    class Meta:
        proxy = True

    read_ahead = ("seen", Profile)

    @exclusive(combine=True)
    def look(self) -> Profile | None:
        """The profile, as calls that share a turn see it."""
        return self.row_of(Profile)


class LoudCounter(Counter):
    """A subclass of a proxy: a class of objects of its own."""

    class Meta:
        proxy = True


class Shop(DurableObject):
    """A table of its own with fields of every kind that the database or Django fills in."""

    owner = models.ForeignKey(Note, on_delete=models.CASCADE, related_name="shops")
    size = models.IntegerField()
    code = models.CharField(max_length=20, unique=True, default=functools.partial(secrets.token_hex, 8))
    opened_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    double = models.GeneratedField(expression=models.F("size") * 2, output_field=models.IntegerField(), db_persist=True)
    rank = models.IntegerField(db_default=7)
    friends = models.ManyToManyField(Note, related_name="+")

    @exclusive
    def grow(self, by: int) -> int:
        """The size afterwards."""
        self.size += by
        self.save()
        return self.size


class Branch(Shop):
    """A subclass of one with a table, with a table too."""

    city = models.CharField(max_length=20)
    opened_on = models.DateField(auto_now_add=True)


class Corner(Shop):
    """A proxy of one with a table: objects of their own, in the same table."""

    class Meta:
        proxy = True


class Stamped(models.Model):
    """Fields for others."""

    made_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Kiosk(Stamped, DurableObject):
    """Fields by an abstract base; none has to be given."""

    note = models.TextField(blank=True)
