"""Columns of lists and fields of pages: how an alarm stands, moments, sizes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.safestring import SafeString

from durable_objects.admin import display
from durable_objects.alarms.limits import held_back
from durable_objects.alarms.pauses import Paused, paused
from durable_objects.alarms.predicates import is_idle
from durable_objects.database import clock
from durable_objects.tables import Alarm, Object


class Bytes(models.Func):
    """The size of a text in bytes of UTF-8, measured in the database."""

    function = "OCTET_LENGTH"
    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Measure a blob: SQLite has OCTET_LENGTH only since 3.43."""
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


def moment(name: str, title: str = "") -> Callable[[Any], str]:
    """Return a field of a page that shows a moment of the row to the millisecond, under its own name or a title."""

    @admin.display(description=title or name.replace("_", " "))
    def shown(row: Any) -> str:
        value = getattr(row, name)
        return display.NOTHING if value is None else display.absolute(value, "milliseconds")

    shown.__name__ = name
    return shown


def now_of(request: HttpRequest) -> datetime:
    """Return the database's time, asked once per request: the now of the whole page."""
    now: datetime | None = getattr(request, "_durable_objects_now", None)
    if now is None:
        now = clock.now()
        setattr(request, "_durable_objects_now", now)
    return now


def paused_of(request: HttpRequest) -> Paused:
    """Return what is paused, asked once per request."""
    found: Paused | None = getattr(request, "_durable_objects_paused", None)
    if found is None:
        found = paused(now_of(request))
        setattr(request, "_durable_objects_paused", found)
    return found


def limited_of(request: HttpRequest) -> frozenset[int]:
    """Return the classes that have reached their limits, asked once per request."""
    found: frozenset[int] | None = getattr(request, "_durable_objects_limited", None)
    if found is None:
        found = held_back(now_of(request))
        setattr(request, "_durable_objects_limited", found)
    return found


def status_of(request: HttpRequest, row: Object | Alarm) -> display.Status:
    """Return how the alarm of a row stands at the request's now. No query for rows selected with ``alarm_row``."""
    target = object_of(row)
    held = paused_of(request).holds(target.pk, target.kind_id)
    limited = target.kind_id in limited_of(request)
    known = display.is_known(target)
    return display.status_of(alarm_of(row), now_of(request), known=known, paused=held, limited=limited)


def alarm_of(row: Object | Alarm) -> Alarm | None:
    """Return the alarm's slot; None if the object never had one. No query for rows selected with ``alarm_row``."""
    return row if isinstance(row, Alarm) else getattr(row, "alarm_row", None)


def object_of(row: Object | Alarm) -> Object:
    """Return the object that a row of a list stands for."""
    return row.object if isinstance(row, Alarm) else row


def alarm_columns(request: HttpRequest) -> list[Callable[[Any], Any]]:
    """Return the columns of a list that show the alarm's state, due time, retry and error, as of this request."""

    @admin.display(description="alarm")
    def alarm(row: Object | Alarm) -> SafeString:
        return display.badge(status_of(request, row).word)

    @admin.display(description="due")
    def due(row: Object | Alarm) -> str:
        slot = alarm_of(row)
        return display.when(slot.wake_at if slot else None, now_of(request))

    @admin.display(description="retry")
    def retry(row: Object | Alarm) -> str:
        slot = alarm_of(row)
        return str(slot.retry_count) if slot and not is_idle(slot) else display.NOTHING

    @admin.display(description="last error")
    def last_error(row: Object | Alarm) -> str:
        slot = alarm_of(row)
        return display.short(display.gist(slot.last_error)) if slot and slot.last_error else display.NOTHING

    return [alarm, due, retry, last_error]
