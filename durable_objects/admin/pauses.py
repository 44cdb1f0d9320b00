"""What is paused: a list, with buttons to pause everything or a class, and to resume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import display
from durable_objects.admin.base import EngineAdmin
from durable_objects.admin.columns import moment, now_of
from durable_objects.admin.forms import PausesForm
from durable_objects.admin.permissions import shown
from durable_objects.admin.questions import ask, list_url_of, row_to_delete
from durable_objects.admin.verbs import RESUME
from durable_objects.alarms.pauses import Target
from durable_objects.kinds import content_types
from durable_objects.operations import pauses
from durable_objects.tables import Pause

#: Until when a pause lasts that does not end by itself.
RESUMED = "it is resumed"
#: What is done to a pause, in place of deleting its row.
END = replace(RESUME, name="resume_pauses", question="Resume? What has come due meanwhile runs at once.")


@admin.register(Pause)
class PauseAdmin(EngineAdmin):
    """Every pause, the last first. None is deleted but by resuming; those of objects are made on the objects' pages."""

    form = PausesForm
    actions: Any = ("resume_pauses",)
    change_form_template = "admin/durable_objects/operable.html"
    list_display = ("what", "reason", "by")
    list_filter = ("scope",)
    #: On the page of a pause.
    on_page: ClassVar[Any] = ("what", "reason", "by", moment("since"), "ends")
    ordering = ("-since",)
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the pauses, without those of objects that the admins of their classes hide."""
        return shown(self.admin_site, request, super().get_queryset(request))

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="since")
        def since(row: Pause) -> str:
            return display.when(row.since, now_of(request))

        @admin.display(description="until")
        def until(row: Pause) -> SafeString | str:
            return RESUMED if row.until is None else display.when(row.until, now_of(request))

        return [*self.list_display, since, until]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ("what", "reason", "lasts") if obj is None else self.on_page
        return [(None, {"fields": fields})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.on_page

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="paused")
    def what(self, row: Pause) -> SafeString | str:
        """Show what is paused: everything, a class, or an object with its class."""
        if row.object is not None:
            name = display.short(display.label(row.object.name))
            return format_html('{} <span class="do-aside">{}</span>', name, display.class_of(row.object))
        return pauses.name_of(Target(row.kind_id))

    @admin.display(description="until")
    def ends(self, row: Pause) -> str:
        """Show when it ends."""
        return RESUMED if row.until is None else display.absolute(row.until, "milliseconds")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Pause, in place of a pause of the same that stands."""
        given = {**form.cleaned_data}
        kind_id = given.pop("what")
        kind = content_types().get_for_id(int(kind_id)) if kind_id else None
        user: Any = request.user
        pauses.pause(kind, by=user.get_username(), **given)
        obj.pk = Pause.objects.get(**pauses.target_of(kind).row).pk
        obj.refresh_from_db()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer to resume in place of Django's button that deletes."""
        row = context.get("original")
        may_resume = row is not None and self.has_delete_permission(request, row)
        context |= {"show_delete": False, "verbs": [END] if may_resume else [], "list_url": list_url_of(self)}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_actions(self, request: HttpRequest, *place: Any, **places: Any) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request, *place, **places)
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description=END.label, permissions=["delete"])
    def resume_pauses(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse:
        """Ask; once that was confirmed, resume each and lead to the list."""
        rows = [row for row in queryset.order_by("pk") if self.has_delete_permission(request, row)]
        if rows and request.POST.get("confirmed") != "yes":
            return self._ask(request, rows)
        resumed = [row for row in rows if pauses.resume(row.object or row.kind)]
        for row in resumed:
            _log(request, row)
        if resumed:
            self.message_user(request, f"{END.done}: {', '.join(map(_name, resumed))}.", messages.SUCCESS)
        else:
            self.message_user(request, "There was nothing to resume.", messages.WARNING)
        return HttpResponseRedirect(list_url_of(self))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Ask whether to resume: to delete the row of a pause is nothing else."""
        row = row_to_delete(self, request, object_id)
        return self.resume_pauses(request, self.get_queryset(request).filter(pk=row.pk))

    def _ask(self, request: HttpRequest, rows: list[Pause]) -> HttpResponse:
        chosen = [
            {
                "pk": row.pk,
                "label": _name(row),
                "badge": display.badge("paused"),
                "sentence": row.reason,
                "class": display.class_of(row.object) if row.object is not None else "",
            }
            for row in rows
        ]
        return ask(self, request, END, chosen, back_url=list_url_of(self))


def _name(row: Pause) -> str:
    """Return what is paused, as one word of a sentence."""
    return display.label(row.object.name) if row.object is not None else pauses.name_of(Target(row.kind_id))


def _log(request: HttpRequest, row: Pause) -> None:
    """Write that it was resumed to the log of its object, as the button there does, or to that of the pause."""
    user: Any = request.user
    of: dict[str, Any] = {
        "content_type": ContentType.objects.get_for_model(Pause),
        "object_id": str(row.pk),
        "object_repr": str(row)[:200],
        "action_flag": DELETION,
    }
    if row.object is not None:
        name, key = row.object.name[:200], str(row.object.pk)
        of = {"content_type_id": row.object.kind_id, "object_id": key, "object_repr": name, "action_flag": CHANGE}
    LogEntry.objects.create(user_id=user.pk, change_message=f"{END.done}.", **of)
