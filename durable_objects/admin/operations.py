"""Operations on everything that matches: the question, the list, and the page of one with its progress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects import kinds
from durable_objects.admin import display
from durable_objects.admin.base import address_on
from durable_objects.admin.columns import now_of, status_of
from durable_objects.admin.forms import ChooseVerbForm, OperationForm
from durable_objects.admin.outage import AfterOutage
from durable_objects.admin.permissions import (
    kinds_allowed,
    kinds_shown_in_part,
    may_go_on,
    readable,
    refuse_unseen,
)
from durable_objects.errors import DurableObjectError
from durable_objects.operations import bulk, bulk_verbs
from durable_objects.operations.bulk_verbs import BulkVerb
from durable_objects.operations.selection import Selection
from durable_objects.tables import Operation

#: Of what matches, as many are shown with the question.
SAMPLE = 10


class VerbFilter(admin.AllValuesFieldListFilter):
    """By verb, each under the label of its buttons."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices."""
        every, *verbs = super().choices(changelist)
        yield every
        for choice in verbs:
            yield choice | {"display": bulk_verbs.label_of(str(choice["display"]))}


@admin.register(Operation)
class OperationAdmin(AfterOutage):
    """Every operation, the last one first."""

    list_display = ("how_it_stands", "progress", "by", "reason")
    list_filter = ("state", ("verb", VerbFilter))
    ordering = ("-pk",)
    sortable_by = ()
    change_form_template = "admin/durable_objects/operation.html"
    change_list_template = "admin/durable_objects/operations.html"
    fields: ClassVar[Any] = ()

    def get_urls(self) -> list[Any]:
        def shown(view: Any) -> Any:
            return self.admin_site.admin_view(view)

        return [
            path("start/", shown(self.start_view), name="durable_objects_operation_start"),
            path("<int:pk>/figures/", shown(self.figures_view), name="durable_objects_operation_figures"),
            path("<int:pk>/steer/", shown(self.steer_view), name="durable_objects_operation_steer"),
            *super().get_urls(),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may see operations, or this one: also those who asked for it."""
        return super().has_view_permission(request, obj) or (obj is not None and obj.user == str(request.user.pk))

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="operation")
        def asked_for(row: Operation) -> str:
            return f"{bulk_verbs.label_of(row.verb)}: {bulk.what(self.for_reader(request, row))}"

        @admin.display(description="asked")
        def asked_at(row: Operation) -> SafeString | str:
            return display.when(row.asked_at, now_of(request))

        return [asked_for, *self.list_display, asked_at]

    @admin.display(description="state")
    def how_it_stands(self, row: Operation) -> SafeString:
        """Show its state."""
        return display.badge(row.state)

    @admin.display(description="done")
    def progress(self, row: Operation) -> SafeString:
        """Show how far it is, as a bar and in figures."""
        bar = '<progress class="do-progress" value="{}" max="{}"></progress> <span class="do-aside">{} of {}{}</span>'
        failed = f", {row.failed:,} failed" if row.failed else ""
        return format_html(bar, bulk.seen(row), max(row.total, 1), f"{bulk.seen(row):,}", f"{row.total:,}", failed)

    # -- the question

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for what is missing, then the question; once that was confirmed, start it."""
        if not self._may_start(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        is_asked = request.method == "POST" or "verb" in given
        chosen = ChooseVerbForm(given) if is_asked else ChooseVerbForm(initial=given.dict())
        if not chosen.is_valid():
            return self._page(request, "Do to everything that matches", "operation_choose.html", form=chosen)
        verb = bulk_verbs.get(chosen.cleaned_data["verb"])
        allowed = self._kinds_of(request, verb)
        if not allowed:
            raise PermissionDenied
        try:
            refuse_unseen(self.admin_site, request, Selection.parse(chosen.cleaned_data["selection"]))
            asked = bulk.prepare(verb.name, chosen.cleaned_data["selection"], allowed)
        except DurableObjectError as error:
            chosen.add_error("selection", str(error))
            return self._page(request, verb.label, "operation_choose.html", form=chosen)
        form = OperationForm(verb, request.POST if request.POST.get("confirmed") == "yes" else None)
        if form.is_bound and form.is_valid():
            return self._start(request, asked, form, allowed)
        return self._ask(request, verb, asked, form)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, and lead to what this user may do."""
        offered = {"may_start": self._may_start(request), "may_plan": bool(self.kinds_to_plan(request))}
        return super().changelist_view(request, offered | (extra_context or {}))

    def _may_start(self, request: HttpRequest) -> bool:
        return any(self._kinds_of(request, verb) for verb in bulk_verbs.every())

    def _kinds_of(self, request: HttpRequest, verb: BulkVerb) -> list[int]:
        return kinds_allowed(self.admin_site, request, verb.permission, needs_class=verb.needs_class)

    def _start(self, request: HttpRequest, asked: Operation, form: OperationForm, allowed: list[int]) -> HttpResponse:
        user: Any = request.user
        operation = bulk.start(
            asked.verb, asked.selection, by=user.get_username(), user=str(user.pk), kinds=allowed, **form.given
        )
        return HttpResponseRedirect(self._url("change", operation.pk))

    def _ask(self, request: HttpRequest, verb: BulkVerb, asked: Operation, form: OperationForm) -> HttpResponse:
        in_part = kinds_shown_in_part(self.admin_site, request)  # of these even a number would tell
        counted = {kind.pk for kind in kinds.used()} - in_part | {*(asked.kinds or ())}
        left_out = bulk.prepare(verb.name, asked.selection, counted).total - asked.total
        related = ["object", "object__kind"] if verb.of_alarms else ["alarm_row", "kind"]
        matching = readable(self.admin_site, request, bulk.matching(asked))
        rows = matching.order_by("pk").select_related(*related)[:SAMPLE]
        return self._page(
            request,
            f"{verb.label}: everything that matches",
            "operation_start.html",
            verb=verb,
            asked=asked,
            what=bulk.counted(self.for_reader(request, asked)),
            count=f"{asked.total:,}",
            left_out=f"{left_out:,}" if left_out else "",
            sample=(sample := [self._described(request, row, of_alarms=verb.of_alarms) for row in rows]),
            more=asked.total > len(sample),
            form=form,
        )

    def _described(self, request: HttpRequest, row: Any, *, of_alarms: bool) -> dict[str, Any]:
        target = row.object if of_alarms else row
        alarm, status = row if of_alarms else getattr(row, "alarm_row", None), status_of(request, row)
        return {
            "label": display.short(display.label(target.name)),
            "class": display.class_of(target),
            "badge": display.badge(status.word),
            "sentence": status.sentence,
            "error": display.gist(alarm.last_error) if alarm is not None and alarm.last_error else "",
        }

    # -- the page of one

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add how it stands."""
        row = context.get("original")
        if row is not None:
            context |= self._figures(request, row)
            context |= {"title": f"Operation {row.pk}", "subtitle": None, "fragment_url": self._url("figures", row.pk)}
        return super().render_change_form(request, context, *args, **kwargs)

    def figures_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the part of the page that changes."""
        row = self._get(request, pk)
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/durable_objects/operation_figures.html", self._figures(request, row))

    def steer_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Stop it, or go on with it."""
        row = self._get(request, pk)
        if not self._may_steer(request, row):
            raise PermissionDenied
        what, done, text = request.POST.get("what"), False, ""
        if what == "go_on" and not may_go_on(self.admin_site, request, row):
            raise PermissionDenied
        if what == "stop":
            done = bulk.stop(row)
            text = "It stops after the chunk that is under way." if done else "It does not run any more."
        elif what == "go_on":
            user: Any = request.user
            done = bulk.go_on(row, by=user.get_username(), user=str(user.pk))
            waits = done and bulk.get(row.pk).state == bulk.WAITING
            goes_on = "It goes on once the one before it is done." if waits else "It goes on where it stopped."
            text = goes_on if done else "It was not stopped."
        if text:
            self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)
        if done:
            self.log_change(request, row, "Stopped." if what == "stop" else "Gone on with.")
        return HttpResponseRedirect(self._url("change", pk))

    def _figures(self, request: HttpRequest, row: Operation) -> dict[str, Any]:
        pace, left, now = bulk.speed(row), bulk.time_left(row), now_of(request)
        visible = self.for_reader(request, row)
        more = row.failed - len(visible.failures)
        figures = [
            ("done", f"{row.done:,}"),
            ("skipped", f"{row.skipped:,}"),
            ("failed", f"{row.failed:,}"),
            ("objects a second", f"{pace:,.0f}" if pace else display.NOTHING),
            ("time left", display.span(left) if left is not None else display.NOTHING),
        ]
        return {
            "operation": visible,
            "opts": self.opts,
            "sentence": bulk.sentence(visible),
            "says_selection": visible is row,
            "badge": display.badge(row.state),
            "progress_value": str(bulk.seen(row)),
            "progress_most": str(max(row.total, 1)),
            "seen_of": f"{bulk.seen(row):,} of {row.total:,}",
            "figures": figures,
            "moments": [
                (title, display.when(at, now))
                for title, at in [("Asked", row.asked_at), ("Begun", row.started_at), ("Ended", row.ended_at)]
                if at is not None
            ],
            "show_url": self._list_url(row),
            "rate": f"at most {row.rate:g} a second" if row.rate else "",
            **self.plan_of(request, row),
            "may_steer": self._may_steer(request, row),
            "can_stop": row.state in {bulk.RUNNING, bulk.WAITING},
            "can_go_on": row.state == bulk.STOPPED and may_go_on(self.admin_site, request, row),
            "steer_url": self._url("steer", row.pk),
            "failures": visible.failures,
            "more_failures": f"{more:,}" if more > 0 else "",
        }

    def _may_steer(self, request: HttpRequest, row: Operation) -> bool:
        user: Any = request.user
        return row.user == str(user.pk) or bool(user.has_perm("durable_objects.change_operation"))

    def _get(self, request: HttpRequest, pk: int) -> Operation:
        row = self.get_object(request, str(pk))
        if row is None:
            raise Http404(f"There is no operation {pk}.")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        found: Operation = row
        return found

    def _list_url(self, row: Operation) -> str:
        """Return the address of the list of what its selection matches now."""
        verb = bulk_verbs.find(row.verb)
        table = "alarm" if verb is not None and verb.of_alarms else "object"
        return address_on(self.admin_site, f"durable_objects_{table}_changelist", q=row.selection, state="all")
