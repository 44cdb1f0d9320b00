"""Digests in admin: what waits for whom, and until when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest, HttpResponse

from durable_objects.admin import CANCEL, DELETE, FIRE_NOW, NOTHING, REVIVE, DurableObjectAdmin, Verb, shown
from durable_objects.formatting import label, short
from reminders.models import Digest, Plan

#: Names of waiting reminders that the page of a digest shows.
SHOWN = 20
SEND_NOW = replace(
    FIRE_NOW,
    name="send_now",
    label="Send now",
    question="Send these digests now, with what waits in them?",
    done="Sent in a moment",
)


@admin.register(Digest)
class DigestAdmin(DurableObjectAdmin):
    """The digest of each recipient who ever had one; made by the first reminder that waits in it."""

    list_display: Any = ("named", "waiting")
    readonly_fields = ("waiting", "reminders")
    shows_storage = False
    search_help_text = "The beginning of a recipient's name"
    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, SEND_NOW, CANCEL, DELETE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: a recipient gets one by a digest window."""
        return False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count what waits for all of the page in one query."""
        changelist = super().get_changelist_instance(request)
        plans = Plan.objects.in_digest(*(row.name for row in changelist.result_list)).order_by()
        counts = dict(plans.values_list("person").annotate(Count("pk")))
        for row in changelist.result_list:
            setattr(row, "shown_waiting", counts.get(row.name, 0))
        return changelist

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Read the reminders that wait and that the user may see."""
        row = context.get("original")
        if row is not None:
            plans = shown(self.admin_site, request, Plan.objects.in_digest(row.name), "object")
            setattr(row, "shown_plans", list(plans.select_related("object")[: SHOWN + 1]))
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="waiting")
    def waiting(self, row: Any) -> int:
        """Return how many reminders wait in it."""
        counted: int | None = getattr(row, "shown_waiting", None)
        return Plan.objects.in_digest(row.name).count() if counted is None else counted

    @admin.display(description="reminders")
    def reminders(self, row: Any) -> str:
        """Return the names of those that wait, the longest waiting first."""
        names = [short(label(plan.object.name)) for plan in row.shown_plans]
        return ", ".join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else [])]) or NOTHING
