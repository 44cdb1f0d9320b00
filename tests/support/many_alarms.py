"""Many alarms at once, as the engine would have stored them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection

import durable_objects
from durable_objects.alarms.error_groups import fingerprint
from durable_objects.models import DurableObject
from durable_objects.tables import Alarm, Object

ERROR = 'Traceback (most recent call last):\n  File "shop.py", line 7, in alarm\nValueError: the stock is empty'


def dead_alarms(
    model: type[DurableObject], number: int, first: int = 0, prefix: str = "n", *, error: str = ERROR
) -> list[str]:
    """Make objects with alarms that are dead of this error; return their names."""
    kind = model.kind_pk()
    names = [f"{prefix}{at:06}" for at in range(first, first + number)]
    objects = Object.objects.bulk_create([Object(kind_id=kind, name=name) for name in names], batch_size=1_000)
    columns: dict[str, Any] = {"state": "dead", "retry_count": 7, "last_error": error}
    group = fingerprint(error)
    Alarm.objects.bulk_create(
        [Alarm(object=each, kind_id=kind, error_group=group, **columns) for each in objects], batch_size=1_000
    )
    if number >= 1_000:
        with connection.cursor() as cursor:  # as autovacuum would soon
            cursor.execute("ANALYZE")
    return names


def late_alarms(
    model: type[DurableObject], number: int, by: timedelta, prefix: str = "n", *, held: bool = False
) -> list[str]:
    """Make objects with alarms that are late by so much; return their names. ``held``: their wake-ups seem to be with
    the broker for ten minutes yet, so that until then none runs that is not set anew.
    """
    names = dead_alarms(model, number, prefix=prefix)
    due = durable_objects.now() - by
    rows = Alarm.objects.filter(kind=model.kind_pk(), object__name__startswith=prefix)
    rows.update(state="armed", due_at=due, scheduled_at=due, retry_count=0, last_error="", error_group="")
    if held:
        rows.update(wake_up_number=1, wake_up_for=durable_objects.now() + timedelta(minutes=10))
    return names
