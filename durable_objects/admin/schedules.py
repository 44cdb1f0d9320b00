"""Schedules of all objects: a list, the page of one with its next times and what an outage would do, and verbs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from durable_objects.admin import display
from durable_objects.admin.actions import OperableAdmin
from durable_objects.admin.base import ReadOnlyAdmin
from durable_objects.admin.columns import moment, now_of, paused_of
from durable_objects.admin.filters import KindFilter, ObjectFilter
from durable_objects.admin.search import SearchedBySelection
from durable_objects.admin.tables import object_link
from durable_objects.admin.verbs import Verb
from durable_objects.alarms.schedules import ARMED
from durable_objects.errors import InvalidSchedule
from durable_objects.operations import actions as operations
from durable_objects.operations.schedules import SEARCHED_BY, STATES, condition, matching, word_of
from durable_objects.operations.selection import Selection
from durable_objects.recurrence import misfire
from durable_objects.schedules import info_of
from durable_objects.tables import Object, Schedule

#: The next times that a page shows.
TIMES = 5

RUN = Verb(
    "run_schedules",
    "Run now",
    "Run these schedules now? What is planned but once runs now instead; the others run once more than planned.",
    "Set to run now",
    lambda handle, row: operations.run_schedule_now(row.object, row.name),
    fits=frozenset({"armed", "due", "retrying", "dead", "paused"}),
)
REVIVE = Verb(
    "revive_schedules",
    "Revive",
    "Run the dead occurrences of these schedules again, with all their retries?",
    "Revived",
    lambda handle, row: operations.revive_schedule(row.object, row.name),
    fits=frozenset({"dead"}),
)


CANCEL = Verb(
    "cancel_schedules",
    "Cancel schedule",
    "Cancel these schedules? One that its class declares stays cancelled on its object; others are deleted.",
    "Schedule cancelled",
    lambda handle, row: operations.cancel_schedule(row.object, row.name),
    fits=frozenset({"armed", "due", "retrying", "dead", "paused"}),
    tone="danger",
)


class ScheduleStateFilter(admin.SimpleListFilter):
    """By the schedule's state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        return queryset.filter(condition(state, now_of(request))) if state in STATES else queryset


class OutageForm(forms.Form):
    """An outage that might be: what would run after it, and what would be skipped?"""

    begin = forms.SplitDateTimeField(label="Nothing runs from", widget=AdminSplitDateTime)
    end = forms.SplitDateTimeField(label="to", widget=AdminSplitDateTime)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["end"].help_text = f"Both in the zone {timezone.get_current_timezone_name()}."


@admin.register(Schedule)
class ScheduleAdmin(SearchedBySelection, OperableAdmin, ReadOnlyAdmin):
    """Every schedule; those that will run by due time."""

    searched_by = SEARCHED_BY

    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, RUN, CANCEL)
    list_display = ("label", "object_label", "rule_words")
    list_select_related = ("object",)
    list_filter = (ScheduleStateFilter, KindFilter, ObjectFilter)
    fields: ClassVar[Any] = (
        "label", "object_label", "method", "given", "rule_words", "policy", "times", "state_word", "retry_count",
        moment("scheduled_at", "next occurrence"), moment("due_at"), moment("died_at", "dead occurrence"), "error",
        "origin",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-pk",)
    sortable_by = ()
    list_per_page = 50
    change_form_template = "admin/durable_objects/schedule.html"

    def matching(self, request: HttpRequest, rows: QuerySet[Any], selection: Selection) -> QuerySet[Any]:
        """Return the schedules that are meant."""
        return rows.filter(matching(selection))

    def target(self, row: Schedule) -> Object:
        """Return the schedule's object."""
        return row.object

    def status(self, request: HttpRequest, row: Schedule) -> display.Status:
        """Return the schedule's state; paused is one that would run, of an object that is."""
        word, target = word_of(row, now_of(request)), row.object
        if row.state == ARMED and paused_of(request).holds(target.pk, target.kind_id):
            word = "paused"
        return display.Status(word, info_of(row).rule.describe())

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="due")
        def due(row: Schedule) -> str:
            return display.to_come(row.due_at, now_of(request))

        @admin.display(description="state")
        def state(row: Schedule) -> SafeString:
            return display.badge(self.status(request, row).word)

        return [self.list_display[0], state, *self.list_display[1:], due, "error_gist"]

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Sort by due time where an index has it: among those that will run."""
        return ("due_at", "pk") if request.GET.get("state") in {"armed", "due", "retrying"} else ("-pk",)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the question about an outage, and its answer."""
        row = context.get("original")
        if row is not None and self.may_change(request, RUN, row.object):
            form = OutageForm(request.GET if "begin_0" in request.GET else None)
            context |= {"outage": form, "after_outage": _after(row, form, now_of(request))}
            context["media"] = self.media + form.media
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="schedule")
    def label(self, row: Schedule) -> str:
        """Show the schedule's name, a long one cut, invisible characters escaped."""
        return display.short(display.label(row.name))

    @admin.display(description="object")
    def object_label(self, row: Schedule) -> SafeString:
        """Show the object's name and class, with a link."""
        return object_link(self.admin_site, row.object)

    @admin.display(description="when")
    def rule_words(self, row: Schedule) -> str:
        """Show the rule in words."""
        return info_of(row).rule.describe()

    @admin.display(description="state")
    def state_word(self, row: Schedule) -> SafeString:
        """Show the state; what is due is shown as armed in a list of many."""
        return display.badge(word_of(row, None))

    @admin.display(description="set by")
    def origin(self, row: Schedule) -> str:
        """Show whether the class declares it or its object's code has set it."""
        return "its class, which declares it" if row.declared else "the object's code"

    @admin.display(description="arguments")
    def given(self, row: Schedule) -> str:
        """Show what the method is called with."""
        info = info_of(row)
        shown = [repr(value) for value in info.args] + [f"{name}={value!r}" for name, value in info.kwargs.items()]
        return ", ".join(shown) or display.NOTHING

    @admin.display(description="missed times")
    def policy(self, row: Schedule) -> str:
        """Show what becomes of times that were missed."""
        words = {"one": "one run for all", "skip": "skipped", "all": "one run each, the newest 100"}[row.misfire]
        return words if row.grace is None else f"{words}; none later than {display.span(row.grace)}"

    @admin.display(description="next times")
    def times(self, row: Schedule) -> SafeString | str:
        """Show when it runs next."""
        try:
            lines = [(display.absolute(at),) for at in info_of(row).times(TIMES)]
        except InvalidSchedule as error:
            return str(error)
        return format_html_join("\n", "<div>{}</div>", lines) or display.NOTHING

    @admin.display(description="error")
    def error_gist(self, row: Schedule) -> str:
        """Show the line of the error that says most."""
        return display.gist(row.last_error) or display.NOTHING

    @admin.display(description="last error")
    def error(self, row: Schedule) -> SafeString | str:
        """Show the last error."""
        return format_html('<pre class="do-value">{}</pre>', row.last_error) if row.last_error else display.NOTHING


def _after(row: Schedule, form: OutageForm, now: datetime) -> str:
    """Return what would become of the times that fall into the outage, in words; empty where none is asked about."""
    if not form.is_bound or not form.is_valid():
        return ""
    info = info_of(row)
    try:
        down = (form.cleaned_data["begin"], form.cleaned_data["end"])
        return misfire.preview(info.rule, info.misfire, info.grace, now, 0, down=down).text
    except InvalidSchedule as error:
        return str(error)
