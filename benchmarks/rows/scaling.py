"""Row 20 (asked for by its number): more hosts against one PostgreSQL and one broker, and what is full first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.busy import Shares, microseconds, told, watched
from benchmarks.hosts import from_hosts, hosts, on_host
from benchmarks.measuring import QUICK, Figure, Result, many
from benchmarks.row import row
from benchmarks.rows.firing import arm
from benchmarks.stage import Stage, last_run, now, unique, wait_for_runs
from durable_objects.models import DurableObject
from tests.models import Once, Ticker
from tests.support.site_processes import Site

COUNTS = (1, 2) if QUICK else (1, 2, 4)
#: Alarms of a class with groups, and of one without.
CLASSES: dict[str, tuple[type[DurableObject], int]] = {"": (Ticker, many(10_000)), " ordinary": (Once, many(4_000))}
SECONDS, REPEATS = 1 if QUICK else 4, 1 if QUICK else 3

_ADD = """
import time
from batcher.models import Batcher
one = Batcher.objects.get_by_name({name!r})
one.add_item("x" * 100)
time.sleep(max({start} - time.time(), 0))
count, end = 0, {start} + {seconds}
while time.time() < end:
    one.add_item("x" * 100)
    count += 1
print("added", count, flush=True)
"""


@row(20, "Fires and adds per second by the number of hosts")
def scaling(stage: Stage) -> Result:
    """Each host has one core, if there are so many, and on it one worker process, or one caller with a batcher of its
    own: two hosts against one are what one more core of workers brings. What an alarm costs whom is in the notes.
    """
    result = Result()
    for count in COUNTS:
        with _hosted(stage, count) as (site, names):
            for number, name in enumerate(names):
                worker = ["-m", "celery", "-A", "benchmarks.worker_app", "worker", "-n", f"w{number}@{name}"]
                options = ["--pool", "prefork", "--concurrency", "1", "--loglevel", "WARNING", "--without-gossip"]
                ready = site.folder / f"{name}.ready"
                site.start(f"worker-{name}", *on_host(name, [*worker, *options], core=number), READY_FILE=str(ready))
                site.wait_for(f"{name} to be ready", ready.exists, seconds=40)
            site.dispatcher()
            those = "1 host" if count == 1 else f"{count} hosts"
            for kind, (model, alarms) in CLASSES.items():
                fires = [_fires(site, model, alarms) for _ in range(REPEATS + 1)][1:]
                result.figures[f"fires{kind}, {those}"] = Figure(tuple(fired.rate for fired in fires), "alarms/s")
                result.notes.append(f"{those} firing{kind}: {told([fired.shares for fired in fires])}; {_cost(fires)}")
            adding: list[Shares] = []
            adds = [_adds(site, names, adding) for _ in range(REPEATS)]
            result.figures[f"adds, {those}"] = Figure(tuple(adds), "adds/s")
            result.notes.append(f"{those} adding: {told(adding)}")
    return result


@dataclass(frozen=True)
class _Fires:
    """Alarms per second, whose the processors were, and what one alarm cost each, in microseconds of a processor."""

    rate: float
    shares: Shares
    cost: Shares


def _cost(fires: list[_Fires]) -> str:
    parts = {whose: statistics.median(each.cost[whose] for each in fires) for whose in fires[0].cost}
    return "an alarm " + ", ".join(f"{whose} {cost:.0f}" for whose, cost in parts.items()) + " µs"


@contextmanager
def _hosted(stage: Stage, count: int) -> Iterator[tuple[Site, list[str]]]:
    with stage.site() as site:
        ports = [urlsplit(url).port or 0 for url in (site.database_url, site.broker_url)]
        with hosts(count, *ports) as names:
            site.environment["DATABASE_URL"] = from_hosts(site.database_url)
            site.environment["CELERY_BROKER_URL"] = from_hosts(site.broker_url)
            try:
                yield site, names
            finally:
                for process in site.processes:
                    process.stop()


def _fires(site: Site, model: type[DurableObject], alarms: int) -> _Fires:
    mark, due = last_run(), arm(site, model, alarms, ahead=2 + alarms / 4_000)
    time.sleep(max(due - now(), 0))
    shares: list[Shares] = []
    begun = time.monotonic()
    with watched(shares):
        ended = [ended for _, _, ended, _ in wait_for_runs(mark, alarms, 120)]
    return _Fires(alarms / (max(ended) - due), shares[0], microseconds(shares[0], time.monotonic() - begun, alarms))


def _adds(site: Site, names: list[str], shares: list[Shares]) -> float:
    start, setup = time.time() + 4 + len(names), "import django; django.setup()\n"
    codes = [_ADD.format(name=unique("hosted"), start=start, seconds=SECONDS) for _ in names]
    processes = [
        site.brief(unique("adder"), *on_host(name, ["-c", setup + code], core=number))
        for number, (name, code) in enumerate(zip(names, codes, strict=True))
    ]
    time.sleep(max(start - time.time(), 0))
    with watched(shares):
        for process in processes:
            process.says("added ", seconds=60)
    return sum(int(process.text().split("added ")[1].split()[0]) for process in processes) / SECONDS
