"""The list of processes that run alarms or make passes: read-only, each by its heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from durable_objects.admin import display
from durable_objects.admin.base import ReadOnlyAdmin
from durable_objects.admin.columns import moment, now_of
from durable_objects.conf import engine
from durable_objects.operations.processes import Standing
from durable_objects.tables import Dispatcher, Process

#: A clock that is off by less than this is right: a round trip to the database takes part of it.
SKEW_SHOWN = timedelta(seconds=1)


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    """The processes that run alarms or make passes, the last seen first; each is forgotten after a day."""

    list_display = ("process",)
    fields: ClassVar[Any] = (
        "process", "code_version", "work", "skew",
        *map(moment, ["code_since", "started_at", "last_seen_at", "ended_at", "busy_since"]),
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-last_seen_at",)
    sortable_by = ()

    def get_list_display(self, request: HttpRequest) -> Any:
        def at(name: str, title: str) -> Callable[[Process], str]:
            @admin.display(description=title)
            def shown(row: Process) -> str:
                return display.when(getattr(row, name), now_of(request))

            shown.__name__ = name
            return shown

        passing = {row.process: row for row in Dispatcher.objects.using(engine.DATABASE)}

        @admin.display(description="does")
        def roles(row: Process) -> str:
            return Standing(row.process, row, passing.get(row.process)).roles

        @admin.display(description="state")
        def state(row: Process) -> str:
            return display.badge(Standing(row.process, row, None).state(now_of(request)))

        times = [at("last_seen_at", "last seen"), at("started_at", "started")]
        return [*self.list_display, state, roles, "code_version", "work", "skew", *times]

    @admin.display(description="threads busy")
    def work(self, row: Process) -> str:
        """Show how many of its threads are at work."""
        return work_of(row)

    @admin.display(description="clock")
    def skew(self, row: Process) -> str:
        """Show how far its clock is off the database's."""
        return skew_of(row)


def work_of(row: Process) -> str:
    """Write how many threads of a process are at work; nothing for one that runs no alarms."""
    return display.NOTHING if row.threads is None else f"{row.busy:,} of {row.threads:,}"


def skew_of(row: Process) -> str:
    """Write how far a process's clock is off the database's."""
    if abs(row.clock_skew) < SKEW_SHOWN:
        return "right"
    return f"{display.span(row.clock_skew)} {'ahead' if row.clock_skew > timedelta(0) else 'behind'}"
