"""Row 17: reminders against one-off rows of django-celery-beat."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from benchmarks.measuring import QUICK, Figure, Result, many, percentile
from benchmarks.row import Target, row
from benchmarks.rows.firing import stamped
from benchmarks.rows.idling import cpu_seconds, memory
from benchmarks.stage import Stage, count_of_runs, last_run, now, runs_since, unique, wait_until, worker
from durable_objects.models import Object
from project.demo.processes import Failure
from reminders.models import Plan, Reminder
from tests.support.site_processes import Process

REMINDERS = many(10_000)
#: From the start of beat or dispatcher until all are due, and from then on until what is missing is given up.
SECONDS_AHEAD, SECONDS_TO_RUN = (10, 30) if QUICK else (12, 20)
SECONDS_TO_START = 60.0
PEER = "benchmarks.peers.celery_app"
BEAT = ["-m", "celery", "-A", PEER, "beat", "--scheduler", "django_celery_beat.schedulers:DatabaseScheduler"]


@dataclass(frozen=True)
class Seen:
    """What one side did: lateness of those that ran (seconds), what its process that knows the times cost."""

    lateness: Sequence[float]
    start_up: float
    megabytes: float
    cpu: float

    @property
    def p99(self) -> float:
        """Lateness in seconds; what has not run is as late as the wait was long."""
        missing = REMINDERS - len(self.lateness)
        return percentile([*self.lateness, *[float(SECONDS_TO_RUN)] * missing], 99)


@row(
    17,
    "10,000 reminders due in the same second",
    lateness=Target(1, 0.5, at_most=True),
    memory=Target(1, 0.5, at_most=True),
    cpu=Target(1, 0.5, at_most=True),
    start_up=Target(1, 0.5, at_most=True),
)
def reminding(stage: Stage) -> Result:
    """Ours are delivered to the log, each on record before and after; tasks that beat sends write down that they start.
    Memory and CPU (until all have run) of the dispatcher and of beat; and how long either takes, from its start on, to
    what was due before it, with all others pending.
    """
    result = Result()
    sides = {"ours": (_ours(stage), "dispatcher"), "django-celery-beat": (_beat(stage), "beat")}
    for name, (seen, process) in sides.items():
        result.figures[f"{name}: lateness p99"] = Figure((seen.p99,), "s")
        result.figures[f"{name}: run"] = Figure((len(seen.lateness) / max(seen.lateness),), "a second")
        result.figures[f"{name}: start of the {process}"] = Figure((seen.start_up,), "s")
        result.figures[f"{name}: memory of the {process}"] = Figure((seen.megabytes,), "MB")
        result.figures[f"{name}: CPU of the {process}"] = Figure((seen.cpu,), "s of CPU")
        if len(seen.lateness) < REMINDERS:
            left = REMINDERS - len(seen.lateness)
            result.notes.append(f"{name}: {left:,} had not run {SECONDS_TO_RUN} s after they were due")
    ours, beat = (seen for seen, _ in sides.values())
    result.ratios = {
        "lateness": ours.p99 / beat.p99,
        "memory": ours.megabytes / beat.megabytes,
        "cpu": ours.cpu / beat.cpu,
        "start_up": ours.start_up / beat.start_up,
    }
    return result


def _ours(stage: Stage) -> Seen:
    with stage.site() as site:
        worker(site, "benchmarks.worker_app")
        mark, due = last_run(), now() + SECONDS_AHEAD
        _set([due] * REMINDERS)
        _set([begun := now()])
        dispatcher = site.dispatcher()
        wait_until("the one that is due", lambda: runs_since(mark), SECONDS_TO_START)
        _, started, _, _ = min(runs_since(mark))
        seen = _watched(dispatcher, due, lambda: count_of_runs(mark) > REMINDERS)
    late = [began - due for at, began, _, _ in runs_since(mark) if at > begun + 1]
    return Seen(late, started - begun, *seen)


def _set(times: list[float]) -> None:
    """Set reminders as ``set_reminder`` would, all at once. Nobody is told: this process has no broker."""
    moments = {unique(f"reminder-{n}-"): datetime.fromtimestamp(at, UTC) for n, at in enumerate(times)}
    Reminder.objects.set_alarms(moments)
    pks = dict(Object.objects.filter(name__in=moments).values_list("name", "pk"))
    Plan.objects.bulk_create(
        Plan(
            object_id=pks[name], message="to be remembered", time_zone="UTC", channels=["log"],
            fire_at=at, occurrence=at, next_at=at, start_wall_time=wall, wall_time=wall,
        )
        for name, at in moments.items()
        for wall in [at.replace(tzinfo=None).isoformat()]
    )  # fmt: skip


def _beat(stage: Stage) -> Seen:
    with stage.site() as site:
        stamps = site.folder / "stamps"
        worker(site, PEER, STAMPS=str(stamps))
        due = now() + SECONDS_AHEAD
        _set_rows([due] * REMINDERS)
        begun = now()
        _set_rows([begun], [0])  # writes down when it starts
        beat = site.start("beat", *BEAT, READY_FILE=str(site.folder / "none"))
        try:
            wait_until("the one that is due", lambda: stamped(stamps), SECONDS_TO_START)
            seen = _watched(beat, due, lambda: len(stamped(stamps)) > REMINDERS)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE django_celery_beat_periodictask, django_celery_beat_clockedschedule")
        *late, started = sorted(stamped(stamps))
    return Seen(late, started - begun, *seen)


def _set_rows(times: list[float], arguments: list[float] | None = None) -> None:
    """Set one-off rows of beat's, each with a schedule of its own, as for people who choose their times."""
    schedules = ClockedSchedule.objects.bulk_create(
        ClockedSchedule(clocked_time=datetime.fromtimestamp(at, UTC)) for at in times
    )
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=unique(f"{n}-"), task=f"{PEER}.stamp", args=json.dumps([due]), clocked=schedule, one_off=True)
        for n, (due, schedule) in enumerate(zip(arguments or times, schedules, strict=True))
    )


def _watched(process: Process, due: float, done: Callable[[], bool]) -> tuple[float, float]:
    """Wait until all is done, or given up; MB of the process before, seconds of its CPU by then."""
    megabytes = memory([process])
    with suppress(Failure):
        wait_until("all to have run", done, due - now() + SECONDS_TO_RUN)
    return megabytes, cpu_seconds([process])
