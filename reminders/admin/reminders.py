"""Reminders in admin: set by a form with a preview, snoozed, skipped, cancelled and tried out by verbs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from durable_objects import now
from durable_objects.admin import (
    DELETE,
    FIRE_NOW,
    NOTHING,
    REVIVE,
    DurableObjectAdmin,
    Verb,
    alarm_of,
    badge,
    now_of,
    to_come,
    when,
)
from durable_objects.formatting import gist, short
from durable_objects.models import Alarm, DurableObject
from reminders import delivery
from reminders.forms import REPEATS, ReminderForm
from reminders.models import Delivery, DeliveryFailed, Plan, Recipient, Reminder
from reminders.snooze_presets import PRESETS, Preset

#: The alarm states in which a verb may be used: something is still to come, or the last delivery failed for good.
ALIVE = frozenset({"armed", "retrying", "due", "overdue", "limited", "paused", "running", "dead"})
DELIVERIES_SHOWN = 20
PEOPLE_OFFERED = 500


def _snooze(preset: Preset) -> Verb:
    def effect(handle: Any) -> str:
        plan = handle.plan()
        if plan is None or plan.state != Plan.State.SET:
            return ""
        since = max(plan.next_at, now())
        return str(plan.from_to(since + preset.span(plan.zone, since)))

    def snooze(handle: Any, row: Any) -> str:
        plan = handle.plan()
        span = preset.span(plan.zone, max(plan.next_at, now())) if plan else preset.span(UTC)
        until = handle.snooze(span)
        return str(plan.from_to(until)) if plan else ""

    label = f"Snooze: {preset.label}"
    question = "Put off the next delivery? Later ones stay."
    return Verb(f"snooze_{preset.name}", label, question, label, snooze, fits=ALIVE, effect=effect)


def try_out(handle: DurableObject, row: Any) -> None:
    """Deliver a test by each channel. Raises ``DeliveryFailed`` naming those that failed."""
    plan = handle.plan() if isinstance(handle, Reminder) else None
    if plan is None:
        raise DeliveryFailed("this reminder was never set")
    outcomes = delivery.try_out(plan, handle.name)
    if failures := [f"{channel} {text}" for channel, text in outcomes.items() if text.startswith("failed: ")]:
        raise DeliveryFailed("; ".join(failures))


DELIVER_NOW = replace(FIRE_NOW, name="deliver_now", label="Deliver now", fits=ALIVE - {"running", "dead"})
TEST_SEND = Verb(
    "test_send", "Test-send", "Send a test message by each channel now? Nothing else changes.", "Test sent", try_out
)
SKIP = Verb(
    "skip", "Skip this one", "Leave out the next delivery? Later ones stay.", "Skipped",
    lambda handle, row: handle.skip() and None, fits=ALIVE,  # type: ignore[attr-defined]  # a Reminder's
)  # fmt: skip
CANCEL_REMINDER = Verb(
    "cancel_reminders", "Cancel", "Cancel these reminders and all their later deliveries?", "Cancelled",
    lambda handle, row: handle.cancel(), fits=ALIVE,  # type: ignore[attr-defined]  # a Reminder's
)  # fmt: skip


class PlanStateFilter(admin.SimpleListFilter):
    """Filters by the state of the reminder."""

    title = "reminder"
    parameter_name = "plan"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("set", "Set"), ("snoozed", "Snoozed"), ("held", "Held by quiet hours"),
                ("in_digest", "In a digest"), ("over", "Over"),
                ("cancelled", "Cancelled")]  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        chosen = self.value()
        put_off = {"snoozed": Plan.SNOOZED, "held": Plan.QUIET, "in_digest": Plan.DIGEST}
        if chosen in put_off:
            plans = Plan.objects.filter(state=Plan.State.SET, put_off=put_off[str(chosen)])
        elif chosen in Plan.State.values:
            plans = Plan.objects.filter(state=chosen)
        else:
            return queryset
        return queryset.filter(pk__in=plans.values("pk"))


@admin.register(Reminder)
class ReminderAdmin(DurableObjectAdmin):
    """Reminders: what each says, when and to whom; what comes next, and what was delivered."""

    change_form_template = "admin/reminders/reminder.html"
    list_display: Any = ("named", "state", "message", "person", "repeats")
    list_filter: ClassVar[Any] = (PlanStateFilter,)
    search_help_text = "The beginning of a name, or a person"
    shows_storage = False
    verbs: ClassVar[tuple[Verb, ...]] = (
        *map(_snooze, PRESETS), SKIP, DELIVER_NOW, TEST_SEND, REVIVE, CANCEL_REMINDER, DELETE,
    )  # fmt: skip

    class Media:
        css = {"all": ["reminders/admin.css"]}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the reminder's own form, for adding too."""
        kwargs["form"] = ReminderForm
        return admin.ModelAdmin.get_form(self, request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if not (self.has_change_permission(request, obj) if obj else self.has_add_permission(request)):
            return ["whole_name", "message", "person", "repeats"]
        name = "name" if obj is None else "whole_name"
        return [
            name, "message", ("local_time", "time_zone"), "repeats", "rule", "person", "channels", "urgent",
            "skip_if_late",
        ]  # fmt: skip

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="next delivery")
        def next_delivery(row: Any) -> str:
            plan = row.shown_plan
            return to_come(plan.next_at if plan and plan.state == Plan.State.SET else None, now_of(request))

        @admin.display(description="last error")
        def last_error(row: Any) -> str:
            slot = alarm_of(row)
            return short(gist(slot.last_error)) if slot and slot.last_error else NOTHING

        return ["named", "state", next_delivery, *self.list_display[2:], last_error]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Fetch the plans of the page in one query."""
        changelist = super().get_changelist_instance(request)
        plans = Plan.objects.in_bulk([row.pk for row in changelist.result_list])
        for row in changelist.result_list:
            setattr(row, "shown_plan", plans.get(row.pk))
        return changelist

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            setattr(row, "shown_plan", row.plan())
        return row

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        theirs = models.Q(pk__in=Plan.objects.filter(person=search_term).values("pk"))
        return queryset.filter(theirs | models.Q(name__startswith=search_term)), False

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        saves = {"show_save": True, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().changeform_view(request, object_id, form_url, {**saves, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        form.store(obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what comes next and what was delivered."""
        row = context.get("original")
        plan = getattr(row, "shown_plan", None)
        context["people"] = list(Recipient.objects.order_by("name").values_list("name", flat=True)[:PEOPLE_OFFERED])
        if row is not None:
            shows = self.may_see(request, Delivery)
            context |= {"plan": plan, "plan_badge": state_of(row, plan), "shows_deliveries": shows}
            context["deliveries"] = self._deliveries(request, row) if shows else []
        if plan is not None:
            context["next_local"] = plan.next_at.astimezone(plan.zone)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="state")
    def state(self, row: Any) -> SafeString | str:
        """Return the badge of its state."""
        return state_of(row, row.shown_plan)

    @admin.display(description="message")
    def message(self, row: Any) -> str:
        """Return the beginning of what is delivered."""
        return short(row.shown_plan.message) if row.shown_plan else NOTHING

    @admin.display(description="person")
    def person(self, row: Any) -> str:
        """Return whom it is for."""
        return (row.shown_plan.person if row.shown_plan else "") or NOTHING

    @admin.display(description="repeats")
    def repeats(self, row: Any) -> str:
        """Return how it recurs: a choice of the form, or the beginning of its rule."""
        rule = row.shown_plan.recurrence if row.shown_plan else None
        return dict(REPEATS).get(rule, short(rule)) if rule else NOTHING

    @staticmethod
    def _deliveries(request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        rows = Delivery.objects.filter(reminder_id=row.pk).order_by("-id")[:DELIVERIES_SHOWN]
        return [
            {"row": each, "badge": badge(each.status), "planned": when(each.planned_at, now_of(request))}
            for each in rows
        ]


def state_of(row: Any, plan: Plan | None) -> SafeString | str:
    """Return a badge for the state of a reminder: what is cancelled, over, or lost its alarm must not look alive."""
    if plan is None:
        return badge("never_set")
    slot = alarm_of(row)
    if plan.state != Plan.State.SET:
        return badge(plan.state)
    if slot is None or (slot.state == Alarm.State.IDLE and slot.leased_until is None):
        return badge("stopped")
    if slot.state == Alarm.State.DEAD:
        return badge("dead")
    put_off = {Plan.QUIET: "held", Plan.SNOOZED: "snoozed", Plan.DIGEST: "in_digest"}
    return badge(put_off.get(plan.put_off, "set"))
