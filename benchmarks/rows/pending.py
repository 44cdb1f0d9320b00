"""Row 8: a million alarms for tomorrow are rows, and cost nothing else."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from django.contrib.contenttypes.models import ContentType
from django.db import connection

from benchmarks.measuring import QUICK, Figure, Result, many, percentile
from benchmarks.row import Target, row
from benchmarks.rows.firing import DUE_TOGETHER, lateness
from benchmarks.stage import Stage, unique
from durable_objects.delivery import dispatcher
from tests.models import Ticker
from tests.support.site_processes import Site

MANY = many(1_000_000)
#: Of a thousand alarms each, between two looks at memory: processes grow by running any, a little and in jumps.
ROUNDS = 3
#: Whose lateness counts, by the median: that of one differs by a tenth from the next.
LATE_ROUNDS = 7
#: Before anything is compared; a dispatcher has pruned twice by then, which is one of the jumps.
WARM_UP_SECONDS = 0 if QUICK else 1.1 * dispatcher.PRUNE_EVERY
#: So many each second for ten seconds, of which the fastest tenth counts: what the machine is at is not their time.
PASSES, SECONDS_OF_PASSES = 100, 10


@row(
    8,
    "1,000,000 alarms pending for tomorrow",
    memory=Target(0, 0, at_most=True),
    dispatch_pass=Target(1.1, 1.0, at_most=True),
    lateness=Target(1.1, 1.0, at_most=True),
)
def million(stage: Stage) -> Result:
    """Growth of worker and dispatcher (MB) beyond what as many runs make it; a pass, lateness: against 1,000."""
    return growth(stage, store, 1_000, MANY)


def growth(stage: Stage, store: Callable[[int], None], few: int, much: int) -> Result:
    """Figures with few pending, and with many more, as ``store`` stores them."""
    with stage.running() as site:
        store(few)
        sizes: list[float] = []
        warm = time.monotonic() + WARM_UP_SECONDS
        while len(sizes) <= ROUNDS or time.monotonic() < warm:
            _rounds(site, 1)
            sizes.append(_memory(site))
        before = measure(site)
        broker = _broker_memory()
        store(much)
        after = measure(site)
        broker = _broker_memory() - broker
    usual = max(later - earlier for earlier, later in zip(sizes, [*sizes[ROUNDS:], before["memory"]], strict=False))
    grown = after["memory"] - before["memory"]
    figures = {
        f"{name}, {count} pending": Figure((measured[name],), unit)
        for name, unit in (("memory", "MB"), ("pass", "ms"), ("p99", "ms"))
        for count, measured in (("1,000", before), ("1,000,000", after))
    }
    ratios = {
        "memory": round(max(grown - usual, 0.0), 1),
        "dispatch_pass": after["pass"] / before["pass"],
        "lateness": after["p99"] / before["p99"],
    }
    note = (
        f"ours grew in {ROUNDS} rounds of {DUE_TOGETHER:,} alarms by {usual:.1f} MB at most with 1,000 pending, by "
        f"{grown:.1f} with 1,000,000; RabbitMQ by {broker:.1f}"
    )
    return Result(figures, ratios, [note])


def measure(site: Site) -> dict[str, float]:
    """Memory of the processes, the time of a pass, lateness of what is due together."""
    late = _rounds(site, ROUNDS)
    memory = _memory(site)  # after as many rounds as it is held against
    late += _rounds(site, LATE_ROUNDS - ROUNDS)
    passes = []
    for _ in range(SECONDS_OF_PASSES):
        time.sleep(1)
        for _ in range(PASSES):
            start = time.perf_counter()
            dispatcher._claim(None)  # with the memory broker of this process a pass would not look
            passes.append((time.perf_counter() - start) * 1e3)
    return {"memory": memory, "pass": percentile(passes, 10), "p99": statistics.median(late)}


def _rounds(site: Site, count: int) -> list[float]:
    """Lateness of what is due together, that often."""
    return [percentile(lateness(site, Ticker, DUE_TOGETHER), 99) for _ in range(count)]


def store(count: int) -> None:
    """Store this number of alarms for tomorrow, past the engine."""
    prefix = unique("pending")
    kind = ContentType.objects.get_for_model(Ticker, for_concrete_model=False)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH made AS (INSERT INTO durable_objects_object (kind_id, name) "
            "SELECT %s, %s || n FROM generate_series(1, %s) n RETURNING id, kind_id) "
            "INSERT INTO durable_objects_alarm (object_id, kind_id, state, scheduled_at, due_at, retry_count, "
            "crashed_starts, generation, fence, wake_up_number, wake_ups_lost, last_error) "
            "SELECT id, kind_id, 'armed', at, at, 0, 0, 1, 0, 0, 0, '' FROM "
            "(SELECT id, kind_id, now() + interval '1 day' + random() * interval '1 hour' AS at FROM made) times",
            [kind.pk, prefix, count],
        )
        cursor.execute("ANALYZE durable_objects_object, durable_objects_alarm")


def _memory(site: Site) -> float:
    """MB that belong to worker, its pool and dispatcher."""
    return sum(_rss(pid) for process in site.processes for pid in (process.pid, *process.children()))


def _broker_memory() -> float:
    """MB that belong to RabbitMQ, if it runs on this machine."""
    beam = subprocess.run(["pidof", "beam.smp"], capture_output=True, text=True, check=False).stdout.split()
    return sum(_rss(int(pid)) for pid in beam)


def _rss(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
