"""The figures behind ``/metrics``, read from the database for each scrape: the same from every process.

Nothing is counted further than a bound, so that a site with a million alarms answers as fast as an empty one.
"""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from importlib import metadata
from itertools import accumulate

import celery
import django
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.models import Max
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from batcher.models import Batch, Batcher
from batcher.queue import queue_lengths
from durable_objects import now as database_now
from durable_objects.conf import engine
from durable_objects.models import AlarmRun, Dispatcher, DurableObject
from durable_objects.operations import metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: What a scrape looks like, for the description of the route.
EXAMPLE = {"schema": {"type": "string"}, "example": 'durable_objects_alarms{state="overdue"} 0.0\n'}
#: How far back runs and batches are counted, and how many of the newest at most.
LATELY = timedelta(minutes=5)
NEWEST = 1_000
#: Waiting items are counted for the batchers among the alarms that are due first: how many of these.
DUE_FIRST = 1_000
#: The upper ends of the histogram of lateness, in seconds.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))


def exposition() -> bytes:
    """Return all figures in Prometheus' text format (``CONTENT_TYPE``). Raises what the database raises."""
    registry = CollectorRegistry()
    registry.register(_Database())
    return generate_latest(registry)


class _Database(Collector):
    def collect(self) -> Iterator[Metric]:
        now = database_now()
        yield _build()
        yield from _alarms(now)
        yield from _dispatcher(now)
        yield _lateness(now)
        yield from _batches(now)
        yield _waiting(now)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: registering must not read the database."""
        return iter(())


@cache
def _version() -> str:
    try:
        return metadata.version("django-durable-objects")
    except metadata.PackageNotFoundError:  # run from its sources
        return "unreleased"


def _build() -> Metric:
    versions = {
        "version": _version(),
        "python": platform.python_version(),
        "django": django.__version__,
        "celery": celery.__version__,
        "database": connections[engine.DATABASE].vendor,
    }
    info = GaugeMetricFamily("durable_objects_build_info", "What runs here; always 1.", labels=list(versions))
    info.add_metric(list(versions.values()), 1)
    return info


def _alarms(now: datetime) -> Iterator[Metric]:
    alarms = GaugeMetricFamily(
        "durable_objects_alarms",
        f"Alarms by state, counted to {metrics.COUNTED_TO}; armed ones beyond that are estimated on PostgreSQL. "
        "The states overlap: overdue (due for 10 s, nobody runs it) is part of due, due and retrying of armed. "
        "Running: unlocked. Parked: of a class that this process does not know.",
        labels=["state"],
    )
    alarms.add_metric(["armed"], metrics.armed(now))
    for state, count in metrics.counts(now, ["due", "overdue", "retrying", "running", "dead", "parked"]).items():
        alarms.add_metric([state], count)
    yield alarms
    oldest = metrics.oldest_overdue(now)
    seconds = (now - oldest.due_at).total_seconds() if oldest and oldest.due_at else 0.0
    yield GaugeMetricFamily(
        "durable_objects_oldest_overdue_seconds", "For how long the oldest overdue alarm has been due.", seconds
    )
    out = metrics.wake_ups_out(now)
    yield GaugeMetricFamily("durable_objects_wake_ups_out", "Alarms that wait for a published wake-up.", out)


def _dispatcher(now: datetime) -> Iterator[Metric]:
    last = Dispatcher.objects.aggregate(last=Max("last_pass_at"))["last"]
    if last is not None:
        text = "How long ago some dispatcher made its last pass; missing where none ever did."
        seconds = (now - last).total_seconds()
        yield GaugeMetricFamily("durable_objects_dispatcher_last_pass_seconds", text, seconds)


def _lateness(now: datetime) -> Metric:
    late: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * len(BUCKETS))
    total: dict[tuple[int, str], float] = defaultdict(float)
    runs = AlarmRun.objects.filter(ended_at__gt=now - LATELY).order_by("-ended_at")
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
        histogram.add_metric([_class_of(kind), outcome], buckets, total[kind, outcome])
    return histogram


def _batches(now: datetime) -> Iterator[Metric]:
    unfinished = GaugeMetricFamily(
        "batcher_batches_unfinished",
        f"Batches that are still to be delivered, counted to {metrics.COUNTED_TO}.",
        labels=["status"],
    )
    for status in (Batch.Status.OPEN, Batch.Status.SET_ASIDE):
        unfinished.add_metric([status.value], metrics.count(Batch.objects.unfinished().filter(status=status)))
    yield unfinished
    newest = Batch.objects.filter(sealed_at__gt=now - LATELY).order_by("-sealed_at")
    found = Counter(newest.values_list("status", flat=True)[:NEWEST])
    lately = GaugeMetricFamily(
        "batcher_batches_sealed_lately",
        f"Batches sealed in the last {LATELY.seconds // 60} minutes, at most the {NEWEST} newest, by how they stand.",
        labels=["status"],
    )
    for status in Batch.Status:
        lately.add_metric([status.value], found[status.value])
    yield lately


def _waiting(now: datetime) -> Metric:
    waiting = sum(queue_lengths(metrics.first_due(Batcher, now, DUE_FIRST).values_list("pk", flat=True)).values())
    text = f"Items that wait for a batch, of the batchers among the {DUE_FIRST} alarms that are due first."
    return GaugeMetricFamily("batcher_items_waiting", text, waiting)


def _class_of(kind: int) -> str:
    content_type = ContentType.objects.get_for_id(kind)
    model = content_type.model_class()
    if model is not None and issubclass(model, DurableObject):
        return model._meta.label
    return f"{content_type.app_label}.{content_type.model}"
