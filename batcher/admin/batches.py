"""The list of batches and the page of one."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from batcher import batch_lifecycle
from batcher.admin import batch_page
from batcher.admin.actions import FAIL, REPLAY, SPLIT, drop_of
from batcher.models import Batch, Batcher
from durable_objects.admin import (
    NOTHING,
    ObjectFilter,
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
    to_come,
    when,
)
from durable_objects.formatting import class_of, label
from durable_objects.models import Object, as_handle
from durable_objects.operations.selection import Selection, Text

#: Which operation on batchers does a verb to all that the list shows, by its filters of status and outcome.
OPERATIONS = {
    (REPLAY.name, "failed", "known"): "replay",
    (REPLAY.name, "failed", ""): "replay_unknown",
    (FAIL.name, "set_aside", ""): "give_up",
}
#: Batchers of a name that are looked up before their batches.
MOST_NAMED = 2_000
#: What the address of the list may say for that.
SAYS = {"status__exact", "outcome", "batcher", "q", "p"}


class BatcherFilter(ObjectFilter):
    """By the batcher."""

    title = parameter_name = column = "batcher"


class OutcomeFilter(admin.SimpleListFilter):
    """By whether it is known what the upstream has of it."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("unknown", "Not known: the upstream may have it"), ("known", "Known")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        known = {"unknown": True, "known": False}.get(self.value() or "")
        return queryset if known is None else queryset.filter(outcome_unknown=known)


