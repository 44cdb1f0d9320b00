"""The engine's own tables, read-only: objects of every class, entries, alarms, runs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import display, overview
from durable_objects.admin.base import BoundedPaginator, ReadOnlyAdmin, address_on
from durable_objects.admin.columns import Bytes, moment, now_of, titled, with_alarm
from durable_objects.admin.entries import EditsEntries
from durable_objects.admin.filters import EndedFilter, ErrorFilter, KindFilter, ObjectFilter, StateFilter
from durable_objects.admin.moves import LATER, MOVE, SET
from durable_objects.admin.objects import ObjectPage
from durable_objects.admin.overview import index
from durable_objects.admin.queries import line_of, read_steps
from durable_objects.admin.search import SearchedBySelection
from durable_objects.admin.verbs import CANCEL, COPY, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, Verb
from durable_objects.admin.zones import choose_zone
from durable_objects.database.lookups import Among
from durable_objects.operations.selection import IN_LISTS, InvalidSelection, Selection, stored
from durable_objects.operations.selection.qualifiers import has_error
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry, Object

#: Characters of a value in the list of entries, and on an entry's page.
IN_LIST = 100
ON_PAGE = 100_000

#: The newest runs, which a search reads at most.
RUNS_SEARCHED = 500_000


@admin.register(Object)
class ObjectAdmin(ObjectPage, ReadOnlyAdmin):
    """Every object, also of classes that are not registered with admin, or that this code does not have."""

    list_display = ("named", "class_of")
    list_select_related = ("alarm_row",)
    list_filter = (StateFilter, KindFilter, ErrorFilter)
    fields = ("whole_name", "class_of")
    readonly_fields = ("whole_name", "class_of")
    ordering = ("-id",)
    sortable_by = ()
    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, RESUME, FIRE_NOW, *LATER, MOVE, SET, CANCEL, PAUSE, COPY, DELETE)

    def get_list_display(self, request: HttpRequest) -> Any:
        return with_alarm(request, self.list_display)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and self.may_change(request, DELETE, obj)


@admin.register(Alarm)
class AlarmAdmin(ObjectPage, ReadOnlyAdmin):
    """Every alarm slot; at first those that will run, the next one first."""

    list_display = ("named", "class_of")
    list_select_related = ("object",)
    list_filter = (StateFilter, KindFilter, ErrorFilter)
    default_state = "armed"
    fields = ("whole_name", "class_of")
    readonly_fields = ("whole_name", "class_of")
    sortable_by = ()
    shows_storage = False
    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, RESUME, FIRE_NOW, *LATER, MOVE, CANCEL, PAUSE)
    change_list_template = "admin/durable_objects/alarms.html"

    def __init__(self, model: type[Alarm], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        index.put_on(admin_site)

    def get_urls(self) -> list[Any]:
        def zone(request: HttpRequest) -> HttpResponse:
            return choose_zone(self.admin_site, request)

        chosen = path("zone/", self.admin_site.admin_view(zone), name="durable_objects_zone")
        return [*overview.urls(self.admin_site), chosen, *super().get_urls()]

    def target(self, row: Alarm) -> Object:
        """Return the alarm's object."""
        return row.object

    def get_list_display(self, request: HttpRequest) -> Any:
        return with_alarm(request, self.list_display)

    def matching(self, request: HttpRequest, rows: models.QuerySet[Any], selection: Selection) -> models.QuerySet[Any]:
        """Return the alarms that are meant."""
        if selection.reads_rows:
            return super().matching(request, rows, selection)
        return rows.filter(selection.condition(now_of(request)))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Sort by due time where an index has it: among alarms that will run."""
        try:
            return self.selection(request).ordering
        except InvalidSelection:
            return ("-pk",)


@admin.register(Entry)
class EntryAdmin(SearchedBySelection, EditsEntries):
    """Every key of every object's storage."""

    searched_by = ("class:", "name:", "key:", "value:")

    list_display = ("key_label", "object_label", "kind", "bytes", "beginning")
    list_select_related = ("object",)
    list_filter = (KindFilter, ObjectFilter)
    ordering = ("object", "key")
    sortable_by = ()
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows = super().get_queryset(request).select_related("object").defer("value")
        annotated: models.QuerySet[Any] = rows.annotate(size=Bytes("value"), start=Substr("value", 1, IN_LIST + 1))
        return annotated

    def matching(self, request: HttpRequest, rows: models.QuerySet[Any], selection: Selection) -> models.QuerySet[Any]:
        """Return the entries that are meant."""
        key, value = selection.get("key:"), selection.get("value:")
        bound = stored.newest(IN_LISTS.entries) if key or value else _between_objects(rows.db, selection.get("class:"))
        return super().matching(request, rows, selection).filter(bound, stored.condition(key, value))

    @admin.display(description="object")
    def object_label(self, row: Entry) -> str:
        """Show the object's name and class, with a link."""
        return object_link(self.admin_site, row.object)

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
        return display.size(row.size)

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
class AlarmRunAdmin(SearchedBySelection, ReadOnlyAdmin):
    """The history: every call of an ``alarm()``, newest first."""

    searched_by = ("class:", "name:", "error:")

    list_display = (
        "started_at", "result", "object_label", "what", titled("retry_count", "retry"), "late", "took", "error_gist",
    )  # fmt: skip
    list_select_related = ("object",)
    list_filter = ("outcome", EndedFilter, KindFilter, ObjectFilter)
    fields: ClassVar[Any] = (
        "object_label", "what", "result", titled("retry_count", "retry"), "late", "took", "line", "steps", "traceback",
        "fence",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50

    def matching(self, request: HttpRequest, rows: models.QuerySet[Any], selection: Selection) -> models.QuerySet[Any]:
        """Return the runs that are meant, of the newest ``RUNS_SEARCHED``, as many as a list shows: they are looked for
        once, not for the count and for the page.
        """
        if not selection.given:
            return rows
        error = selection.get("error:")
        last = AlarmRun.objects.using(rows.db).aggregate(last=models.Max("pk"))["last"] or 0
        failed = Q() if error is None else ~Q(outcome=AlarmRun.Outcome.SUCCEEDED) & has_error(error, "error")
        between = _between_objects(rows.db, selection.get("class:"))
        meant = super().matching(request, rows, selection).filter(failed, between, pk__gt=last - RUNS_SEARCHED)
        found = meant.order_by("-pk").values_list("pk", flat=True)[: BoundedPaginator.LIMIT]
        return rows.filter(Among(models.F("pk"), list(found)))

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="started")
        def started(row: AlarmRun) -> str:
            return display.when(row.started_at, now_of(request))

        return [started, *self.list_display[1:]]

    @admin.display(description="object")
    def object_label(self, row: AlarmRun) -> str:
        """Show the object's name and class, with a link."""
        return object_link(self.admin_site, row.object)

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

    @admin.display(description="where its time went")
    def line(self, row: AlarmRun) -> SafeString:
        """Draw which stage took how much of the run's time."""
        shown = line_of(row)
        drawn = render_to_string("admin/durable_objects/chart.html", {"chart": shown})
        return format_html('<div class="do-line">{}</div>{}', drawn, shown.label)

    @admin.display(description="steps")
    def steps(self, row: AlarmRun) -> SafeString:
        """Show the run's moments in order, with who spent the time between them."""
        return render_to_string("admin/durable_objects/steps.html", {"steps": read_steps(row)})

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


def _between_objects(using: str, kind_id: int | None) -> Q:
    """Return the condition of rows of the first object of a class, the last one, and all between: in their order those
    before the first would be read in vain.
    """
    if kind_id is None:
        return Q()
    objects = Object.objects.using(using).filter(kind=kind_id)
    ends = objects.aggregate(first=models.Min("pk"), last=models.Max("pk"))
    return Q(object__gte=ends["first"] or 0, object__lte=ends["last"] or 0)


def object_link(site: admin.AdminSite, row: Object) -> SafeString:
    """Return an object's name and class, with a link to its page on this admin site, where that has one."""
    url, name = address_on(site, "durable_objects_object_change", row.pk), display.short(display.label(row.name))
    linked = format_html('<a href="{}">{}</a>', url, name) if url else name
    return format_html('{} <span class="do-aside">{}</span>', linked, display.class_of(row))
