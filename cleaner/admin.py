"""Periodic cleaners in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from cleaner.conf import defaults
from cleaner.models import CleanerProgress, CleanerSettings, PeriodicCleaner
from durable_objects.admin import DurableObjectAdmin, SettingsInline
from durable_objects.admin.wording import NOTHING, absolute, span


class CleanerSettingsInline(SettingsInline):
    """A cleaner's own settings."""

    model = CleanerSettings
    fields = ("interval", "max_age")


@admin.register(PeriodicCleaner)
class PeriodicCleanerAdmin(DurableObjectAdmin):
    """A cleaner: its plan and last report, its own settings, alarm, storage, runs."""

    inlines = (CleanerSettingsInline,)
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
        changes = SettingsInline.changes(formset)
        cleaner: PeriodicCleaner = form.instance
        project = {"interval": defaults.INTERVAL, "max_age": defaults.MAX_AGE}
        emptied = {name: project[name] for name, value in changes.items() if value is None}

        def store() -> None:
            cleaner.configure(**changes | emptied)
            CleanerSettings.objects.filter(pk=cleaner.pk).update(**dict.fromkeys(emptied))

        if changes:
            cleaner.run_exclusive(store)
