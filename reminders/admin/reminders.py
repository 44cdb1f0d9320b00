"""Reminders in admin: set by a form with a preview, snoozed, skipped, cancelled and tried out by verbs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects import now
from durable_objects.admin import (
    DELETE,
    FIRE_NOW,
    NOTHING,
    REVIVE,
    BoundedPaginator,
    DurableObjectAdmin,
    SortableChangeList,
    Verb,
    alarm_of,
    badge,
    named,
    now_of,
    to_come,
    when,
)
from durable_objects.formatting import gist, short
from durable_objects.models import Alarm, DurableObject
from reminders import delivery, repeats
from reminders.forms import ReminderForm
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
    return Verb(f"snooze_{preset.name}", label, question, label, snooze, fits=ALIVE, effect=effect, tone="quiet")


def try_out(handle: DurableObject, row: Any) -> None:
    """Deliver a test by each channel. Raises ``DeliveryFailed`` naming those that failed."""
    plan = handle.plan() if isinstance(handle, Reminder) else None
    if plan is None:
        raise DeliveryFailed("this reminder was never set")
    outcomes = delivery.try_out(plan, handle.name)
    if failures := [f"{channel} {text}" for channel, text in outcomes.items() if text.startswith("failed: ")]:
        raise DeliveryFailed("; ".join(failures))


def seen_before(handle: DurableObject, row: Any) -> str:
    """Return the message as it would be delivered now, and to whom."""
    plan = handle.plan() if isinstance(handle, Reminder) else None
    return "It was never set." if plan is None else delivery.preview(plan, handle.name)


DELIVER_NOW = replace(
    FIRE_NOW, name="deliver_now", label="Deliver now", question="Deliver these reminders now? Later ones stay.",
    fits=ALIVE - {"running", "dead"}, preview=seen_before,
)  # fmt: skip
TEST_SEND = Verb(
    "test_send", "Test-send", "Send a test message by each channel now? Nothing else changes.", "Test sent", try_out,
    preview=seen_before, tone="quiet",
)  # fmt: skip
SKIP = Verb(
    "skip", "Skip this one", "Leave out the next delivery? Later ones stay.", "Skipped",
    lambda handle, row: handle.skip() and None, fits=ALIVE,  # type: ignore[attr-defined]  # a Reminder's
    of_many="skip", tone="quiet",
)  # fmt: skip
CANCEL_REMINDER = Verb(
    "cancel_reminders", "Cancel", "Cancel these reminders and all their later deliveries?", "Cancelled",
    lambda handle, row: handle.cancel(), fits=ALIVE,  # type: ignore[attr-defined]  # a Reminder's
    of_many="cancel_reminders", tone="danger",
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


class ByNext(SortableChangeList):
    """The list that shows what comes next first; under a filter or a search, by key.

    Those that come first are found by the index of due alarms; behind them the newest of the others. Nothing else is
    sorted, however many there are.
    """

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        found: models.QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        if self.query or self.has_active_filters or ORDER_VAR in self.params:
            return found
        alarms = Alarm.objects.filter(kind_id=Reminder.kind_pk(), wake_at__isnull=False).order_by("wake_at")
        first = [*alarms.values_list("pk", flat=True)[: BoundedPaginator.LIMIT]]
        if len(first) < BoundedPaginator.LIMIT:
            first += Reminder.objects.order_by("-pk").values_list("pk", flat=True)[: BoundedPaginator.LIMIT]
        return found.filter(pk__in=first).order_by(models.F("alarm_row__wake_at").asc(nulls_last=True), "-pk")


@admin.register(Reminder)
class ReminderAdmin(DurableObjectAdmin):
    """Reminders: what each says, when and to whom; what comes next, and what was delivered."""

    change_form_template = "admin/reminders/reminder.html"
    list_display: Any = ("named", "state", "message", "person", "repeats")
    list_filter: ClassVar[Any] = (PlanStateFilter,)
    search_help_text = "The beginning of a name, or a person"
    shows_storage = False
    verbs: ClassVar[tuple[Verb, ...]] = (
        DELIVER_NOW, REVIVE, *map(_snooze, PRESETS), SKIP, TEST_SEND, CANCEL_REMINDER, DELETE,
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
            name, "message", ("local_time", "time_zone"), "repeats", "week_days", "rule", "person", "channels",
            "urgent", "skip_if_late",
        ]  # fmt: skip

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="next delivery")
        def next_delivery(row: Any) -> SafeString | str:
            plan = row.shown_plan
            if plan is None or plan.state != Plan.State.SET:
                return NOTHING
            local = f"{plan.next_at.astimezone(plan.zone):%a %d %b, %H:%M} ({plan.clock})"
            shown = to_come(plan.next_at, now_of(request))
            return shown if plan.clock == "UTC" else format_html('{} <span class="do-aside">{}</span>', shown, local)

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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list that has what comes next first."""
        return ByNext

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        theirs = Plan.objects.to_or_once_to(search_term).values_list("pk", flat=True)[: BoundedPaginator.LIMIT]
        if not (search_term and theirs.exists()):
            return super().get_search_results(request, queryset, search_term)
        # Each by its index, and no more than a list shows: with "or" the database would read all reminders.
        so_named = Reminder.objects.filter(named(search_term, Reminder)).order_by("name").values_list("pk", flat=True)
        return queryset.filter(pk__in=[*theirs, *so_named[: BoundedPaginator.LIMIT]]), False

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        saves = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
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
        return short(row.shown_plan.message, 40) if row.shown_plan else NOTHING

    @admin.display(description="person")
    def person(self, row: Any) -> str:
        """Return whom it is for."""
        return (row.shown_plan.person if row.shown_plan else "") or NOTHING

    @admin.display(description="repeats")
    def repeats(self, row: Any) -> str:
        """Return how it recurs: a choice of the form, week days, or the beginning of its rule."""
        return repeats.describe(row.shown_plan.recurrence if row.shown_plan else None) or NOTHING

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
