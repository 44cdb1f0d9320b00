"""The list of batchers and the page of one."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse

from batcher import circuit_breaker
from batcher.admin.actions import FLUSH, REPLAY_FAILED
from batcher.admin.queries import BatcherStatus, breaker, last_answer, line, newest_batches, statuses, waiting_items
from batcher.admin.settings import BatcherSettingsInline
from batcher.items import refused_item
from batcher.models import Batch, Batcher, BatcherSettings
from batcher.queue import LINE, Queue
from batcher.secrets import masked
from batcher.setting_rules import Policy
from batcher.tables import policy_in
from durable_objects import DurableObjectError
from durable_objects.admin import (
    CANCEL,
    DELETE,
    REVIVE,
    DurableObjectAdmin,
    SettingsInline,
    Verb,
    alarm_columns,
    alarm_of,
    now_of,
    to_come,
)
from durable_objects.models import Entry


@admin.register(Batcher)
class BatcherAdmin(DurableObjectAdmin):
    """A batcher: what waits and when it goes, its batches, its own settings, alarm, storage, runs."""

    change_form_template = "admin/batcher/batcher.html"
    inlines = (BatcherSettingsInline,)
    internal_keys = (LINE,)
    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, FLUSH, REPLAY_FAILED, CANCEL, DELETE)

    class Media:
        css: ClassVar[Any] = {"all": ["batcher/admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="waiting")
        def waiting(row: Batcher) -> str:
            return f"{self._status_of(request, row).queued:,}"

        @admin.display(description="last batch")
        def last_batch(row: Batcher) -> str:
            return last_answer(self._status_of(request, row).last, now_of(request))

        last = [last_batch] if self.may_see(request, Batch) else []
        return [*self.list_display, *alarm_columns(request)[:1], waiting, *alarm_columns(request)[1:2], *last]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the state of all batchers of the page at once."""
        changes = super().get_changelist_instance(request)
        request.__dict__["_batcher_statuses"] = statuses(changes.result_list)
        return changes

    def get_urls(self) -> list[Any]:
        add = self.admin_site.admin_view(self.add_item)
        return [
            path("<path:object_id>/items/", add, name=f"{self.opts.app_label}_batcher_add_item"),
            *super().get_urls(),
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what waits, what went, and the form for one more item."""
        row = context.get("original")
        if row is not None:
            policy = policy_in(SettingsInline.stored(context, row, BatcherSettings))
            context["batching"] = self._batching(row, request, policy)
        return super().render_change_form(request, context, *args, **kwargs)

    def offered(self, request: HttpRequest, row: Any) -> list[Verb]:
        """Offer a replay only where a batch has failed."""
        verbs = super().offered(request, row)
        if REPLAY_FAILED in verbs:
            known = request.__dict__.get("_batcher_to_replay")  # by the page of this one
            if not (Batch.objects.of(row.pk).to_replay(unknown=False).exists() if known is None else known):
                verbs.remove(REPLAY_FAILED)
        return verbs

    def add_item(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add the item that was typed: JSON if it is that, else its text."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row: Any = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"There is no batcher {object_id}.")
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        text = request.POST.get("item", "").strip()
        try:
            queued = row.add_item(_item_of(text))
        except DurableObjectError as error:
            self.message_user(request, f"Not added: {error}", messages.ERROR)
        else:
            user: Any = request.user
            LogEntry.objects.create(
                user_id=user.pk, content_type_id=row.kind_id, object_id=str(row.pk), object_repr=row.name[:200],
                action_flag=CHANGE, change_message="Added an item.",
            )  # fmt: skip
            self.message_user(request, f"Added. Items waiting: {queued:,}.", messages.SUCCESS)
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(name, args=[row.pk]))

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save settings as code does, by ``configure()``: checked, and under the batcher's lock."""
        changes = SettingsInline.changes(formset)
        if changes:
            form.instance.configure(**{name: None if value == "" else value for name, value in changes.items()})

    def _status_of(self, request: HttpRequest, row: Any) -> BatcherStatus:
        known: dict[int, BatcherStatus] = request.__dict__.setdefault("_batcher_statuses", {})
        if row.pk not in known:
            known |= statuses([row])
        return known[row.pk]

    def _batching(self, row: Batcher, request: HttpRequest, policy: Policy) -> dict[str, Any]:
        now, queue = now_of(request), Queue(row.storage)
        upstream, settings, slot = circuit_breaker.of(policy.upstream_url), masked(vars(policy)), alarm_of(row)
        facts = [
            ("Items waiting", f"{queue.count:,}"),
            ("Their size as JSON", f"{queue.size:,} B"),
            (
                "Next batch",
                "paused until somebody flushes, adds an item or replays a batch"
                if queue.paused
                else to_come(queue.due, now),
            ),
            ("Upstream", settings["upstream_url"] or "none: batches are logged"),
        ]
        items = waiting_items(queue, row, now) if self.may_see(request, Entry) and queue.count else []
        batches: list[Batch] = []
        if shows_batches := self.may_see(request, Batch):
            batches, request.__dict__["_batcher_to_replay"] = newest_batches(row.pk)
        return {
            "facts": facts,
            "items": items,
            "more_items": f"{queue.count - len(items):,}" if items and queue.count > len(items) else "",
            "breaker": breaker(upstream, now, slot.due_at if slot else None),
            "shows_batches": shows_batches,
            "batches": [line(batch, now) for batch in batches],
            "may_add": self.has_change_permission(request, row),
        }


def _item_of(text: str) -> Any:
    """Return the JSON that was typed, or else the text. Raises ``InvalidValue`` for JSON that cannot be read."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
    except ValueError as error:  # a number of more digits than Python reads
        raise refused_item(f"the JSON cannot be read: {error}") from None
    except RecursionError:
        raise refused_item("the JSON is nested too deeply") from None
