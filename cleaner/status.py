"""The state of cleaners: settings, next cleanup, what the last cleanups did, and whether they fall behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cleaner.models import PeriodicCleaner, in_seconds
from cleaner.tables import CleanerProgress, CleanerRun, CleanerSettings
from durable_objects.formatting import gist, short, span

#: A planned cleanup that has not begun this long after its time is late.
LATE_AFTER = timedelta(minutes=1)


@dataclass(frozen=True)
class CleanerStatus:
    """One cleaner's rows. ``last`` is the last cleanup that ended, ``under_way`` the planned one that has not."""

    settings: CleanerSettings
    progress: CleanerProgress
    last: CleanerRun | None
    under_way: CleanerRun | None

    def warnings(self, now: datetime) -> list[str]:
        """Return what somebody should look at; nothing while all is well, or it is stopped."""
        if self.progress.stopped:
            return []
        found = []
        planned, interval = self.progress.planned_at, self.settings.interval_in_force
        if self.under_way is not None:
            taken = now - self.under_way.started_at
            if taken > interval:
                found.append(
                    f"Behind: the cleanup under way began {span(taken)} ago, and the interval is {span(interval)}."
                )
        elif planned is not None and planned + LATE_AFTER < now:
            found.append(f"Behind: a cleanup was due {span(now - planned)} ago. Is a worker running?")
        if self.last is not None and self.last.in_seconds:
            found.append(in_seconds(self.last.in_seconds))
        if self.last is not None and self.last.error:
            found.append(f"The last cleanup failed: {short(gist(self.last.error), 200)}")
        elif self.last is not None and self.last.remaining:
            found.append(f"Behind: at least {self.last.remaining:,} expired rows were left after the last cleanup.")
        return found


def statuses(cleaners: Iterable[PeriodicCleaner]) -> dict[int, CleanerStatus]:
    """Return the state of these cleaners, which have rows, by primary key, in five queries however many there are."""
    keys = [cleaner.pk for cleaner in cleaners]
    settings = CleanerSettings.objects.in_bulk(keys)
    progress = CleanerProgress.objects.in_bulk(keys)
    last = CleanerRun.last_of(keys)
    planned = CleanerRun.objects.filter(object_id__in=keys, ended_at=None).exclude(planned_at=None).order_by("id")
    under_way = {run.object_id: run for run in planned}
    return {
        key: CleanerStatus(
            settings.get(key) or CleanerSettings(object_id=key),
            progress.get(key) or CleanerProgress(object_id=key),
            last.get(key),
            under_way.get(key),
        )
        for key in keys
    }


def runs_of(object_id: int, limit: int) -> list[CleanerRun]:
    """Return the last cleanups, newest first."""
    return list(CleanerRun.objects.filter(object_id=object_id).order_by("-id")[:limit])
