"""The list of cleaners and the page of one."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse

from cleaner.admin import display
from cleaner.admin.settings import CleanerSettingsInline, changes_of
from cleaner.conf import defaults
from cleaner.models import CleanerSettings, PeriodicCleaner, in_seconds
from cleaner.status import CleanerStatus, statuses
from durable_objects import DurableObjectError
from durable_objects.admin import DELETE, FIRE_NOW, REVIVE, DurableObjectAdmin, Verb, alarm_columns, now_of
from durable_objects.formatting import label
from durable_objects.models import DurableObject

#: How long a dry run counts, for all chosen cleaners: the page waits for it.
DRY_RUN_FOR = timedelta(seconds=5)
#: Rows that it names.
SAMPLE = 5


def as_cleaner(handle: DurableObject) -> PeriodicCleaner:
    """Return the handle as a cleaner. Raises ``DurableObjectError`` for anything else."""
    if not isinstance(handle, PeriodicCleaner):
        raise DurableObjectError(f"{handle._meta.label} is not a cleaner")
    return handle


CLEAN_NOW = replace(
    FIRE_NOW,
    label="Clean now",
    question="Clean now? A worker deletes what is too old; the planned cleanups stay as they are.",
)
DRY_RUN = Verb(
    "dry_run",
    "Dry run",
    "Count what these cleaners would delete now? Nothing is deleted.",
    "Counted",
    lambda handle, row: display.counted(as_cleaner(handle).look(within=DRY_RUN_FOR, sample=SAMPLE)),
    tone="quiet",
)
STOP = Verb(
    "stop",
    "Stop",
    "Stop these cleaners? Nothing more is deleted until they are started again.",
    "Stopped",
    lambda handle, row: as_cleaner(handle).stop(),
    of_many="stop_cleaners",
    tone="danger",
)
START = Verb(
    "start",
    "Start",
    "Start these cleaners? The first cleanup is one interval from now.",
    "Started",
    lambda handle, row: as_cleaner(handle).start(),
    of_many="start_cleaners",
)


@admin.register(PeriodicCleaner)
class PeriodicCleanerAdmin(DurableObjectAdmin):
    """A cleaner: its state, its own settings, alarm, last cleanups, storage, runs."""

    change_form_template = "admin/cleaner/periodiccleaner/change_form.html"
    inlines = (CleanerSettingsInline,)
    entries_shown = 20
    verbs: ClassVar[tuple[Verb, ...]] = (REVIVE, CLEAN_NOW, DRY_RUN, STOP, START, DELETE)

    class Media:
        css: ClassVar[Any] = {"all": ["cleaner/admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        def column(title: str, show: Any) -> Any:
            @admin.display(description=title)
            def cell(row: PeriodicCleaner) -> Any:
                return show(self._status_of(request, row), now_of(request))

            return cell

        return [
            *self.list_display,
            column("cleaning", display.in_list),
            *alarm_columns(request)[1:2],
            column("last removed", display.last_run),
        ]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the state of all cleaners of the page at once."""
        changes = super().get_changelist_instance(request)
        request.__dict__["_cleaner_statuses"] = statuses(changes.result_list)
        return changes

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the state of the cleaner."""
        row = context.get("original")
        if row is not None:
            context["cleaning"] = display.page_of(row.pk, self._status_of(request, row), now_of(request))
        return super().render_change_form(request, context, *args, **kwargs)

    def offered(self, request: HttpRequest, row: Any) -> list[Verb]:
        """Offer either to stop it or to start it."""
        stopped = self._status_of(request, row).progress.stopped
        hidden = STOP if stopped else START
        return [verb for verb in super().offered(request, row) if verb is not hidden]

    def operate(self, request: HttpRequest, verb: Verb, queryset: models.QuerySet[Any]) -> HttpResponse:
        """Show what a dry run has counted."""
        if verb is not DRY_RUN or request.POST.get("confirmed") != "yes":
            return super().operate(request, verb, queryset)
        return super().operate(request, self._counting(request), queryset)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save by ``configure()``, which plans the next cleanup; an emptied field means the project's setting."""
        changes, emptied = changes_of(formset)
        cleaner: PeriodicCleaner = form.instance
        project = {"interval": defaults.INTERVAL, "max_age": defaults.MAX_AGE}

        def store() -> None:
            cleaner.configure(**changes | {name: project[name] for name in emptied})
            if emptied:
                CleanerSettings.objects.filter(pk=cleaner.pk).update(**dict.fromkeys(emptied))

        if changes:
            cleaner.run_exclusive(store)

    def _status_of(self, request: HttpRequest, row: Any) -> CleanerStatus:
        known: dict[int, CleanerStatus] = request.__dict__.setdefault("_cleaner_statuses", {})
        if row.pk not in known:
            known |= statuses([row])
        return known[row.pk]

    def _counting(self, request: HttpRequest) -> Verb:
        """Return the dry run, in what time is left for all of them; it warns of what looks like seconds."""
        deadline = time.monotonic() + DRY_RUN_FOR.total_seconds()

        def count(handle: DurableObject, row: Any) -> str:
            left = timedelta(seconds=max(deadline - time.monotonic(), 0))
            found = as_cleaner(handle).look(within=left, sample=SAMPLE)
            if found.in_seconds:
                self.message_user(request, f"{label(handle.name)}: {in_seconds(found.in_seconds)}", messages.WARNING)
            return display.counted(found)

        return replace(DRY_RUN, call=count)