@admin.register(Batch)
class BatchAdmin(OperableAdmin, ReadOnlyAdmin):
    """Every batch that was sealed, newest first; any can be replayed, and what is unfinished given up."""

    list_display: Any = (
        "key", "state", "batcher_link", titled("item_count", "items"), titled("failed_items", "failed"),
        titled("attempts", "tries"), titled("status_code", "answer"),
    )  # fmt: skip
    list_select_related = ("batcher",)
    object_column = "batcher"
    list_filter = ("status", OutcomeFilter, BatcherFilter)
    search_fields = ("batcher__name__startswith",)
    search_help_text = "The beginning of a batcher's name, or a batch's key"
    fields: ClassVar[Any] = (
        "batcher_link", titled("id", "Idempotency-Key"), titled("attempts", "tries"), "status_code", "answer_shown",
        "family", moment("give_up_at"),
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-sealed_at",)
    sortable_by = ()
    list_per_page = 50
    verbs: ClassVar[tuple[Verb, ...]] = (REPLAY, SPLIT, FAIL)
    change_form_template = "admin/batcher/batch.html"

    class Media:
        css: ClassVar[Any] = {"all": ["batcher/admin.css"]}

    def target(self, row: Batch) -> Object:
        """Return the batcher."""
        return row.batcher

    def status(self, request: HttpRequest, row: Batch) -> Status:
        """Return what became of the batch."""
        return Status(row.status, f"Items: {row.item_count:,}, tries: {row.attempts}.")

    def offered(self, request: HttpRequest, row: Batch) -> list[Verb]:
        """Offer only a replay for a finished batch, and nothing for one that was split into others."""
        fits = {
            REPLAY: not row.was_split,
            SPLIT: batch_lifecycle.is_proven_undelivered(row),
            FAIL: row.finished_at is None,
        }
        return [verb for verb in super().offered(request, row) if fits[verb]]

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Allow it to users who may change batchers."""
        return self.may(request, verb, Batcher)

    def on_everything(self, request: HttpRequest, verb: Verb) -> tuple[str, str] | None:
        """Return the operation on batchers that does this to all that the list shows, and which batchers are meant."""
        asked = request.GET
        name = OPERATIONS.get((verb.name, asked.get("status__exact", ""), asked.get("outcome", "")))
        if name is None or {*asked} - SAYS or not self.may_do_to_all(request, "add"):  # which rows are shown counts
            return None
        batchers = self._batchers(asked.get("batcher"), asked.get("q", ""))
        return None if batchers is None else (name, str(batchers))

    def _batchers(self, pk: str | None, typed: str) -> Selection | None:
        """Return the batchers of which the list shows batches; None where it shows some of their batches only."""
        if pk is None:
            return None if is_key(typed) else Selection().having(name=Text(typed, is_beginning=True) if typed else None)
        row = None if typed else Object.objects.filter(pk=pk).first()
        return None if row is None else Selection().having(**{"class": row.kind_id, "name": Text(row.name)})

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return super().get_queryset(request).defer("items_json", "answer", "history")

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        if is_key(search_term):
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        found = Object.objects.filter(named(search_term, Batcher)).values_list("pk", flat=True)
        batchers = list(found[: MOST_NAMED + 1])
        if len(batchers) > MOST_NAMED:
            return queryset.filter(named(search_term, Batcher, "batcher__")), False
        # By their keys: PostgreSQL takes it that next to no name begins so, and would read and sort all their batches.
        return queryset.filter(batcher__in=batchers), False

    def get_urls(self) -> list[Any]:
        download, drop = (self.admin_site.admin_view(view) for view in (self.download, self.drop_item))
        return [
            path("<path:object_id>/drop/<int:place>/", drop, name=f"{self.opts.app_label}_batch_drop"),
            path("<path:object_id>/items.json", download, name=f"{self.opts.app_label}_batch_items"),
            *super().get_urls(),
        ]

    def download(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the items as a file: the whole JSON array that is posted."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"There is no batch {object_id}.")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        response = HttpResponse(row.items_json, content_type="application/json")
        response["Content-Disposition"] = f'attachment; filename="batch-{row.pk}.json"'
        return response

    def drop_item(self, request: HttpRequest, object_id: str, place: int) -> HttpResponse:
        """Ask for a reason, then take the item at this place out of the batch."""
        row = self.get_object(request, unquote(object_id))
        if row is None or place >= row.item_count:
            raise Http404(f"There is no batch {object_id} with an item at {place}.")
        verb = drop_of(row, place)
        if not self.may_change(request, verb, self.target(row)):
            raise PermissionDenied
        return self.operate(request, verb, self.get_queryset(request).filter(pk=row.pk))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add how it stands, its line of time and its items."""
        row = context.get("original")
        if row is not None:
            sentence, moment = batch_page.standing(row, now_of(request))
            splits = batch_lifecycle.is_proven_undelivered(row)
            context["batch"] = {
                "badge": badge(row.status),
                "sentence": sentence,
                "when": moment,
                "certainty": batch_page.certainty(row),
                "life": batch_page.life(row, now_of(request)),
                "items": batch_page.items(row),
                "may_drop": splits and self.may_change(request, SPLIT, self.target(row)),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="sealed")
        def sealed(row: Batch) -> str:
            return when(row.sealed_at, now_of(request))

        @admin.display(description="next try")
        def next_try(row: Batch) -> str:
            return to_come(row.next_try_at, now_of(request))

        return [*self.list_display, sealed, next_try]

    @admin.display(description="batch")
    def key(self, row: Batch) -> SafeString:
        """Show the beginning of the batch's key."""
        return short_id(row.pk)

    @admin.display(description="batcher")
    def batcher_name(self, row: Batch) -> str:
        """Show the batcher's name, and its class if that is a subclass of ``Batcher``."""
        known = type(as_handle(row.batcher)) is Batcher
        return label(row.batcher.name) + ("" if known else f" ({class_of(row.batcher)})")

    @admin.display(description="batcher")
    def batcher_link(self, row: Batch) -> SafeString | str:
        """Show the batcher, as a link to its page."""
        return self.linked(row.batcher, self.batcher_name(row))

    @admin.display(description="status")
    def state(self, row: Batch) -> SafeString:
        """Show the status."""
        return badge(row.status)

    @admin.display(description="last answer")
    def answer_shown(self, row: Batch) -> SafeString | str:
        """Show the upstream's answer to the last try, or why there was none."""
        return format_html('<pre class="do-value">{}</pre>', row.answer) if row.answer else NOTHING

    @admin.display(description="split")
    def family(self, row: Batch) -> SafeString | str:
        """Link the batch that it is a part of, and its own parts."""
        parts = row.parts.order_by("first_item").values_list("pk", flat=True)
        kin = [("a part of", row.parent_id)] if row.parent_id else []
        kin += [("into", part) for part in parts]
        name = f"{self.admin_site.name}:{Batch._meta.app_label}_batch_change"
        links = ((word, reverse(name, args=[pk]), pk) for word, pk in kin)
        return format_html_join("", '<div>{} <a href="{}">{}</a></div>', links) or NOTHING


def is_key(text: str) -> bool:
    """Return whether this is a batch's key."""
    try:
        uuid.UUID(text.strip())
    except ValueError:
        return False
    return True
