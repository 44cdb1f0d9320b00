"""The circuit breakers: who is left alone until when, and a button that tries now what waits for one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from batcher import circuit_breaker
from batcher.admin.queries import breaker, breaker_badge
from batcher.admin.queries import next_probe as probe_of
from batcher.models import Batcher
from batcher.tables import Upstream
from durable_objects.admin import NOTHING, ReadOnlyAdmin, allows, moment, now_of, shown
from durable_objects.formatting import label
from durable_objects.models import Object, as_handle


@admin.register(Upstream)
class UpstreamAdmin(ReadOnlyAdmin):
    """Every upstream that batches were posted to, and whether posts go there."""

    change_form_template = "admin/batcher/upstream.html"

    list_display: Any = ("origin", "breaker", "failures", "last_error")
    list_filter = ("state",)
    search_fields = ("origin__startswith",)
    fields: ClassVar[Any] = ("origin", "breaker", "failures", "last_error", *map(moment, ["opened_at", "retry_at"]))
    readonly_fields = fields
    ordering = ("origin",)
    sortable_by = ()

    class Media:
        css: ClassVar[Any] = {"all": ["batcher/admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="next probe")
        def probe(row: Upstream) -> str:
            return NOTHING if row.state == row.State.CLOSED else probe_of(row, now_of(request))

        return [*self.list_display, probe]

    @admin.display(description="circuit breaker")
    def breaker(self, row: Upstream) -> SafeString:
        """Show the state. Closed: posts go; open: they wait; half open: one goes, as a probe."""
        return breaker_badge(row)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Say in words how it stands; offer to flush the batcher whose batch is tried there next."""
        row = context.get("original")
        if row is not None:
            waiting = self._waiting_for(request, row)
            may = waiting is not None and allows(self.admin_site, request, "change", Batcher)
            context |= {
                "breaker": breaker(row, now_of(request), None),
                "waiting": waiting,
                "waiting_label": label(waiting.name) if waiting else "",
                "may_try": may and isinstance(as_handle(waiting), Batcher) if waiting else False,
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def _waiting_for(self, request: HttpRequest, row: Upstream) -> Object | None:
        """Return a batcher that has a batch for it; None where there is none, or where it is hidden from the user."""
        waiting = circuit_breaker.waiting_for(row.pk)
        if waiting is None or not shown(self.admin_site, request, Object.objects.filter(pk=waiting.pk)).exists():
            return None
        return waiting
