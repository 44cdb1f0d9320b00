"""The engine's own tables, read-only: objects of every class, entries, alarms, runs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import display
from durable_objects.admin.actions import CANCEL, COPY, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, Verb
from durable_objects.admin.base import ReadOnlyAdmin
from durable_objects.admin.columns import Bytes, alarm_columns, moment, now_of
from durable_objects.admin.filters import KindFilter, ObjectFilter, StateFilter
from durable_objects.admin.objects import ObjectPage
from durable_objects.admin.overview import overview
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry, Object

#: Characters of a value in the list of entries, and on an entry's page.
IN_LIST = 100
ON_PAGE = 100_000


@admin.register(Object)
class ObjectAdmin(ObjectPage, ReadOnlyAdmin):
    """Every object, also of classes that are not registered with admin, or that this code does not have."""

    list_display = ("named", "class_of")
    list_select_related = ("alarm_row",)
    list_filter = (StateFilter, KindFilter)
    fields = ("whole_name", "class_of")
    readonly_fields = ("whole_name", "class_of")
    ordering = ("-id",)
    sortable_by = ()
    verbs: ClassVar[tuple[Verb, ...]] = (FIRE_NOW, CANCEL, REVIVE, PAUSE, RESUME, COPY, DELETE)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [*self.list_display, *alarm_columns(request)]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and self.may_change(request, DELETE, obj)


@admin.register(Alarm)
class AlarmAdmin(ObjectPage, ReadOnlyAdmin):
    """Every alarm slot, the armed ones by due time."""

    list_display = ("named", "class_of")
    list_select_related = ("object",)
    list_filter = (StateFilter, KindFilter)
    search_fields = ("object__name__startswith",)
    fields = ("whole_name", "class_of")
    readonly_fields = ("whole_name", "class_of")
    sortable_by = ()
    shows_storage = False
    change_list_template = "admin/durable_objects/alarms.html"

    def get_urls(self) -> list[Any]:
        def view(request: HttpRequest, *, fragment: bool) -> HttpResponse:
            return overview(self.admin_site, request, fragment=fragment)

        shown = self.admin_site.admin_view(view)
        return [
            path("overview/", shown, {"fragment": False}, name="durable_objects_overview"),
            path("overview/figures/", shown, {"fragment": True}, name="durable_objects_overview_figures"),
            *super().get_urls(),
        ]

    def target(self, row: Alarm) -> Object:
        """Return the alarm's object."""
        return row.object

    def get_list_display(self, request: HttpRequest) -> Any:
        return [*self.list_display, *alarm_columns(request)]

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Sort by due time where an index has it: among armed alarms."""
        armed = request.GET.get("state") in {"armed", "retrying", "due", "overdue", "hour", "day"}
        return ("wake_at", "pk") if armed else ("-pk",)


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    """Every key of every object's storage."""

    list_display = ("key_label", "object_label", "kind", "bytes", "beginning")
    list_select_related = ("object",)
    list_filter = (ObjectFilter,)
    fields = ("object_label", "key_label", "kind", "bytes", "whole")
    readonly_fields = fields
    ordering = ("object", "key")
    sortable_by = ()
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request).select_related("object").defer("value")
        annotated: models.QuerySet[Any] = rows.annotate(size=Bytes("value"), start=Substr("value", 1, IN_LIST + 1))
        return annotated

    @admin.display(description="object")
    def object_label(self, row: Entry) -> str:
        """Show the object's name and class, with a link."""
        return object_link(row.object)

    @admin.display(description="key")
    def key_label(self, row: Entry) -> str:
        """Show the key, a long one cut, invisible characters escaped."""
        return display.short(display.label(row.key))

    @admin.display(description="type")
    def kind(self, row: Any) -> str:
        """Show the type of the stored value."""
        return display.value(row.start, IN_LIST).kind

    @admin.display(description="size")
    def bytes(self, row: Any) -> str:
        """Show the size of the stored text."""
        return f"{row.size:,} B"

    @admin.display(description="value")
    def beginning(self, row: Any) -> str:
        """Show the value, or the beginning of its text."""
        if display.masked(row.object)(row.key):
            return display.HIDDEN
        value = display.value(row.start, IN_LIST)
        return value.text + ("…" if value.cut else "")

    @admin.display(description="value")
    def whole(self, row: Any) -> SafeString:
        """Show the value, at most ``ON_PAGE`` characters of it."""
        if display.masked(row.object)(row.key):
            return format_html("{} <p>{}</p>", display.HIDDEN, "Hidden: the class lists this key in masked_keys.")
        stored = Entry.objects.using(row._state.db).filter(pk=row.pk)
        text = stored.values_list(Substr("value", 1, ON_PAGE + 1), flat=True).get()
        value = display.value(text, ON_PAGE)
        note = f"Only the first {ON_PAGE:,} characters of its JSON are shown." if value.cut else ""
        return format_html('<pre class="do-value">{}</pre>{}', value.text, note)


