"""Batchers and their batches in Django admin."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from batcher.models import Batch, Batcher, BatcherSettings
from durable_objects import InvalidInput
from durable_objects.admin import DurableObjectAdmin, OperableAdmin, ReadOnlyAdmin, SettingsInline, Verb
from durable_objects.admin.reading import badge, moment, now_of
from durable_objects.admin.wording import NOTHING, Status, class_of, label, when
from durable_objects.models import DurableObject
from durable_objects.rows import Object

#: Characters of the items' JSON that a batch's page shows.
ITEMS_SHOWN = 20_000


def replay(handle: DurableObject, batch: Batch) -> None:
    """Send a batch again: the same items under the same key. Raises ``InvalidInput`` when it is no batcher's."""
    if not isinstance(handle, Batcher):
        raise InvalidInput(f"{batch} belongs to an object of {handle._meta.label}, which is no batcher")
    handle.replay(batch.pk)


REPLAY = Verb(
    "replay",
    "Replay",
    "Send these batches again, with the same items and under the same keys?",
    "Told to send again",
    replay,
)


class BatcherSettingsInline(SettingsInline):
    """A batcher's own settings. Headers may hold secrets: they are shown by name only, and set by ``configure()``."""

    model = BatcherSettings
    fields = ("upstream_url", "masked_headers", "window", "max_items", "max_bytes", "max_retries", "give_up_after")
    readonly_fields = ("masked_headers",)
    formfield_overrides = {models.TextField: {"widget": forms.TextInput(attrs={"class": "vLargeTextField"})}}

    @admin.display(description="headers")
    def masked_headers(self, row: BatcherSettings) -> SafeString | str:
        """The headers' names, each with a mask for its value."""
        return format_html_join("", "<div>{}: ••••••</div>", ((name,) for name in row.headers or {})) or NOTHING


@admin.register(Batcher)
class BatcherAdmin(DurableObjectAdmin):
    """A batcher: how much waits, its own settings, alarm, storage, runs."""

    inlines = (BatcherSettingsInline,)
    readonly_fields = ("waiting",)

    @admin.display(description="items waiting")
    def waiting(self, row: Batcher) -> str:
        """Items that wait for a batch."""
        return f"{row.queued():,}"

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Settings go the way that code goes, by ``configure()``: checked, and under the batcher's lock."""
        changes = SettingsInline.changes(formset)
        if changes:
            form.instance.configure(**{name: None if value == "" else value for name, value in changes.items()})


@admin.register(Batch)
class BatchAdmin(OperableAdmin, ReadOnlyAdmin):
    """Every batch that was sealed, newest first; any can be replayed."""

    list_display: Any = ("id", "batcher_name", "state", "item_count", "attempts", "status_code")
    list_select_related = ("batcher",)
    list_filter = ("status",)
    search_fields = ("batcher__name__startswith",)
    search_help_text = "The beginning of a batcher's name, or a batch's key"
    fields: ClassVar[Any] = (
        "id", "batcher_name", "state", "item_count", "attempts", "failures", "status_code", "answer_shown",
        *map(moment, ["sealed_at", "next_try_at", "give_up_at", "finished_at"]), "items_shown",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-sealed_at",)
    sortable_by = ()
    list_per_page = 50
    verbs: ClassVar[tuple[Verb, ...]] = (REPLAY,)

    def target(self, row: Batch) -> Object:
        """The batcher."""
        return row.batcher

    def status(self, request: HttpRequest, row: Batch) -> Status:
        """What became of the batch."""
        return Status(row.status, f"Items: {row.item_count:,}, tries: {row.attempts}.")

    def may_use(self, request: HttpRequest, verb: Verb) -> bool:
        """Who may change batchers may replay."""
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

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="sealed")
        def sealed(row: Batch) -> str:
            return when(row.sealed_at, now_of(request))

        @admin.display(description="next try")
        def next_try(row: Batch) -> str:
            return when(row.next_try_at, now_of(request))

        return [*self.list_display, sealed, next_try]

    @admin.display(description="batcher")
    def batcher_name(self, row: Batch) -> str:
        """The batcher's name, and its class where that is another."""
        known = type(row.batcher.handle()) is Batcher
        return label(row.batcher.name) + ("" if known else f" ({class_of(row.batcher)})")

    @admin.display(description="status")
    def state(self, row: Batch) -> SafeString:
        """What became of it."""
        return badge(row.status)

    @admin.display(description="last answer")
    def answer_shown(self, row: Batch) -> SafeString | str:
        """What the upstream said to the last try, or why there was no answer."""
        return format_html('<pre class="do-value">{}</pre>', row.answer) if row.answer else NOTHING

    @admin.display(description="items")
    def items_shown(self, row: Batch) -> SafeString:
        """The JSON array that is posted, as far as a page can bear."""
        text = Batch.objects.filter(pk=row.pk).values_list(Substr("items_json", 1, ITEMS_SHOWN + 1)).get()[0]
        more = f"The first {ITEMS_SHOWN:,} characters." if len(text) > ITEMS_SHOWN else ""
        return format_html('<pre class="do-value">{}</pre>{}', text[:ITEMS_SHOWN], more)
