"""Alarms of ``Scripted`` objects in tests of its limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from durable_objects.tables import Alarm, Object
from tests.models import Scripted


class Limiting(Protocol):
    """The fixture ``limit``."""

    def __call__(self, concurrency: int | None = None, rate: float | None = None) -> None: ...


def due(*names: str) -> None:
    """Set alarms for now, with no wake-up out."""
    Scripted.objects.set_alarms(dict.fromkeys(names, timedelta(0)))
    Alarm.objects.update(wake_up_for=None)


def pk_of(name: str) -> int:
    """The key of the object of this name."""
    return Object.objects.get(name=name).pk


def slot(name: str) -> Alarm:
    """The alarm of the object of this name, as stored."""
    return Alarm.objects.get(object__name=name)
