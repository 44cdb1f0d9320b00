"""What is paused: a list, with buttons to pause everything or a class, and to resume."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import display
from durable_objects.admin.base import EngineAdmin
from durable_objects.admin.columns import moment, now_of
from durable_objects.admin.forms import PausesForm
from durable_objects.admin.permissions import shown
from durable_objects.alarms.pauses import Target
from durable_objects.kinds import content_types
from durable_objects.operations import pauses
from durable_objects.tables import Pause

#: Until when a pause lasts that does not end by itself.
RESUMED = "it is resumed"
TO_RESUME = "To delete it is to resume: what has come due meanwhile runs at once."


@admin.register(Pause)
class PauseAdmin(EngineAdmin):
    """Every pause, the last first. To delete one is to resume; those of objects are made on the objects' pages."""

    form = PausesForm
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
        may_resume = obj is not None and self.has_delete_permission(request, obj)
        return [(None, {"fields": fields, "description": TO_RESUME if may_resume else ""})]

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

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Resume."""
        pauses.resume(obj.object or obj.kind)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Resume each of them."""
        for row in queryset:
            self.delete_model(request, row)
