"""The figures of all alarms, and those that apps bring in a module ``prometheus``, in Prometheus' text format.

They are read from the database for each scrape, so every process gives the same; nothing is counted further than a
bound, so that a site with a million alarms answers as fast as an empty one. Needs the extra ``metrics``.

# shop/prometheus.py
from durable_objects.prometheus import collector
from prometheus_client.core import GaugeMetricFamily

@collector
def carts(now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily("shop_carts", "Carts with something in them.", Cart.objects.count())
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache
from importlib import metadata
from itertools import accumulate

import django
from django.db.models import Max
from django.utils.module_loading import autodiscover_modules
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from durable_objects import kinds
from durable_objects.alarms.queries import SetAside
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.connection import SECONDS_TO_ANSWER, answered
from durable_objects.operations import metrics
from durable_objects.operations.processes import workers
from durable_objects.operations.schedules import schedules_in
from durable_objects.tables import AlarmRun, Dispatcher

__all__ = ["CONTENT_TYPE", "LATELY", "NEWEST", "collector", "exposition"]

Collect = Callable[[datetime], Iterable[Metric]]

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: How far back runs are counted, and how many of the newest at most.
LATELY = timedelta(minutes=5)
NEWEST = 1_000
#: The upper ends of the histogram of lateness, in seconds.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))

_of_apps: list[Collect] = []


def collector(collect: Collect) -> Collect:
    """Register a function that takes the database's now and yields metrics; it is called for each scrape."""
    if collect not in _of_apps:
        _of_apps.append(collect)
    return collect


def exposition() -> bytes:
    """Return all figures, those of installed apps' ``prometheus`` modules included, as ``CONTENT_TYPE``.

    Raises what the database raises, and what an app's function raises.
    """
    autodiscover_modules("prometheus")
    registry = CollectorRegistry()
    registry.register(_Database())
    return answered(lambda: generate_latest(registry), SECONDS_TO_ANSWER)


