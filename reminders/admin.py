"""Reminders and their deliveries in Django admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import DurableObjectAdmin, ReadOnlyAdmin
from durable_objects.admin.reading import badge, moment, now_of
from durable_objects.admin.wording import NOTHING, absolute, gist, label, when
from reminders.models import Delivery, Reminder


@admin.register(Reminder)
class ReminderAdmin(DurableObjectAdmin):
    """A reminder: what it says and when, alarm, storage, runs. It is set by code, over HTTP or by command."""

    readonly_fields = ("message", "next_at", "recurrence", "channels")

    @admin.display(description="message")
    def message(self, row: Reminder) -> str:
        """What is delivered."""
        return str(_of(row, "message"))

    @admin.display(description="next delivery")
    def next_at(self, row: Reminder) -> str:
        """When it is delivered next."""
        reminder = row.get_reminder()
        return absolute(reminder["next_at"]) if reminder else NOTHING

    @admin.display(description="recurrence")
    def recurrence(self, row: Reminder) -> str:
        """The rule of the series, and on whose wall clocks it goes."""
        rule = _of(row, "recurrence")
        return f"{rule} ({_of(row, 'time_zone')})" if rule not in {None, NOTHING} else NOTHING

    @admin.display(description="channels")
    def channels(self, row: Reminder) -> str:
        """By what it is delivered."""
        return ", ".join(_of(row, "channels"))


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Every delivery, newest first."""

    list_display: Any = ("key", "reminder_name", "channel", "result", "attempts", "error_gist")
    list_select_related = ("reminder",)
    search_fields = ("reminder__name__startswith",)
    search_help_text = "The beginning of a reminder's name"
    fields: ClassVar[Any] = (
        "key", "reminder_name", "channel", "result", "message",
        moment("planned_at"), moment("delivered_at"), "attempts", "error",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50

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
        """The reminder's name."""
        return label(row.reminder.name)

    @admin.display(description="outcome")
    def result(self, row: Delivery) -> SafeString | str:
        """Whether it has been delivered."""
        if row.delivered_at:
            return format_html("{} {}", badge("delivered"), absolute(row.delivered_at))
        return badge("failed") if row.error else NOTHING

    @admin.display(description="error")
    def error_gist(self, row: Delivery) -> str:
        """The line of the error that says most."""
        return gist(row.error) or NOTHING


def _of(row: Reminder, name: str) -> Any:
    reminder = row.get_reminder()
    return reminder[name] if reminder else NOTHING
