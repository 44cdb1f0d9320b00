"""Deliveries in admin, read-only."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import NOTHING, ReadOnlyAdmin, badge, moment, now_of, when
from durable_objects.formatting import absolute, gist, label
from reminders.models import Delivery


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Every delivery, newest first."""

    list_display: Any = ("key", "reminder_name", "way", "result", "attempts", "answer_or_error")
    list_select_related = ("reminder",)
    list_filter = ("status",)
    search_fields = ("reminder__name__startswith",)
    search_help_text = "The beginning of a reminder's name"
    fields: ClassVar[Any] = (
        "key", "reminder_name", "channel", "address", "result", "digest", "message", moment("occurrence"),
        moment("planned_at"), moment("delivered_at"), "attempts", "answer", "error",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50

    class Media:
        css = {"all": ["reminders/admin.css"]}

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        return (queryset.filter(reminder__name__startswith=search_term) if search_term else queryset), False

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="planned")
        def planned(row: Delivery) -> str:
            return when(row.planned_at, now_of(request))

        return [*self.list_display[:3], planned, *self.list_display[3:]]

    @admin.display(description="reminder")
    def reminder_name(self, row: Delivery) -> str:
        """Return the reminder's name."""
        return label(row.reminder.name)

    @admin.display(description="channel")
    def way(self, row: Delivery) -> str:
        """Return by which channel and to whom."""
        return row.way

    @admin.display(description="outcome")
    def result(self, row: Delivery) -> SafeString | str:
        """Return its status, and when it was delivered."""
        at = absolute(row.delivered_at) if row.delivered_at else ""
        return format_html("{} {}", badge(row.status), at)

    @admin.display(description="answer or error")
    def answer_or_error(self, row: Delivery) -> str:
        """Return the receiver's answer, or the line of the error that says most."""
        return gist(row.error) or gist(row.answer) or NOTHING