class _Database(Collector):
    def collect(self) -> Iterator[Metric]:
        now = clock.now()
        aside = SetAside.look(now)
        yield from _build()
        yield from _alarms(now, aside)
        yield from _pauses(now, aside)
        for collect in (_dispatcher, _workers, _lateness, *_of_apps):
            yield from collect(now)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: registering must not read the database."""
        return iter(())


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # run from its sources
        return "unreleased"


def _build() -> Iterator[Metric]:
    versions = {
        "version": _version("django-durable-objects"),
        "python": platform.python_version(),
        "django": django.__version__,
        "celery": _version("celery"),
        "database": clock.connection().display_name.lower(),
    }
    info = GaugeMetricFamily("durable_objects_build_info", "What runs here; always 1.", labels=list(versions))
    info.add_metric(list(versions.values()), 1)
    yield info


def _alarms(now: datetime, aside: SetAside) -> Iterator[Metric]:
    alarms = GaugeMetricFamily(
        "durable_objects_alarms",
        f"Alarms by state, counted to {metrics.COUNTED_TO}; armed ones beyond that are estimated on PostgreSQL. "
        "The states overlap: overdue (due for 10 s, nobody runs it) is part of due, due and retrying of armed. "
        "Running: unlocked. Parked: of a class that this process does not know. Neither these nor "
        "paused ones, nor those that wait for the limits of their class, are due.",
        labels=["state"],
    )
    alarms.add_metric(["armed"], metrics.armed(now))
    states = ["due", "overdue", "retrying", "running", "dead", "parked", "paused", "limited"]
    for state, number in metrics.counts(now, states, aside).items():
        alarms.add_metric([state], number)
    yield alarms
    yield _schedules(now)
    oldest = metrics.oldest_overdue(now, aside=aside)
    seconds = (now - oldest.wake_at).total_seconds() if oldest and oldest.wake_at else 0.0
    yield GaugeMetricFamily(
        "durable_objects_oldest_overdue_seconds", "For how long the oldest overdue alarm has been due.", seconds
    )
    out = metrics.wake_ups_out(now)
    yield GaugeMetricFamily("durable_objects_wake_ups_out", "Alarms that wait for a published wake-up.", out)


def _schedules(now: datetime) -> Metric:
    found = GaugeMetricFamily(
        "durable_objects_schedules",
        f"Named schedules of objects by state, counted to {metrics.COUNTED_TO}. Retrying is part of armed; dead: whose "
        "last dead occurrence nobody has revived, while the schedule may go on.",
        labels=["state"],
    )
    rows = {state: schedules_in(state, now).order_by() for state in ("armed", "retrying", "dead")}
    for state, number in metrics.count_each(rows).items():
        found.add_metric([state], number)
    return found


def _pauses(now: datetime, aside: SetAside) -> Iterator[Metric]:
    found = aside.paused
    standing = GaugeMetricFamily("durable_objects_pauses", "Pauses that stand, by what they hold.", labels=["scope"])
    standing.add_metric(["everything"], int(found.everything))
    standing.add_metric(["class"], len(found.kinds))
    standing.add_metric(["object"], len(found.objects))
    yield standing
    text = f"Alarms that would run now if they were not paused, counted to {metrics.COUNTED_TO}."
    yield GaugeMetricFamily("durable_objects_paused_due", text, metrics.paused_due(now, aside) if found.is_any else 0)


def _dispatcher(now: datetime) -> Iterator[Metric]:
    last = Dispatcher.objects.using(engine.DATABASE).aggregate(last=Max("last_pass_at"))["last"]
    if last is not None:
        text = "How long ago some dispatcher made its last pass; missing where none ever did."
        seconds = (now - last).total_seconds()
        yield GaugeMetricFamily("durable_objects_dispatcher_last_pass_seconds", text, seconds)


def _workers(now: datetime) -> Iterator[Metric]:
    found = workers(now)
    text = "Workers by state: alive, or silent (killed, hanging or cut off), for a day."
    processes = GaugeMetricFamily("durable_objects_workers", text, labels=["state"])
    processes.add_metric(["alive"], found.number)
    processes.add_metric(["silent"], found.silent)
    yield processes
    text = "Threads (processes, in a prefork pool) of the workers that live, and how many of them are at work."
    threads = GaugeMetricFamily("durable_objects_worker_threads", text, labels=["state"])
    threads.add_metric(["all"], found.threads)
    threads.add_metric(["busy"], found.busy)
    yield threads
    seconds = found.longest.total_seconds() if found.longest else 0.0
    text = "For how long the worker thread that has been at work for longest has been."
    yield GaugeMetricFamily("durable_objects_worker_busy_seconds", text, seconds)


def _lateness(now: datetime) -> Iterator[Metric]:
    late: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * len(BUCKETS))
    total: dict[tuple[int, str], float] = defaultdict(float)
    runs = AlarmRun.objects.using(engine.DATABASE).filter(ended_at__gt=now - LATELY).order_by("-ended_at")
    for kind, outcome, started, due in runs.values_list("object__kind", "outcome", "started_at", "due_at")[:NEWEST]:
        seconds = max((started - due).total_seconds(), 0.0)
        late[kind, outcome][next(n for n, end in enumerate(BUCKETS) if seconds <= end)] += 1
        total[kind, outcome] += seconds
    histogram = GaugeHistogramMetricFamily(
        "durable_objects_run_lateness_seconds",
        f"From when a run was due to its start: of the last {LATELY.seconds // 60} minutes, at most the {NEWEST} "
        "newest runs. What is due and waits is in durable_objects_oldest_overdue_seconds. It can shrink: no counter.",
        labels=["class", "outcome"],
    )
    for (kind, outcome), counts in late.items():
        names = ["+Inf" if end == float("inf") else str(end) for end in BUCKETS]
        buckets = list(zip(names, accumulate(counts), strict=True))
        histogram.add_metric([kinds.label_of(kind), outcome], buckets, total[kind, outcome])
    yield histogram