@admin.register(AlarmRun)
class AlarmRunAdmin(ReadOnlyAdmin):
    """The history: every call of an ``alarm()``, newest first."""

    list_display = ("started_at", "object_label", "what", "result", "retry_count", "late", "took", "error_gist")
    list_select_related = ("object",)
    list_filter = ("outcome", ObjectFilter)
    fields: ClassVar[Any] = (
        "object_label", "what", "result", "retry_count", "fence", "late", "took",
        moment("scheduled_at"), moment("due_at"), moment("wake_up_for", "wake-up sent for"), moment("picked_up_at"),
        moment("started_at"), moment("ended_at"), "traceback",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="started")
        def started(row: AlarmRun) -> str:
            return display.when(row.started_at, now_of(request))

        return [started, *self.list_display[1:]]

    @admin.display(description="object")
    def object_label(self, row: AlarmRun) -> str:
        """Show the object's name and class, with a link."""
        return object_link(row.object)

    @admin.display(description="of")
    def what(self, row: AlarmRun) -> str:
        """Show the schedule that ran, or that it was the alarm."""
        return display.short(display.label(row.schedule)) if row.schedule else "alarm"

    @admin.display(description="outcome")
    def result(self, row: AlarmRun) -> SafeString:
        """Show how the run ended."""
        return display.badge(row.outcome)

    @admin.display(description="late by")
    def late(self, row: AlarmRun) -> str:
        """Show the time from due to start."""
        return display.span(row.started_at - row.due_at)

    @admin.display(description="took")
    def took(self, row: AlarmRun) -> str:
        """Show the time from start to end."""
        return display.span(row.ended_at - row.started_at)

    @admin.display(description="error")
    def error_gist(self, row: AlarmRun) -> str:
        """Show the line of the error that says most."""
        return display.gist(row.error) or display.NOTHING

    @admin.display(description="error")
    def traceback(self, row: AlarmRun) -> SafeString | str:
        """Show the end of the traceback, as the history keeps it."""
        return format_html('<pre class="do-value">{}</pre>', row.error) if row.error else display.NOTHING


@admin.register(Dispatcher)
class DispatcherAdmin(ReadOnlyAdmin):
    """The processes that send wake-ups, latest pass first; each is forgotten a day after its last pass."""

    list_display = ("process",)
    fields: ClassVar[Any] = ("process", *map(moment, ["started_at", "last_pass_at", "refused_since"]))
    readonly_fields = fields
    ordering = ("-last_pass_at",)
    sortable_by = ()

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="last pass")
        def last_pass(row: Dispatcher) -> str:
            return display.when(row.last_pass_at, now_of(request))

        @admin.display(description="passes since")
        def since(row: Dispatcher) -> str:
            return display.when(row.started_at, now_of(request))

        @admin.display(description="refused by the broker since")
        def refused(row: Dispatcher) -> str:
            return display.when(row.refused_since, now_of(request))

        return [*self.list_display, last_pass, since, refused]


def object_link(row: Object) -> SafeString:
    """Return an object's name and class, with a link to its page."""
    url = reverse("admin:durable_objects_object_change", args=[row.pk])
    return format_html(
        '<a href="{}">{}</a> <span class="do-aside">{}</span>',
        url,
        display.short(display.label(row.name)),
        display.class_of(row),
    )
