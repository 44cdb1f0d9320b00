"""The periodic cleaner: an object that deletes what is too old from its own storage, or from a Django model."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError

from cleaner.cleanup import CleanupEnded, Counted, OnChunk, clean, count, ignore
from cleaner.conf import defaults
from cleaner.setting_rules import check, choose
from cleaner.tables import CleanerProgress, CleanerRun, CleanerSettings
from cleaner.targets import ModelRows, OwnStorage, Target
from durable_objects import AlarmInfo, DurableObjectError, exclusive, now
from durable_objects.handler_errors import named
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject
from durable_objects.recurrence import rules

__all__ = ["CleanerProgress", "CleanerRun", "CleanerSettings", "PeriodicCleaner"]

logger = get_logger("cleaner")

#: How long a finished cleanup counts expired rows that are left.
LOOK_FOR = timedelta(seconds=0.1)

REPORTED = (
    "target", "planned_at", "started_at", "ended_at", "examined", "removed", "chunks", "longest_chunk", "remaining",
    "oldest_left", "in_seconds", "next_at", "error",
)  # fmt: skip


class PeriodicCleaner(DurableObject):
    """Deletes, once an hour, those entries of its own storage whose value is a dict with a ``timestamp`` (milliseconds
    since the epoch, or a datetime) more than a day old; or the rows of a Django model, by a field of time. Numbers that
    look like seconds, since as milliseconds they would all be in the first months of 1970, are left alone and reported.

    Its first use plans the first cleanup. The next one is always the first planned time still ahead: neither lateness
    nor failures shift or end the schedule. What, how often and how old is changed with ``configure()``.
    """

    #: The planned cleanup that this instance carries out, while it runs unlocked.
    _planned: CleanerRun | None = None

    class Meta:
        proxy = True

    def initialize(self) -> None:
        """Plan the first cleanup, at the first use and when the alarm was taken away, unless it was stopped."""
        if self.storage.get_alarm() is None:
            moment, progress = now(), CleanerProgress.of(self.pk)
            # While a cleanup runs unlocked there is no alarm either, and an alarm set now would replace its retry.
            since = progress.running_since
            if not progress.stopped and (since is None or since + self.alarm_time_limit < moment):
                self._plan(moment + CleanerSettings.of(self.pk).interval_in_force)

    @exclusive
    def configure(
        self,
        *,
        interval: timedelta | None = None,
        max_age: timedelta | None = None,
        model: str | None = None,
        field: str | None = None,
    ) -> None:
        """Change what is given. A new interval counts from the last planned time, so that editing postpones nothing.

        ``model`` (``"shop.Visit"``, one of ``CLEANER["MODELS"]``) and ``field`` make it clean that model's rows instead
        of its own storage; ``model=""`` goes back to that. A cleanup under way keeps its settings.

        Raises ``InvalidInput`` naming the value and what is allowed; then nothing was changed.
        """
        changes: dict[str, Any] = {"interval": interval, "max_age": max_age}
        changes = {name: value for name, value in changes.items() if value is not None}
        check(changes)
        own = CleanerSettings.of(self.pk)
        if model == "":
            changes |= {"model": "", "field": ""}
        elif model is not None or field is not None:
            chosen = choose(own.model if model is None else model, field or "")
            changes |= dict(zip(("model", "field"), chosen, strict=True))
        before = own.interval_in_force
        CleanerSettings.objects.update_or_create(object_id=self.pk, defaults=changes)
        progress = CleanerProgress.of(self.pk)
        if interval is not None and progress.planned_at is not None and progress.running_since is None:
            self._plan(_first_ahead(progress.planned_at - before + interval, interval))

    @exclusive
    def start(self) -> datetime | None:
        """Plan cleanups again after ``stop()``, the first an interval from now; return when the next is."""
        if CleanerProgress.of(self.pk).stopped:
            CleanerProgress.note(self.pk, stopped=False)
            self._plan(now() + CleanerSettings.of(self.pk).interval_in_force)
        return self.storage.get_alarm()

    @exclusive
    def stop(self) -> bool:
        """Plan nothing more until ``start()``. Return whether that is new. A cleanup under way ends with its chunk."""
        progress = CleanerProgress.of(self.pk)
        if progress.stopped:
            return False
        under_way = CleanerRun.open_of(self.pk)
        if under_way is not None:
            under_way.end(now(), error="stopped")
        CleanerProgress.note(self.pk, stopped=True, planned_at=None, running_since=None)
        self.storage.delete_alarm()
        return True

    def cleanup(self, dry_run: bool = False, *, on_chunk: OnChunk = ignore) -> int:
        """Clean now, whatever is planned. Return how many rows were deleted, or with ``dry_run`` would be.

        Works in chunks of a tenth of a second, each a turn of its own, so that other calls on the object run in
        between, and loads no entries. When it raises, the chunks before stay deleted. Inside a turn of the
        object it would be one long one, so there it raises ``DurableObjectError``, unless in ``unlocked()``. The alarm
        calls it too: then it continues the planned cleanup, for ``BUDGET``. A subclass may override it.
        """
        if self.in_turn and not dry_run:
            raise DurableObjectError(
                f"{self.key}: cleanup() in a turn of the same object would keep it locked for as long as it takes. "
                "Call it outside of the turn, or in `with self.unlocked():`."
            )
        if self._planned is not None and not dry_run:
            target = self.target(self._planned.target)
            clean(self, target, self._planned, within=defaults.BUDGET, on_chunk=on_chunk)
            return self._planned.removed
        if dry_run:
            return self.look(on_chunk=on_chunk).expired
        settings = self._settings()
        older_than, target = now() - settings.max_age_in_force, self.target(settings.target)
        begin = {"target": target.name, "started_at": now(), "older_than": older_than}
        run = self.run_exclusive(lambda: CleanerRun.begin(self.pk, **begin))
        try:
            clean(self, target, run, within=None, on_chunk=on_chunk)
        except BaseException as error:
            with suppress(DatabaseError):
                run.end(now(), error=_described(error))
            raise
        run.end(now(), **self._left(run))
        return run.removed

    def look(self, *, within: timedelta | None = None, on_chunk: OnChunk = ignore, sample: int = 0) -> Counted:
        """Count as ``cleanup(dry_run=True)`` does, as far as it gets in the time given, with the first ``sample`` rows
        that would be deleted.
        """
        settings = self._settings()
        older_than, target = now() - settings.max_age_in_force, self.target(settings.target)
        return count(target, older_than, within=within, on_chunk=on_chunk, sample=sample)

    def target(self, name: str) -> Target:
        """Return what is cleaned, by its name in a ``CleanerRun``. Raises ``InvalidInput`` when it is not allowed."""
        if name == OwnStorage.name:
            return OwnStorage(self)
        label, _, field = name.rpartition(".")
        return ModelRows(label, field)

    def size(self, at_most: int) -> int:
        """Count the rows where it cleans, up to ``at_most``."""
        return self.target(self._settings().target).size(at_most)

    def last_report(self) -> dict[str, Any] | None:
        """Return the last cleanup that ended; None before the first. Moments are aware.

        ``target``, ``planned_at`` (None: by hand), ``started_at``, ``ended_at``, ``examined``, ``removed``, ``chunks``,
        ``longest_chunk``, ``remaining`` (expired rows it left, at least; None: not known), ``oldest_left``,
        ``in_seconds`` (entries left alone, whose timestamp looks like seconds), ``next_at``, ``error`` (empty when
        it ended well).
        """
        own = CleanerRun.objects.filter(object__in=type(self).objects.filter(name=self.name), ended_at__isnull=False)
        run = own.order_by("-id").first()
        return None if run is None else {name: getattr(run, name) for name in REPORTED}

    def alarm(self, info: AlarmInfo) -> None:
        """Make a planned cleanup or its rest, unlocked, for ``BUDGET``; then plan the next, or continue at once."""
        moment = now()
        CleanerProgress.note(self.pk, running_since=moment)
        run = CleanerRun.open_of(self.pk)
        if run is None:
            own = CleanerSettings.of(self.pk)
            begin = {"target": own.target, "started_at": moment, "older_than": moment - own.max_age_in_force}
            run = CleanerRun.begin(self.pk, planned_at=info.scheduled_at, **begin)
        try:
            with self.unlocked():
                self._planned = run
                self.cleanup()
                through = run.cursor is None
                left = self._left(run) if through else {}
        except CleanupEnded:
            CleanerProgress.note(self.pk, running_since=None)
            return
        finally:
            self._planned = None
        if not through:
            self.storage.set_alarm(now())
            return
        if CleanerProgress.of(self.pk).stopped:
            CleanerProgress.note(self.pk, running_since=None)
        else:
            self._plan_next(info)
        run.end(now(), next_at=CleanerProgress.of(self.pk).planned_at, **left)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """Plan the next cleanup, from the beginning, although this one failed for good."""
        if not CleanerProgress.of(self.pk).stopped:
            self._plan_next(info)
        run = CleanerRun.open_of(self.pk)
        if run is not None:
            run.end(now(), error=_described(error), next_at=CleanerProgress.of(self.pk).planned_at)

    def _left(self, run: CleanerRun) -> dict[str, Any]:
        """Log a finished cleanup, and return what it left behind."""
        logger.info("Cleaner %r: %s of %s rows removed (%s)", self.name, run.removed, run.examined, run.target)
        if run.in_seconds:
            logger.warning("Cleaner %r: %s", self.name, in_seconds(run.in_seconds))
        left = count(self.target(run.target), run.older_than, within=LOOK_FOR)
        return {"remaining": left.expired}

    def _plan_next(self, info: AlarmInfo) -> None:
        """Plan the first time still ahead, counted from the plan and not from now."""
        planned = CleanerProgress.of(self.pk).planned_at or info.scheduled_at
        self._plan(_first_ahead(planned, CleanerSettings.of(self.pk).interval_in_force))

    def _plan(self, at: datetime) -> None:
        CleanerProgress.note(self.pk, planned_at=at, running_since=None)
        self.storage.set_alarm(at)

    def _settings(self) -> CleanerSettings:
        """Return the settings in force, read without creating the object."""
        own = CleanerSettings.objects.filter(object__in=type(self).objects.filter(name=self.name)).first()
        return own or CleanerSettings()


def in_seconds(number: int) -> str:
    """Describe ``number`` entries whose timestamp looks like seconds."""
    are = "entry is left alone: its" if number == 1 else "entries are left alone: their"
    return (
        f"{number:,} {are} timestamp looks like seconds since the epoch. Milliseconds are expected, and as such it "
        "would be a day of 1970."
    )


def _first_ahead(planned: datetime, interval: timedelta) -> datetime:
    """Return the first of ``planned``, ``planned + interval`` … that is still ahead: late runs cause no drift."""
    moment = now()
    return rules.make(every=interval, start=planned, now=moment).first(moment)


def _described(error: BaseException) -> str:
    return named(error)[:2_000]
