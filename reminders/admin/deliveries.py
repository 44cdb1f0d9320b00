"""Deliveries in admin: read, and tried again where they failed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.admin import (
    NOTHING,
    OperableAdmin,
    ReadOnlyAdmin,
    Status,
    Verb,
    badge,
    moment,
    named,
    now_of,
    short_id,
    titled,
    when,
)
from durable_objects.formatting import absolute, gist, label
from durable_objects.models import Object
from reminders import delivery
from reminders.models import Delivery, Reminder


def _try_again(handle: Any, row: Delivery) -> str:
    delivery.again(row)
    return f"by {row.way}"


TRY_AGAIN = Verb(
    "try_again",
    "Try again",
    "Deliver these again, by the same way and under the same key, by which a receiver can tell a repetition?",
    "Delivered",
    _try_again,
    fits=frozenset({Delivery.Status.FAILED, Delivery.Status.REFUSED}),
    preview=lambda handle, row: f"By: {row.way}\n\n{row.message}",
)


@admin.register(Delivery)
class DeliveryAdmin(OperableAdmin, ReadOnlyAdmin):
    """Every delivery, newest first."""

    list_display: Any = ("short_key", "result", "reminder_link", "way", titled("attempts", "tries"), "answer_or_error")
    list_select_related = ("reminder",)
    object_column = "reminder"
    list_filter = ("status",)
    search_fields = ("reminder__name__startswith",)
    search_help_text = "The beginning of a reminder's name"
    fields: ClassVar[Any] = (
        "key", "reminder_link", "channel", "address", "result", "digest", "message", moment("occurrence"),
        moment("planned_at"), moment("delivered_at"), "attempts", "answer", "error",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50
    verbs: ClassVar[tuple[Verb, ...]] = (TRY_AGAIN,)

    class Media:
        css = {"all": ["reminders/admin.css"]}

    def target(self, row: Delivery) -> Object:
        """Return the reminder."""
        return row.reminder

    def status(self, request: HttpRequest, row: Delivery) -> Status:
        """Return what became of it."""
        return Status(row.status, f"By {row.way}, tries: {row.attempts}.")

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Allow it to users who may change reminders."""
        return self.may(request, verb, Reminder)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        return (queryset.filter(named(search_term, Reminder, "reminder__")) if search_term else queryset), False

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="planned")
        def planned(row: Delivery) -> str:
            return when(row.planned_at, now_of(request))

        return [*self.list_display[:4], planned, *self.list_display[4:]]

    @admin.display(description="delivery")
    def short_key(self, row: Delivery) -> SafeString:
        """Return the beginning of its key."""
        return short_id(row.key)

    @admin.display(description="reminder")
    def reminder_name(self, row: Delivery) -> str:
        """Return the reminder's name."""
        return label(row.reminder.name)

    @admin.display(description="reminder")
    def reminder_link(self, row: Delivery) -> SafeString | str:
        """Return the reminder's name, as a link to its page."""
        return self.linked(row.reminder, self.reminder_name(row))

    @admin.display(description="channel")
    def way(self, row: Delivery) -> str:
        """Return by which channel and to whom."""
        return row.way

    @admin.display(description="outcome")
    def result(self, row: Delivery) -> SafeString | str:
        """Return its status, and when it was delivered."""
        at = absolute(row.delivered_at) if row.delivered_at else ""
        return format_html('{} <span class="do-aside">{}</span>', badge(row.status), at)

    @admin.display(description="answer or error")
    def answer_or_error(self, row: Delivery) -> str:
        """Return the receiver's answer, or the line of the error that says most."""
        return gist(row.error) or gist(row.answer) or NOTHING
