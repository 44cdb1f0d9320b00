"""The periodic cleaner: an object that keeps its own storage free of what has become too old."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from cleaner.conf import defaults
from cleaner.rows import CleanerProgress, CleanerSettings, check
from cleaner.schedule import following, is_expired
from durable_objects import AlarmInfo, exclusive, now
from durable_objects.models import DurableObject

__all__ = ["CleanerProgress", "CleanerSettings", "PeriodicCleaner"]

logger = logging.getLogger("cleaner")


class PeriodicCleaner(DurableObject):
    """Deletes, once an hour, those entries of its own storage whose value is a dict with a ``timestamp`` (milliseconds
    since the epoch, or a datetime) more than a day old.

    Its first use plans the first cleanup. The next one is always the first planned time still ahead: neither lateness
    nor failures shift the schedule or end it. Interval and age are changed with ``configure()``.
    """

    class Meta:
        proxy = True

    def initialize(self) -> None:
        """Plan the first cleanup, at the first use and when the alarm was taken away."""
        if self.storage.get_alarm() is None:
            moment = now()
            since = CleanerProgress.of(self.pk).running_since
            # While a cleanup runs unlocked there is no alarm either, and an alarm set now would replace its retry.
            if since is None or since + self.alarm_time_limit < moment:
                self._plan(moment + CleanerSettings.of(self.pk).interval_in_force)

    @exclusive
    def configure(self, *, interval: timedelta | None = None, max_age: timedelta | None = None) -> None:
        """Change what is given. A new interval counts from the last planned time, so that editing does not put off.

        Raises ``InvalidInput`` naming the value and what is allowed; then nothing was changed.
        """
        given = {"interval": interval, "max_age": max_age}
        changes = {name: value for name, value in given.items() if value is not None}
        check(changes)
        before = CleanerSettings.of(self.pk).interval_in_force
        CleanerSettings.objects.update_or_create(object_id=self.pk, defaults=changes)
        progress = CleanerProgress.of(self.pk)
        if interval is not None and progress.planned_at is not None and progress.running_since is None:
            self._plan(following(progress.planned_at - before + interval, interval, now()))

    def cleanup(self, dry_run: bool = False) -> int:
        """Clean now, whatever is planned; how many entries were deleted, or with ``dry_run`` would be.

        Works in chunks, each read and deleted in a turn of its own, so that memory holds one chunk at a time and other
        calls on the object come in between. When it raises, the chunks before stay deleted.
        """
        started_at = now()
        limit = started_at - self._settings().max_age_in_force
        examined = removed = 0
        last: str | None = None
        while True:
            keys, expired = self._look(last, limit) if dry_run else self._clean(last, limit)
            examined, removed = examined + len(keys), removed + expired
            if len(keys) < defaults.CHUNK:
                break
            last = keys[-1]
        if not dry_run:
            self._report(started_at, examined, removed)
        return removed

    def last_report(self) -> dict[str, Any] | None:
        """The last cleanup that ended: ``started_at``, ``ended_at`` (aware), ``examined``, ``removed``; None before."""
        row = CleanerProgress.objects.filter(object__in=type(self).objects.filter(name=self.name)).first()
        if row is None or row.last_report is None:
            return None
        report: dict[str, Any] = row.last_report
        return report | {name: datetime.fromisoformat(report[name]) for name in ("started_at", "ended_at")}

    def alarm(self, info: AlarmInfo) -> None:
        """A planned cleanup: while unlocked, so that other calls come in between its chunks. Then plan the next."""
        CleanerProgress.note(self.pk, running_since=now())
        with self.unlocked():
            self.cleanup()
        self._plan_next(info)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """The cleanup failed for good: the next planned one is to run all the same."""
        self._plan_next(info)

    # -- steps

    @exclusive
    def _clean(self, last: str | None, limit: datetime) -> tuple[list[str], int]:
        return self._look(last, limit, delete=True)

    def _look(self, last: str | None, limit: datetime, *, delete: bool = False) -> tuple[list[str], int]:
        """The keys of the chunk behind ``last``, and how many of them are expired (and deleted, if so wished)."""
        chunk = self.storage.list(start_after=last, limit=defaults.CHUNK)
        expired = [key for key, value in chunk.items() if is_expired(value, limit)]
        if delete:
            self.storage.delete_many(expired)
        return list(chunk), len(expired)

    @exclusive
    def _report(self, started_at: datetime, examined: int, removed: int) -> None:
        moments = {"started_at": started_at.isoformat(), "ended_at": now().isoformat()}
        CleanerProgress.note(self.pk, last_report={**moments, "examined": examined, "removed": removed})
        logger.info("Cleaner %s: %s of %s entries removed", self.name, removed, examined)

    def _plan_next(self, info: AlarmInfo) -> None:
        """The first planned time still ahead, counted from the plan and not from now."""
        planned = CleanerProgress.of(self.pk).planned_at or info.scheduled_at
        self._plan(following(planned, CleanerSettings.of(self.pk).interval_in_force, now()))

    def _plan(self, at: datetime) -> None:
        CleanerProgress.note(self.pk, planned_at=at, running_since=None)
        self.storage.set_alarm(at)

    def _settings(self) -> CleanerSettings:
        """The settings in force, read without making the object."""
        own = CleanerSettings.objects.filter(object__in=type(self).objects.filter(name=self.name)).first()
        return own or CleanerSettings()
