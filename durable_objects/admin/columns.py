"""Columns of lists and fields of pages: how an alarm stands, moments, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import display
from durable_objects.admin.permissions import shown
from durable_objects.alarms.limits import held_back
from durable_objects.alarms.pauses import Paused, paused
from durable_objects.alarms.predicates import is_dead, is_idle
from durable_objects.alarms.queries import frequent_errors
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.models import DurableObject
from durable_objects.operations.explain import Explanation
from durable_objects.tables import Alarm, AlarmRun, Object

#: Groups of errors among filters and suggestions.
ERRORS_SUGGESTED = 10


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


def titled(name: str, title: str) -> Callable[[Any], Any]:
    """Return a column that shows a field of the row under another title than the field's."""

    @admin.display(description=title, empty_value=display.NOTHING)
    def shown(row: Any) -> Any:
        return getattr(row, name)

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


def errors_of(request: HttpRequest, page: Any) -> dict[str, str]:
    """Return the groups of errors that are most frequent in the list of an admin class, each with what it says of an
    object that the user is shown; asked once per request.
    """
    found: dict[str, str] | None = getattr(request, "_durable_objects_errors", None)
    if found is None:
        of_kinds = [page.model.kind_pk()] if issubclass(page.model, DurableObject) else None
        alarms = shown(page.admin_site, request, Alarm.objects.using(engine.DATABASE))
        errors = frequent_errors(ERRORS_SUGGESTED, of_kinds, alarms)
        found = {group: display.short(display.gist(error)) for group, error in errors.items()}
        setattr(request, "_durable_objects_errors", found)
    return found


def keep_explanation(request: HttpRequest, target: Object, explained: Explanation) -> None:
    """Keep how an object stands, which its page has read, so that what follows in the request asks for it no more."""
    setattr(request, "_durable_objects_explained", (target.pk, explained))


def _explained(request: HttpRequest, target: Object) -> Explanation | None:
    pk, explained = getattr(request, "_durable_objects_explained", (None, None))
    return explained if pk == target.pk else None


def is_paused_by_itself(request: HttpRequest, target: Object) -> bool:
    """Return whether a pause of the object's own holds it."""
    explained = _explained(request, target)
    return target.pk in paused_of(request).objects if explained is None else explained.paused_by_itself


def status_of(request: HttpRequest, row: Object | Alarm) -> display.Status:
    """Return how the alarm of a row stands at the request's now. No query for rows selected with ``alarm_row``."""
    target = object_of(row)
    if (explained := _explained(request, target)) is not None:
        return explained.status
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
        if slot is not None and is_dead(slot) and slot.wake_at is None and (died := died_of(request).get(slot.pk)):
            return display.since("died", died, now_of(request))
        return display.when(slot.wake_at if slot else None, now_of(request))

    @admin.display(description="retry")
    def retry(row: Object | Alarm) -> str:
        slot = alarm_of(row)
        return str(slot.retry_count) if slot and not is_idle(slot) else display.NOTHING

    @admin.display(description="last error")
    def last_error(row: Object | Alarm) -> str:
        slot = alarm_of(row)
        if slot is None or not slot.last_error:
            return display.NOTHING
        text = display.short(display.gist(slot.last_error))
        if not slot.error_group:
            return text
        return format_html('<a href="?error={}" title="All with such an error">{}</a>', slot.error_group, text)

    return [alarm, due, retry, last_error]


def with_alarm(request: HttpRequest, columns: Sequence[Any]) -> list[Any]:
    """Return the columns of a list of objects or alarms, with the alarm's: its state as the second, where a narrow
    screen still has it.
    """
    first, *others = columns
    state, *rest = alarm_columns(request)
    return [first, state, *others, *rest]


def read_deaths(request: HttpRequest, rows: Iterable[Object | Alarm]) -> None:
    """Read since when those of the rows are dead that are; one query, and none where no row is."""
    slots = [slot for slot in map(alarm_of, rows) if slot is not None and is_dead(slot)]
    runs = AlarmRun.objects.using(engine.DATABASE).filter(
        object_id__in=[slot.pk for slot in slots], outcome=AlarmRun.Outcome.DEAD, schedule=""
    )
    found = runs.values_list("object_id").annotate(models.Max("ended_at")) if slots else []
    setattr(request, "_durable_objects_deaths", dict(found))


def died_of(request: HttpRequest) -> dict[int, datetime]:
    """Return since when alarms are dead, of the rows that were read."""
    found: dict[int, datetime] = getattr(request, "_durable_objects_deaths", {})
    return found
