"""The circuit breakers, read-only: flushing a batcher is what ends a pause."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from batcher.admin.queries import next_probe as probe_of
from batcher.tables import Upstream
from durable_objects.admin import NOTHING, ReadOnlyAdmin, badge, moment, now_of


@admin.register(Upstream)
class UpstreamAdmin(ReadOnlyAdmin):
    """Every upstream that has failed, and whether posts go there."""

    list_display: Any = ("origin", "breaker", "failures", "last_error")
    list_filter = ("state",)
    search_fields = ("origin__startswith",)
    fields: ClassVar[Any] = ("origin", "breaker", "failures", "last_error", *map(moment, ["opened_at", "retry_at"]))
    readonly_fields = fields
    ordering = ("origin",)
    sortable_by = ()

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="next probe")
        def probe(row: Upstream) -> str:
            return NOTHING if row.state == row.State.CLOSED else probe_of(row, now_of(request))

        return [*self.list_display, probe]

    @admin.display(description="circuit breaker")
    def breaker(self, row: Upstream) -> SafeString:
        """Show the state. Closed: posts go; open: they wait; half open: one goes, as a probe."""
        return badge(row.state)
