"""For tests: a clock that stands still, and alarms run by hand, without a broker or a worker.

Works in ``TestCase`` and ``TransactionTestCase``. See ``pytest_plugin`` for the fixtures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import Exists, OuterRef

from durable_objects import failpoints, kinds
from durable_objects.alarms import predicates
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import publisher
from durable_objects.execution.executor import fire
from durable_objects.failpoints import SimulatedCrash
from durable_objects.tables import Alarm, AlarmRun, Object

__all__ = ["FakeClock", "SimulatedCrash", "crash_at", "run_due_alarms"]


class FakeClock:
    """The time that alarms are judged by, frozen for the whole process, threads too, the database's clock included.

    Starts at ``start`` (aware; default: the real now). While it is open nothing is published to the broker. Raises
    ``RuntimeError`` when one is open already or a worker runs in this process: its thread would see the fake time.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.utcoffset() is None:
            raise ValueError(f"FakeClock start {start!r} is naive: give it a time zone")
        self._start = start
        self._now = start or datetime.now(UTC)

    def __enter__(self) -> Self:
        if clock.fake is not None:
            raise RuntimeError("a FakeClock is open already")
        if publisher.has_worker():
            raise RuntimeError("a worker runs in this process: stop it before the clock is faked")
        self._now = (self._start or datetime.now(UTC)).astimezone(UTC)
        clock.fake = self.now
        return self

    def __exit__(self, *exc_info: object) -> None:
        clock.fake = None

    def now(self) -> datetime:
        """Return the frozen time, in UTC."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the clock on. Runs nothing by itself."""
        self._now += by

    def move_to(self, when: datetime) -> None:
        """Set the clock to an aware time, earlier or later."""
        if when.utcoffset() is None:
            raise ValueError(f"move_to({when!r}) is naive: give it a time zone")
        self._now = when.astimezone(UTC)


def run_due_alarms(limit: int = 1000, raise_errors: bool = False) -> list[AlarmRun]:
    """Run what is due, oldest first, until nothing is, as a worker would but without a broker.

    Returns one row per call of ``alarm()`` or of a schedule's method, in order. With ``raise_errors`` the first error
    of one is raised, after it was counted. Raises ``RuntimeError`` when ``limit`` runs were made and more is due:
    something re-arms itself for now.
    """
    before = AlarmRun.objects.using(engine.DATABASE).order_by("-id").values_list("id", flat=True).first() or 0
    runs = AlarmRun.objects.using(engine.DATABASE).filter(id__gt=before).exclude(outcome="skipped").order_by("id")
    skipped: set[int] = set()
    runnable = list(kinds.runnable())
    for _ in range(limit):
        due = _next_due(runnable, skipped)
        if due is None:
            return list(runs)
        fired = fire(due, retry_is_sent=False)
        if raise_errors and fired.error is not None:
            raise fired.error
        if fired.verdict.value in {"dropped", "again"}:
            skipped.add(due)
        else:
            skipped.clear()  # the handler may have set the alarm of one of them
    if _next_due(runnable, skipped) is None:
        return list(runs)
    raise RuntimeError(f"{limit} alarms were run and more are due: does a handler set its alarm for now each time?")


@contextmanager
def crash_at(point: str) -> Iterator[None]:
    """Let the process "die" at the named point: ``SimulatedCrash`` is raised there, which only the test catches.

    What is committed stays, what is not is rolled back, as after ``kill -9``. Points: ``turn.before_commit``,
    ``turn.after_commit``, ``turn.unlocked``, ``turn.locked_again``, ``firing.before_handler``,
    ``firing.after_handler``, ``bell.before_publish``, ``dispatch.marked``, and those of the apps.
    """
    failpoints.raise_at = point
    try:
        yield
    finally:
        failpoints.raise_at = ""


def _next_due(of_kinds: list[int], skipped: set[int]) -> int | None:
    now = clock.now()
    due = Alarm.objects.using(engine.DATABASE).filter(predicates.due(now) & predicates.free(now))
    # Not by a join: SQLite would begin it with all objects of these kinds.
    known = Exists(Object.objects.using(engine.DATABASE).filter(pk=OuterRef("pk"), kind__in=of_kinds))
    due = due.filter(known).exclude(pk__in=skipped)
    return due.order_by("wake_at", "pk").values_list("pk", flat=True).first()
