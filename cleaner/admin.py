"""Periodic cleaners in Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from cleaner.conf import defaults
from cleaner.models import CleanerProgress, CleanerSettings, PeriodicCleaner
from durable_objects.admin import DurableObjectAdmin
from durable_objects.admin.wording import NOTHING, absolute, span

if TYPE_CHECKING:  # generic in the stubs only
    _StackedInline = admin.StackedInline[CleanerSettings, PeriodicCleaner]
else:
    _StackedInline = admin.StackedInline


class SettingsInline(_StackedInline):
    """A cleaner's own settings."""

    model = CleanerSettings
    verbose_name_plural = "own settings (empty: the project's)"
    fields = ("interval", "max_age")
    can_delete = False
    max_num = 1


@admin.register(PeriodicCleaner)
class PeriodicCleanerAdmin(DurableObjectAdmin):
    """A cleaner: its plan and last report, its own settings, alarm, storage, runs."""

    inlines = (SettingsInline,)
    readonly_fields = ("planned_for", "running_since", "last_cleanup")

    @admin.display(description="planned for")
    def planned_for(self, row: PeriodicCleaner) -> str:
        """The planned time that the schedule goes by."""
        planned = CleanerProgress.of(row.pk).planned_at
        return absolute(planned) if planned else NOTHING

    @admin.display(description="running since")
    def running_since(self, row: PeriodicCleaner) -> str:
        """When the planned cleanup that is under way began."""
        since = CleanerProgress.of(row.pk).running_since
        return absolute(since) if since else NOTHING

    @admin.display(description="last cleanup")
    def last_cleanup(self, row: PeriodicCleaner) -> str:
        """What the last cleanup that ended has done."""
        report = row.last_report()
        if report is None:
            return NOTHING
        took = span(report["ended_at"] - report["started_at"])
        return f"{report['removed']:,} of {report['examined']:,} removed in {took}, {absolute(report['ended_at'])}"

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Settings go by ``configure()``, which plans anew; a field that was emptied then means the project's."""
        formset.save(commit=False)
        cleaner: PeriodicCleaner = form.instance
        project = {"interval": defaults.INTERVAL, "max_age": defaults.MAX_AGE}
        for settings in formset.forms:
            given = {name: settings.cleaned_data[name] for name in settings.changed_data if name in project}
            emptied = {name: None for name, value in given.items() if value is None}

            def store(given: dict[str, Any] = given, emptied: dict[str, None] = emptied) -> None:
                cleaner.configure(**given | {name: project[name] for name in emptied})
                CleanerSettings.objects.filter(pk=cleaner.pk).update(**emptied)

            if given:
                cleaner.run_exclusive(store)
