"""Row 16: items that go out in batches, by the batcher and by celery-batches: how fast, and what a kill loses."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from benchmarks.measuring import QUICK, Figure, Result, many
from benchmarks.peers.environment import python_with
from benchmarks.row import NotRun, Target, row
from benchmarks.stage import Stage, unique, wait_until, worker
from project.demo.processes import Failure
from tests.support.site_processes import Process, Processes
from tests.support.upstream import Answer, Upstream

ITEMS, ITEMS_AT_A_KILL = many(3_000), many(2_000)
BATCH = 10 if QUICK else 100
#: Seconds that an item waits for others.
WINDOW = 1
CALLERS = 16
TIMES = 1 if QUICK else 2
SECONDS_TO_ARRIVE = 60.0
#: What is not there after this much is lost: a killed worker's run is taken over when its lease ends.
LEASE, SECONDS_AFTER_A_KILL = 5, 15.0
#: How long the upstream keeps a post before the worker is killed.
UNANSWERED = 3.0
PEER = "benchmarks.peers.celery_batches"

_GIVE = """
import time
from concurrent.futures import ThreadPoolExecutor
{give}
begun = time.monotonic()
with ThreadPoolExecutor({callers}) as callers:
    list(callers.map(lambda number: give(f"{{number:0100d}}"), range({first}, {last})))
print(begun)
"""


@dataclass(frozen=True)
class Side:
    """Who collects: its processes, Celery's app of the worker, and the code of ``give``, which takes an item."""

    processes: Processes
    app: str
    give: str


@row(16, "Items to an upstream in batches of 100", rate=Target(1, 2), lost=Target(0, 0, at_most=True))
def collecting(stage: Stage) -> Result:
    """From the first of 16 threads' calls until the last item is at the upstream; and what never gets there when the
    worker is killed with -9 halfway, its last posts not answered (so that they do not count), and started again: ours
    with a lease of 5 s, for whose end the next worker waits. celery-batches as it comes, and with messages that stay in
    the broker until their batch was posted (``acks_late``).
    """
    result, lost = Result(), {}
    sides: dict[str, Callable[[Stage, Upstream], AbstractContextManager[Side]]] = {
        "ours": _ours,
        "celery-batches": _peer,
        "celery-batches, late": lambda stage, upstream: _peer(stage, upstream, acks_late="1"),
    }
    for name, side in sides.items():
        try:
            with Upstream() as upstream, side(stage, upstream) as collector:
                running = worker(collector.processes, collector.app)
                rates = [_rate(upstream, collector) for _ in range(TIMES + 1)][1:]
                result.figures[name] = Figure(tuple(rates), "items/s")
                lost[name], note = _kill(upstream, collector, running)
        except NotRun as missing:
            result.notes.append(str(missing))
            break
        result.figures[f"{name}, worker killed"] = Figure((lost[name],), f"of {ITEMS_AT_A_KILL:,} items lost")
        result.notes.append(f"{name}, worker killed: {note}")
    result.ratios["lost"] = lost["ours"]
    if "celery-batches" in lost:
        result.ratios["rate"] = result.figures["ours"].median / result.figures["celery-batches"].median
    return result


@contextmanager
def _ours(stage: Stage, upstream: Upstream) -> Iterator[Side]:
    """A batcher, with a dispatcher."""
    settings = {"MAX_ITEMS": BATCH, "WINDOW": WINDOW, "UPSTREAM_URL": upstream.url, "MAX_QUEUED": 0}
    make = "import django; django.setup()\nfrom batcher.models import Batcher\n"
    with stage.site(LEASE=LEASE) as site:
        site.environment["BATCHER"] = json.dumps(settings)
        site.dispatcher()
        yield Side(site, "benchmarks.worker_app", f"{make}give = Batcher.objects.get_by_name({unique('x')!r}).add_item")


@contextmanager
def _peer(stage: Stage, upstream: Upstream, acks_late: str = "") -> Iterator[Side]:
    """celery-batches on a broker of the same kind. Raises ``NotRun`` where it is missing."""
    python = python_with("CELERY_BATCHES", "celery-batches", "celery_batches")
    with stage.site() as site:
        environment = {
            "CELERY_BROKER_URL": site.broker_url, "UPSTREAM_URL": upstream.url, "ACKS_LATE": acks_late,
            "MAX_ITEMS": f"{BATCH}", "WINDOW": f"{WINDOW}", "PATH": site.environment["PATH"],
        }  # fmt: skip
        with Processes(site.folder, environment, python=python) as processes:
            yield Side(processes, PEER, f"from {PEER} import collect\ngive = collect.delay")


def _give(side: Side, first: int, count: int) -> float:
    """Give items, numbered from the first on, by a process of callers; when it began, of the monotonic clock."""
    code = _GIVE.format(give=side.give, callers=CALLERS, first=first, last=first + count)
    return float(side.processes.run("-c", code, seconds=SECONDS_TO_ARRIVE))


def _rate(upstream: Upstream, side: Side) -> float:
    """Items per second until all have arrived."""
    upstream.received.clear()
    begun = _give(side, 0, ITEMS)
    wait_until("all items", lambda: len(upstream.items) >= ITEMS, SECONDS_TO_ARRIVE)
    return ITEMS / (upstream.received[-1].at - begun)


def _kill(upstream: Upstream, side: Side, running: Process) -> tuple[int, str]:
    """Items lost, and in words how often others came and how long it took."""
    answered = ITEMS_AT_A_KILL // BATCH // 2
    running.stop()
    upstream.received.clear()
    _give(side, 0, ITEMS_AT_A_KILL)
    upstream.answer_to = lambda request: Answer(delay=UNANSWERED if len(upstream.received) > answered else 0)
    running = worker(side.processes, side.app)
    upstream.wait_for(answered + 1, SECONDS_TO_ARRIVE)
    time.sleep(UNANSWERED / 3)  # until each process of the pool that can has begun a post
    running.kill()
    del upstream.received[answered:]
    upstream.answer_to = None
    begun = time.monotonic()
    worker(side.processes, side.app)
    with suppress(Failure):  # what is missing then is lost, and counted
        wait_until("all items", lambda: len(set(upstream.items)) >= ITEMS_AT_A_KILL, SECONDS_AFTER_A_KILL)
    times = Counter(upstream.items)
    again = sum(times.values()) - len(times)
    return ITEMS_AT_A_KILL - len(
        times
    ), f"{again:,} items twice, the last after {upstream.received[-1].at - begun:.1f} s"
