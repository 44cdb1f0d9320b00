"""The plan after an outage: what is late, in which order and at which rate it is to run, the question, its progress."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import MinValueValidator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from durable_objects import durations
from durable_objects.admin import display
from durable_objects.admin.base import ReadOnlyAdmin
from durable_objects.admin.columns import now_of, status_of
from durable_objects.admin.forms import ReasonField, SpanField
from durable_objects.admin.permissions import for_reader, kinds_allowed, may_go_on, readable
from durable_objects.errors import DurableObjectError, InvalidInput
from durable_objects.kinds import content_types, label_of
from durable_objects.operations import bulk, bulk_verbs, outage, reasons
from durable_objects.operations.outage import Late, Part
from durable_objects.tables import Operation

#: Of what is late, as many are shown with the question.
SAMPLE = 10
#: The headings of the ages that the pile is counted by.
AGES = [
    *[f"less than {durations.write(age)}" for age in outage.AGES],
    f"more than {durations.write(outage.AGES[-1])}",
]
#: How the state of an operation comes to be another one, by a button: what the button says.
STEERED = {bulk.RUNNING: ("stop", "Stop"), bulk.STOPPED: ("go_on", "Go on")}


class PlanForm(forms.Form):
    """The order of the classes, the rate, and from which ages on what is late is cancelled, or marked."""

    rate = forms.FloatField(
        min_value=bulk.LEAST_RATE, max_value=bulk.MOST_RATE, initial=10, label="Alarms a second",
        help_text="What they call has to bear it.",
    )  # fmt: skip
    skip = SpanField(
        required=False, label="Cancel what is late by more than", validators=[MinValueValidator(timedelta(seconds=1))],
        help_text="6h, 1d: it is too late to be of use. Empty: all of it runs.",
    )  # fmt: skip
    mark = SpanField(
        required=False, label="Mark what is late by more than", validators=[MinValueValidator(timedelta(seconds=1))],
        help_text="It runs, and its history says how late it is. Empty: nothing is marked.",
    )  # fmt: skip

    def __init__(self, pile: list[Late], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late = pile
        for at, late in enumerate(pile, 1):
            self.fields[_place(late)] = forms.IntegerField(
                min_value=1, max_value=9_999, required=False, initial=at, label=f"Place of {late.label}",
                help_text=f"Late: {late.number:,}. 1 runs first; empty: left as it is.",
            )  # fmt: skip
        self.fields["reason"] = ReasonField(
            "Kept with the plan, and in the history of each object.", of_destruction=False
        )
        self.order_fields([*map(_place, pile), "rate", "skip", "mark", "reason"])

    @property
    def order(self) -> list[ContentType]:
        """The classes with a place, the first one first."""
        places = [(self.cleaned_data.get(_place(late)), late.kind_id) for late in self._late]
        return [content_types().get_for_id(kind) for _, kind in sorted((at, kind) for at, kind in places if at)]

    def clean(self) -> dict[str, Any]:
        """Check that a class is chosen, and the reason where something is cancelled."""
        if not self.errors and not self.order:
            raise ValidationError("No class has a place: give 1 to the one that is to run first.")
        try:
            reasons.read(self.cleaned_data.get("reason", ""), required=bool(self.cleaned_data.get("skip")))
        except InvalidInput as error:
            self.add_error("reason", str(error))
        return self.cleaned_data


class AfterOutage(ReadOnlyAdmin):
    """Of operations: the page that makes a plan, and the plan on the page of each of its operations."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.outage_view)
        return [path("outage/", view, name="durable_objects_operation_outage"), *super().get_urls()]

    def kinds_to_plan(self, request: HttpRequest) -> list[int]:
        """Return the classes whose late alarms this user may plan."""
        return kinds_allowed(self.admin_site, request, "change", needs_class=True)

    def outage_view(self, request: HttpRequest) -> HttpResponse:
        """Show what is late and ask how it is to run, then the question; once that was confirmed, start the plan."""
        allowed = self.kinds_to_plan(request)
        if not allowed:
            raise PermissionDenied
        now, every = now_of(request), outage.pile(now_of(request))
        pile = [late for late in every if late.kind_id in allowed]
        form = PlanForm(pile, request.POST if request.method == "POST" else None)
        page: dict[str, Any] = {"form": form, "left_out": len(every) - len(pile), "ages": AGES}
        page["rows"] = [_row(late, display.span(now - late.oldest)) for late in pile]
        if form.is_bound and form.is_valid():
            given = form.cleaned_data
            try:
                if request.POST.get("confirmed") == "yes":
                    return self._drain(request, form)
                parts = outage.plan(form.order, given["rate"], given["skip"], now, pile, mark=given["mark"])
            except DurableObjectError as error:
                form.add_error(None, str(error))
            else:
                page |= self._question(request, parts, form)
        return self._page(request, "After an outage", "outage.html", **page)

    def _drain(self, request: HttpRequest, form: PlanForm) -> HttpResponse:
        user: Any = request.user
        given = {name: form.cleaned_data[name] for name in ("rate", "skip", "mark", "reason")}
        started = outage.drain(form.order, by=user.get_username(), user=str(user.pk), **given)
        return HttpResponseRedirect(self._url("change", started[0].pk))

    def _question(self, request: HttpRequest, parts: list[Part], form: PlanForm) -> dict[str, Any]:
        now, last = now_of(request), parts[-1]
        late = readable(self.admin_site, request, outage.longest_late(parts, now))
        rows = late.select_related("object", "object__kind")[:SAMPLE]
        return {
            "parts": [
                {
                    "class": label_of(part.kind.pk),
                    "run": f"{part.late - part.cancelled:,}",
                    "cancelled": f"{part.cancelled:,}",
                    "marked": f"{part.marked:,}",
                    "begins": display.absolute(now + part.begins_in),
                    "lasts": display.span(part.lasts),
                }
                for part in parts
            ],
            "run": f"{sum(part.late - part.cancelled for part in parts):,}",
            "cancelled": f"{number:,}" if (number := sum(part.cancelled for part in parts)) else "",
            "marked": f"{number:,}" if (number := sum(part.marked for part in parts)) else "",
            "ends": display.absolute(now + last.begins_in + last.lasts),
            "rate": f"{form.cleaned_data['rate']:g}",
            "hidden": [(name, value) for name in form.fields if (value := request.POST.get(name))],
            "sample": [
                {
                    "label": display.short(display.label(row.object.name)),
                    "class": display.class_of(row.object),
                    "badge": display.badge(status_of(request, row).word),
                    "late": display.span(now - row.due_at) if row.due_at else "",
                }
                for row in rows
            ],
        }

    def for_reader(self, request: HttpRequest, row: Operation) -> Operation:
        """Return the operation as the user may read it."""
        return for_reader(self.admin_site, request, row)

    def plan_of(self, request: HttpRequest, row: Operation) -> dict[str, Any]:
        """Return what a page shows of the plan that the operation is part of."""
        steps = outage.operations_of(row)
        return {
            "plan": [
                {
                    "text": f"{bulk_verbs.label_of(each.verb)}: {bulk.what(self.for_reader(request, each))}",
                    "url": "" if each.pk == row.pk else self._url("change", each.pk),
                    "badge": display.badge(each.state),
                    "done": f"{bulk.seen(each):,} of {each.total:,}",
                    "steer_url": self._url("steer", each.pk),
                    "steered": None if each.pk == row.pk else self._steered(request, each),
                }
                for each in steps
            ],
            "under_way": any(each.state in {bulk.RUNNING, bulk.WAITING} for each in [row, *steps]),
        }

    def _steered(self, request: HttpRequest, row: Operation) -> tuple[str, str] | None:
        may = row.state != bulk.STOPPED or may_go_on(self.admin_site, request, row)
        return STEERED.get(row.state) if may else None

    def _url(self, name: str, pk: int) -> str:
        return reverse(f"{self.admin_site.name}:durable_objects_operation_{name}", args=[pk])

    def _page(self, request: HttpRequest, title: str, template: str, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        page = {
            **self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media,
            "list_url": reverse(f"{self.admin_site.name}:durable_objects_operation_changelist"), **context,
        }  # fmt: skip
        return TemplateResponse(request, f"admin/durable_objects/{template}", page)


def _place(late: Late) -> str:
    return f"place_{late.kind_id}"


def _row(late: Late, oldest: str) -> dict[str, Any]:
    by_age = [f"{number:,}" for number in late.by_age]
    return {"class": late.label, "number": f"{late.number:,}", "by_age": by_age, "oldest": oldest}
