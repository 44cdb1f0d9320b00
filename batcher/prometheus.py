"""The figures of batches and waiting items for ``durable_objects.prometheus``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from batcher.models import Batch, Batcher
from batcher.queue import queue_lengths
from durable_objects.operations import metrics
from durable_objects.prometheus import LATELY, NEWEST, collector

#: Waiting items are counted for the batchers among the alarms that are due first: how many of these.
DUE_FIRST = 1_000


@collector
def batches(now: datetime) -> Iterator[Metric]:
    """Yield what is still to be delivered, and how the newest batches stand."""
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


@collector
def waiting_items(now: datetime) -> Iterator[Metric]:
    """Yield how many items wait for a batch."""
    due_first = metrics.first_due(Batcher, now, DUE_FIRST)
    waiting = sum(queue_lengths(due_first.values_list("pk", flat=True)).values())
    text = f"Items that wait for a batch, of the batchers among the {DUE_FIRST} alarms that are due first."
    yield GaugeMetricFamily("batcher_items_waiting", text, waiting)
