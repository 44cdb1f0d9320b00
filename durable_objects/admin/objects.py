"""``DurableObjectAdmin``, the base for admins of your own classes, and the page that all objects share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from durable_objects.admin import display
from durable_objects.admin.actions import OperableAdmin
from durable_objects.admin.base import BoundedPaginator, address_on, allows
from durable_objects.admin.columns import keep_explanation, now_of, read_deaths, with_alarm
from durable_objects.admin.filters import ErrorFilter, StateFilter
from durable_objects.admin.forms import NameForm
from durable_objects.admin.inlines import SettingsInline
from durable_objects.admin.log import text_of
from durable_objects.admin.moves import LATER, MOVE, SET
from durable_objects.admin.panels import Panel
from durable_objects.admin.queries import Asked, page_of
from durable_objects.admin.search import SearchedBySelection, was_searched
from durable_objects.admin.verbs import CANCEL, COPY, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, Verb
from durable_objects.database.lookups import Among
from durable_objects.errors import DurableObjectError
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations.selection import IN_LISTS, QUALIFIERS, InvalidSelection, Selection
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Schedule
from durable_objects.turns import subclass_fields

#: What an address of a list may have that says the same as a selection, or nothing about it.
_OF_SELECTIONS = {"state", "class", "error", "q", "o", "p", "e", "all", "_facets"}
#: Fields that the head of the page shows.
IN_HEAD = {"whole_name", "class_of"}


class ObjectPage(SearchedBySelection, OperableAdmin):
    """The page of one object (alarm, storage, runs, buttons), and a list that is searched by qualifiers."""

    change_form_template = "admin/durable_objects/object.html"
    list_filter: ClassVar[Any] = (StateFilter, ErrorFilter)
    searched_by: ClassVar[tuple[str, ...]] = tuple(QUALIFIERS)
    list_per_page = 50
    #: Entries that the page shows at a time.
    entries_shown: ClassVar[int] = 100
    #: Whether the page shows the object's entries.
    shows_storage = True
    #: Keys in which an app keeps its own book: their values are folded.
    internal_keys: ClassVar[Collection[str]] = ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add to Django's page what only objects have."""
        row = context.get("original")
        if row is not None:
            storage, runs = self.shows_storage and self.may_see(request, Entry), self.may_see(request, AlarmRun)
            plans = self.may_see(request, Schedule)
            context |= {"shows_storage": storage, "shows_runs": runs, "shows_schedules": plans}
            context["shows_traceback"] = runs or self.may_see(request, Alarm)
            asked = Asked.of(request, self.entries_shown if storage else 0)
            sees = self.may_see(request, Entry)
            context["page"] = page_of(
                self.target(row), now_of(request), asked, runs=runs, schedules=plans, storage=sees
            )
            keep_explanation(request, self.target(row), context["page"]["explained"])
            for permission in ("add", "change"):
                context[f"may_{permission}_entries"] = storage and self._may_write_entries(request, row, permission)
            context["internal_keys"] = self.internal_keys
            context["panels"] = [panel.render(request) for panel in self.panels(request, row)]
            context["subtitle"] = display.short(self.whole_name(row))
        return super().render_change_form(request, context, *args, **kwargs)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the page, or lead to that of the object's own class, where the user may see it: there is one page."""
        leads = request.method == "GET" and self.model in {Object, Alarm}
        row = self.get_object(request, unquote(object_id)) if leads else None
        model = self._leads_to(request, self.target(row)) if row is not None else self.model
        if model is self.model:
            return super().change_view(request, object_id, form_url, extra_context)
        name = f"{self.admin_site.name}:{model._meta.app_label}_{model._meta.model_name}_change"
        query = f"?{request.META['QUERY_STRING']}" if request.META.get("QUERY_STRING") else ""
        return HttpResponseRedirect(reverse(name, args=[self.target(row).pk]) + query)

    def _leads_to(self, request: HttpRequest, target: Object) -> type[models.Model]:
        """Return the model in whose admin the object's page is: its own class, else ``Object``, else this one."""
        handle = as_handle(target)
        candidates: list[type[models.Model]] = [Object] if handle is None else [type(handle), Object]
        for model in candidates:
            if model is self.model or not self.has_view_or_change_permission(request):
                break
            if self.admin_site.is_registered(model) and allows(self.admin_site, request, "view", model, target):
                return model
        return self.model

    def _may_write_entries(self, request: HttpRequest, row: Any, permission: str) -> bool:
        handle = as_handle(self.target(row))
        allowed = handle is not None and allows(self.admin_site, request, "change", type(handle), handle)
        code = get_permission_codename(permission, Entry._meta)
        return allowed and bool(request.user.has_perm(f"{Entry._meta.app_label}.{code}"))

    def panels(self, request: HttpRequest, row: Any) -> list[Panel]:
        """Return what the page shows of the object first; made to be overridden."""
        return []

    def everything_url(self, request: HttpRequest) -> str | None:
        """Return the address that does something to everything that the list shows; None where none can."""
        selection = self.selection_text(request)
        if selection is None or not any(self.may_use(request, verb) for verb in self.verbs if verb.of_many):
            return None
        return address_on(self.admin_site, "durable_objects_operation_start", selection=selection) or None

    def revive_url(self, request: HttpRequest) -> str | None:
        """Return the address that asks whether to revive all that the list shows; None where it shows others too."""
        selection = self.selection_text(request)
        if selection is None or Selection.parse(selection).get("state:") != "dead":
            return None
        if not self.may_use(request, REVIVE):
            return None
        start = "durable_objects_operation_start"
        return address_on(self.admin_site, start, verb=REVIVE.of_many, selection=selection) or None

    def selection_text(self, request: HttpRequest) -> str | None:
        """Return what the list shows as the text of a selection; None where it shows what that cannot say."""
        if {*request.GET} - _OF_SELECTIONS or (request.GET.get("q") and not was_searched(request)):
            return None
        if not self.may_do_to_all(request, "add"):  # which rows are shown counts here, not what may be done to each
            return None
        try:
            text = str(self._within_list(self.selection(request)))
            Selection.parse(text)  # the address may name a class whose rows are no objects
        except InvalidSelection:
            return None
        return text

    def matching(self, request: HttpRequest, rows: models.QuerySet[Any], selection: Selection) -> models.QuerySet[Any]:
        """Return the rows that are meant: by their alarms, or where rows have to be read for it, as many as a list
        shows, since a join in the order of the list might read all of them, and the count all once more.
        """
        now, selection = now_of(request), self._within_list(selection)
        if self.model is Alarm or (selection.asks_alarms and selection.get("state:") != "idle"):
            found = selection.first_alarms(now, BoundedPaginator.LIMIT, IN_LISTS)
        elif selection.reads_rows:
            found = selection.first_objects(now, BoundedPaginator.LIMIT, IN_LISTS)
        else:
            return rows.filter(selection.of_object(""))
        return rows.filter(Among(models.F("pk"), found))

    def bound_of(self, selection: Selection) -> str:
        """Return in words how many of the newest were searched; empty: all."""
        selection = self._within_list(selection)
        if selection.looks_in_each or (self.model is not Alarm and selection.get("state:") == "idle"):
            return f"{IN_LISTS.objects:,} objects"
        return super().bound_of(selection)

    def _within_list(self, selection: Selection) -> Selection:
        """Return the selection of objects of the list's class; of any where it has them all."""
        model: type[models.Model] = self.model
        return selection.having(**{"class": model.kind_pk()}) if issubclass(model, DurableObject) else selection

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return Django's fieldsets without what the head of the page shows, and without those that are empty then."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        kept = [
            (name, {**each, "fields": [one for one in each["fields"] if one not in IN_HEAD]})
            for name, each in fieldsets
        ]
        return [(name, each) for name, each in kept if each["fields"]]

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.select_related("object" if self.model is Alarm else "alarm_row")

    def get_ordering(self, request: HttpRequest) -> Any:
        """Sort by due time where that is asked for, and by primary key under another condition that its own index does
        not answer: in any other order all objects would be read.
        """
        try:
            selection = self.selection(request)
        except InvalidSelection:
            return super().get_ordering(request)
        if not (selection.asks_alarms or selection.reads_rows):
            return super().get_ordering(request)
        return ("alarm_row__wake_at", "pk") if selection.ordering[0] == "wake_at" else ("-pk",)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list, for which it was read since when its dead alarms are, and what can be done to all of it."""
        changes = super().get_changelist_instance(request)
        changes.everything_url = self.everything_url(request)
        changes.revive_url = self.revive_url(request)
        read_deaths(request, changes.result_list)
        return changes

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Show what was done to the object in admin, on whichever page."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return super().history_view(request, object_id, extra_context)
        target = self.target(row)
        log = LogEntry.objects.filter(content_type=target.kind_id, object_id=str(target.pk)).select_related("user")
        page = self.get_paginator(request, log.order_by("-action_time"), 100).get_page(request.GET.get("p", 1))
        sees = self.may_see(request, Entry)
        page.object_list = [*page.object_list]
        for entry in page.object_list:
            entry.change_message = text_of(entry, shows_storage=sees)
        return super().history_view(request, object_id, {"action_list": page, **(extra_context or {})})

    @admin.display(description="name", ordering="name")
    def named(self, row: Any) -> str:
        """Show the object's name in a list: a long one cut, invisible characters escaped."""
        return display.short(display.label(self.target(row).name))

    @admin.display(description="name")
    def whole_name(self, row: Any) -> str:
        """Show the whole name, invisible characters escaped."""
        return display.label(self.target(row).name)

    @admin.display(description="class")
    def class_of(self, row: Any) -> str:
        """Show the class; if it is registered, as a link to the object's page there."""
        target = self.target(row)
        text = display.class_of(target)
        return text if type(as_handle(target)) is self.model else self.linked(target, text)


