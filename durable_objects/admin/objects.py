"""``DurableObjectAdmin``, the base for admins of your own classes, and the page that all objects share."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from durable_objects.admin import display
from durable_objects.admin.actions import CANCEL, COPY, DELETE, FIRE_NOW, PAUSE, RESUME, REVIVE, OperableAdmin, Verb
from durable_objects.admin.columns import alarm_columns, now_of
from durable_objects.admin.filters import StateFilter
from durable_objects.admin.forms import NameForm
from durable_objects.admin.queries import page_of
from durable_objects.errors import DurableObjectError
from durable_objects.kinds import content_types
from durable_objects.models import as_handle
from durable_objects.tables import Alarm, AlarmRun, Entry, Schedule
from durable_objects.turns import subclass_fields


class ObjectPage(OperableAdmin):
    """The page of one object (alarm, storage, runs, buttons), and a search by the beginning of names."""

    change_form_template = "admin/durable_objects/object.html"
    search_fields = ("name__startswith",)
    search_help_text = "The beginning of a name"
    list_filter: ClassVar[Any] = (StateFilter,)
    list_per_page = 50
    #: Whether the page shows the object's entries.
    shows_storage = True

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add to Django's page what only objects have."""
        row = context.get("original")
        if row is not None:
            storage, runs = self.shows_storage and self.may_see(request, Entry), self.may_see(request, AlarmRun)
            after = request.GET.get("after") if storage else None
            plans = self.may_see(request, Schedule)
            context |= {"shows_storage": storage, "shows_runs": runs, "shows_schedules": plans}
            context["shows_traceback"] = runs or self.may_see(request, Alarm)
            context["page"] = page_of(
                self.target(row), now_of(request), after, storage=storage, runs=runs, schedules=plans
            )
            context["subtitle"] = display.short(self.whole_name(row))
        return super().render_change_form(request, context, *args, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        # Names are indexed within their class, so the query names every class; otherwise it would read all names.
        field = self.search_fields[0]
        kinds = {field.replace("name__startswith", "kind__in"): list(content_types().values_list("pk", flat=True))}
        return queryset.filter(**{field: search_term}, **kinds), False

    def get_ordering(self, request: HttpRequest) -> Any:
        """Sort by key under a filter by state: in any other order all objects would be read."""
        return ("-pk",) if StateFilter.parameter_name in request.GET else super().get_ordering(request)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Show what was done to the object in admin, on whichever page."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return super().history_view(request, object_id, extra_context)
        target = self.target(row)
        log = LogEntry.objects.filter(content_type=target.kind_id, object_id=str(target.pk)).select_related("user")
        page = self.get_paginator(request, log.order_by("-action_time"), 100).get_page(request.GET.get("p", 1))
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
        handle = as_handle(target)
        if handle is None or type(handle) is self.model or not self.admin_site.is_registered(type(handle)):
            return display.class_of(target)
        name = f"{self.admin_site.name}:{handle._meta.app_label}_{handle._meta.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(name, args=[target.pk]), display.class_of(target))


class DurableObjectAdmin(ObjectPage):
    """Admin for a class of durable objects; works as it is, and is made to be subclassed.

    The list shows ``list_display`` and then the alarm; the page shows the class's own fields (which can be edited, and
    are saved in a turn) and ``readonly_fields``, then alarm, storage and the last runs. Adding asks for a name, and
    creates the object in a turn. ``verbs`` are the actions; users need the class's change permission for them, and its
    delete permission to delete.
    """

    list_display: Any = ("named",)
    list_select_related = ("alarm_row",)
    ordering: ClassVar[Any] = ("name",)
    sortable_by: ClassVar[Any] = ("named",)
    verbs: ClassVar[tuple[Verb, ...]] = (FIRE_NOW, CANCEL, REVIVE, PAUSE, RESUME, COPY, DELETE)

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Return whether the user may do this to objects of this list's class."""
        return self.may(request, verb, self.model)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [*self.list_display, *alarm_columns(request)]

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
        return super().get_inlines(request, obj) if obj is not None else []
