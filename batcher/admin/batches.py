"""The list of batches and the page of one."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models.functions import Substr
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from batcher.admin.actions import FAIL, REPLAY
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
    now_of,
    to_come,
    when,
)
from durable_objects.formatting import class_of, label
from durable_objects.models import Object, as_handle

#: Characters of the items' JSON, and items that were not accepted, that a batch's page shows.
ITEMS_SHOWN = 20_000
OUTCOMES_SHOWN = 50


class BatcherFilter(ObjectFilter):
    """By the batcher."""

    title = parameter_name = column = "batcher"


@admin.register(Batch)
class BatchAdmin(OperableAdmin, ReadOnlyAdmin):
    """Every batch that was sealed, newest first; any can be replayed, and what is unfinished given up."""

    list_display: Any = ("id", "batcher_name", "state", "item_count", "failed_items", "attempts", "status_code")
    list_select_related = ("batcher",)
    list_filter = ("status", "outcome_unknown", BatcherFilter)
    search_fields = ("batcher__name__startswith",)
    search_help_text = "The beginning of a batcher's name, or a batch's key"
    fields: ClassVar[Any] = (
        "id", "batcher_name", "state", "item_count", "failed_items", "outcome_unknown", "attempts", "status_code",
        "answer_shown", "outcomes_shown", "family",
        *map(moment, ["sealed_at", "began_at", "next_try_at", "give_up_at", "finished_at"]), "items_shown",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-sealed_at",)
    sortable_by = ()
    list_per_page = 50
    verbs: ClassVar[tuple[Verb, ...]] = (REPLAY, FAIL)

    def target(self, row: Batch) -> Object:
        """Return the batcher."""
        return row.batcher

    def status(self, request: HttpRequest, row: Batch) -> Status:
        """Return what became of the batch."""
        return Status(row.status, f"Items: {row.item_count:,}, tries: {row.attempts}.")

    def offered(self, request: HttpRequest, row: Batch) -> list[Verb]:
        """Offer only a replay for a finished batch, and nothing for one that was split into others."""
        fits = {REPLAY: not row.was_split, FAIL: row.finished_at is None}
        return [verb for verb in super().offered(request, row) if fits[verb]]

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Allow it to users who may change batchers."""
        return self.may(request, verb, Batcher)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return super().get_queryset(request).defer("items_json", "answer")

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        except ValueError:
            return queryset.filter(batcher__name__startswith=search_term), False

    def get_urls(self) -> list[Any]:
        download = self.admin_site.admin_view(self.download)
        return [
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

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="sealed")
        def sealed(row: Batch) -> str:
            return when(row.sealed_at, now_of(request))

        @admin.display(description="next try")
        def next_try(row: Batch) -> str:
            return to_come(row.next_try_at, now_of(request))

        return [*self.list_display, sealed, next_try]

    @admin.display(description="batcher")
    def batcher_name(self, row: Batch) -> str:
        """Show the batcher's name, and its class if that is a subclass of ``Batcher``."""
        known = type(as_handle(row.batcher)) is Batcher
        return label(row.batcher.name) + ("" if known else f" ({class_of(row.batcher)})")

    @admin.display(description="status")
    def state(self, row: Batch) -> SafeString:
        """Show the status."""
        return badge(row.status)

    @admin.display(description="last answer")
    def answer_shown(self, row: Batch) -> SafeString | str:
        """Show the upstream's answer to the last try, or why there was none."""
        return format_html('<pre class="do-value">{}</pre>', row.answer) if row.answer else NOTHING

    @admin.display(description="items")
    def items_shown(self, row: Batch) -> SafeString:
        """Show the JSON array that is posted, its first ``ITEMS_SHOWN`` characters."""
        text = Batch.objects.filter(pk=row.pk).values_list(Substr("items_json", 1, ITEMS_SHOWN + 1)).get()[0]
        more = f"The first {ITEMS_SHOWN:,} characters. " if len(text) > ITEMS_SHOWN else ""
        url = reverse(f"{self.admin_site.name}:{self.opts.app_label}_batch_items", args=[row.pk])
        shape = '<pre class="do-value">{}</pre><p>{}<a href="{}" download>Download the items</a></p>'
        return format_html(shape, text[:ITEMS_SHOWN], more, url)

    @admin.display(description="items not accepted")
    def outcomes_shown(self, row: Batch) -> SafeString | str:
        """Show the upstream's answer for each item that it did not accept, by the item's place from 0."""
        outcomes = sorted((row.outcomes or {}).items(), key=lambda place: int(place[0]))
        lines = ((place, outcome["status"], outcome["error"]) for place, outcome in outcomes[:OUTCOMES_SHOWN])
        more = f"And {len(outcomes) - OUTCOMES_SHOWN} more." if len(outcomes) > OUTCOMES_SHOWN else ""
        return format_html("{}{}", format_html_join("", "<div>{}: {} {}</div>", lines), more) if outcomes else NOTHING

    @admin.display(description="split")
    def family(self, row: Batch) -> SafeString | str:
        """Link the batch that it is a part of, and its own parts."""
        parts = row.parts.order_by("first_item").values_list("pk", flat=True)
        kin = [("a part of", row.parent_id)] if row.parent_id else []
        kin += [("into", part) for part in parts]
        name = f"{self.admin_site.name}:{Batch._meta.app_label}_batch_change"
        links = ((word, reverse(name, args=[pk]), pk) for word, pk in kin)
        return format_html_join("", '<div>{} <a href="{}">{}</a></div>', links) or NOTHING