class DurableObjectAdmin(ObjectPage):
    """Admin for a class of durable objects; works as it is, and is made to be subclassed.

    The list shows ``list_display`` and then the alarm; the page shows the class's own fields (which can be edited, and
    are saved in a turn) and ``readonly_fields``, then alarm, storage and the last runs. Adding asks for a name, and
    creates the object in a turn. ``verbs`` are the actions; users need the class's change permission for them, and its
    delete permission to delete.
    """

    list_display: Any = ("named",)
    list_select_related = ("alarm_row",)
    searched_by: ClassVar[tuple[str, ...]] = tuple(name for name in QUALIFIERS if name != "class:")
    ordering: ClassVar[Any] = ("name",)
    sortable_by: ClassVar[Any] = ("named",)
    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, RESUME, FIRE_NOW, *LATER, MOVE, SET, CANCEL, PAUSE, COPY, DELETE)

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Return whether the user may do this to objects of this list's class."""
        return self.may(request, verb, self.model)

    def get_list_display(self, request: HttpRequest) -> Any:
        return with_alarm(request, self.list_display)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["name"]
        return ["whole_name", *[field.name for field in subclass_fields.columns(self.model)], *self.readonly_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return []
        filled_in = [
            field.name for field in subclass_fields.columns(self.model) if not field.editable
        ]  # generated ones too
        return ["whole_name", *filled_in, *self.readonly_fields]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form: adding asks for a name only."""
        if obj is None:
            kwargs["form"] = NameForm
        return super().get_form(request, obj, change, **kwargs)

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        model: type[models.Model] = self.model
        saves = object_id is None or bool(subclass_fields.own_fields(model)) or bool(self.inlines)
        extra = {"show_save": saves, "show_save_and_continue": saves, "show_save_and_add_another": object_id is None}
        try:
            return super().changeform_view(request, object_id, form_url, {**extra, **(extra_context or {})})
        except DurableObjectError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save a change; or create the object and write nothing else, as somebody may have created it meanwhile."""
        if change:
            super().save_model(request, obj, form, change)
        else:
            obj.save(update_fields=())

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        inlines = super().get_inlines(request, obj) if obj is not None else []
        return [each for each in inlines if not self._is_empty(each, request, obj)]

    def _is_empty(self, inline: Any, request: HttpRequest, obj: Any) -> bool:
        return issubclass(inline, SettingsInline) and inline(self.model, self.admin_site).is_empty(request, obj)
