"""Rows 4, 5, 6, 11: alarms that run on workers, against tasks of Celery, Procrastinate and django-ox."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from benchmarks.measuring import QUICK, REPEATS, Figure, Result, many, percentile
from benchmarks.peers import django_ox, procrastinate
from benchmarks.row import NotRun, Target, row
from benchmarks.stage import PROCESSES, Stage, last_run, now, unique, wait_for_runs, wait_until, worker
from durable_objects.models import DurableObject, Object
from tests.models import Busy, Once, Profile, Ticker
from tests.support.site_processes import Site

ALARMS, SINGLE, TASKS = many(10_000), many(5_000), many(3_000)
BY_HAND, RECONNECTING = many(1_000), many(300)
OX_REPEATS = 1 if QUICK else 3
DUE_TOGETHER = many(1_000)
#: How far ahead alarms are set that are due together: the dispatcher has sent them by then.
SECONDS_AHEAD = 3
SPREAD, SPREAD_SECONDS = many(600), 5 if QUICK else 60
PEER, BY_HAND_PEER = "benchmarks.peers.celery_app", "benchmarks.peers.celery_by_hand"


@row(
    4,
    "Alarms run per second at saturation",
    celery=Target(5, 8),
    procrastinate=Target(5, 5),
    ordinary=Target(0.6, 1),
    by_hand=Target(2, 3),
    django_ox=Target(2, 3),
)
def saturation(stage: Stage) -> Result:
    """Handlers that write one key, all due at once, from the moment they are due; tasks that do nothing, and tasks that
    lock and save a row. ``ordinary`` are those of a class without groups against tasks that do nothing; ``by_hand`` the
    same against those that save, ``django_ox`` against tasks of django-ox that do the same.
    """
    result = Result()
    with stage.running() as site:
        _rate(site, Ticker, 1_000)
        grouped = [_rate(site, Ticker, ALARMS) for _ in range(REPEATS)]
        single = [_rate(site, Once, SINGLE) for _ in range(REPEATS)]
    result.figures["ours, grouped"] = Figure(tuple(grouped), "alarms/s")
    result.figures["ours, ordinary"] = Figure(tuple(single), "alarms/s")
    with stage.site() as site:
        result.figures["Celery, no-op"] = _celery_rates(
            site, PEER, f"[peer.noop.delay() for _ in range({TASKS})]", TASKS
        )
    for name, reuse, count in (("connections kept", "1000000", BY_HAND), ("its default", "", RECONNECTING)):
        with stage.site() as site:
            result.figures[f"Celery by hand, {name}"] = _by_hand_rates(site, count, reuse)
    ours, ordinary = (result.figures[f"ours, {kind}"].median for kind in ("grouped", "ordinary"))
    result.ratios["celery"] = ours / result.figures["Celery, no-op"].median
    result.ratios["ordinary"] = ordinary / result.figures["Celery, no-op"].median
    result.ratios["by_hand"] = ordinary / result.figures["Celery by hand, connections kept"].median
    try:
        peer = Figure(procrastinate.rates(stage.database_url, PROCESSES, REPEATS), "tasks/s")
    except NotRun as missing:
        result.notes.append(str(missing))
    else:
        result.figures["Procrastinate, no-op"] = peer
        result.ratios["procrastinate"] = ours / peer.median
    try:
        with django_ox.working(stage.database_url, PROCESSES) as ox:
            pks = _profiles(BY_HAND)
            peer = Figure(tuple(ox.rate(pks) for _ in range(OX_REPEATS + 1))[1:], "tasks/s")
    except NotRun as missing:
        result.notes.append(str(missing))
    else:
        result.figures["django-ox, the same by hand"] = peer
        result.ratios["django_ox"] = ordinary / peer.median
    return result


@row(
    5,
    "1,000 due in the same second: lateness p99",
    ratio=Target(1.0, 0.3, at_most=True),
    ordinary=Target(1.0, 0.5, at_most=True),
    django_ox=Target(1.0, 0.5, at_most=True),
)
def same_second(stage: Stage) -> Result:
    """All at the same moment; Celery's are ETA tasks, which write down when they start; django-ox's save a row each.
    ``ordinary`` are ours of a class without groups against Celery's, ``django_ox`` the same against django-ox's.
    """
    with stage.running() as site:
        lateness(site, Ticker, 100)
        ours = [percentile(lateness(site, Ticker, DUE_TOGETHER), 99) for _ in range(REPEATS)]
        single = [percentile(lateness(site, Once, DUE_TOGETHER), 99) for _ in range(REPEATS)]
    with stage.site() as site:
        worker(site, PEER, STAMPS=str(site.folder / "stamps"))
        celery = [percentile(_eta_lateness(site), 99) for _ in range(REPEATS)]
    figures = {
        "ours, grouped": Figure(tuple(ours), "ms"),
        "ours, ordinary": Figure(tuple(single), "ms"),
        "Celery, ETA": Figure(tuple(celery), "ms"),
    }
    ratio, ordinary = (
        figures[f"ours, {kind}"].median / figures["Celery, ETA"].median for kind in ("grouped", "ordinary")
    )
    result = Result(figures, {"ratio": ratio, "ordinary": ordinary})
    try:
        with django_ox.working(stage.database_url, PROCESSES) as ox:
            pks = _profiles(DUE_TOGETHER)
            late = [percentile(ox.lateness(pks, 2), 99) for _ in range(OX_REPEATS)]
    except NotRun as missing:
        result.notes.append(str(missing))
    else:
        figures["django-ox"] = Figure(tuple(late), "ms")
        result.ratios["django_ox"] = figures["ours, ordinary"].median / figures["django-ox"].median
    return result


@row(
    6,
    "600 alarms spread over 60 s: lateness",
    p50=Target(20, 5, at_most=True),
    p99=Target(60, 20, at_most=True),
)
def spread(stage: Stage) -> Result:
    """An idle machine; the minute in five parts."""
    with stage.running() as site:
        mark = last_run()
        arm(site, Ticker, SPREAD, ahead=5, every=SPREAD_SECONDS / SPREAD)
        runs = sorted(wait_for_runs(mark, SPREAD, SPREAD_SECONDS + 40))
    size = SPREAD // REPEATS
    parts = [[(begun - due) * 1e3 for due, begun, _, _ in runs[n : n + size]] for n in range(0, SPREAD, size)]
    figures = {f"p{percent}": Figure(tuple(percentile(part, percent) for part in parts), "ms") for percent in (50, 99)}
    return Result(figures, {name: figure.median for name, figure in figures.items()})


@row(11, "1,000 quick alarms beside a slow handler (5 s): p99", ratio=Target(1.2, 1.0, at_most=True))
def slow_neighbour(stage: Stage) -> Result:
    """With it against without it, in turn, by twice as many processes as there are cores: where handlers wait for
    others, as this one does, a worker is given more processes than the processor keeps busy.
    """
    beside, without = [], []
    with stage.running(processes=2 * PROCESSES) as site:
        lateness(site, Ticker, 100)
        for _ in range(REPEATS):
            without.append(percentile(lateness(site, Ticker, DUE_TOGETHER), 99))
            beside.append(percentile(lateness(site, Ticker, DUE_TOGETHER, slow=True), 99))
    figures = {"beside a slow one": Figure(tuple(beside), "ms"), "without": Figure(tuple(without), "ms")}
    return Result(figures, {"ratio": figures["beside a slow one"].median / figures["without"].median})


def arm(site: Site, model: type[DurableObject], count: int, *, ahead: float, every: float = 0) -> float:
    """Set so many alarms, ``ahead`` seconds from then on and ``every`` so many seconds; when the first one is due.

    By a process of the site, which tells the broker as any other would; this one has none.
    """
    code = f"""
from datetime import timedelta
import durable_objects
from tests.models import {model.__name__} as model
first = durable_objects.now() + timedelta(seconds={ahead!r})
times = [first + timedelta(seconds=n * {every!r}) for n in range({count})]
model.objects.set_alarms({{f"{unique(model.__name__)}-{{n}}": at for n, at in enumerate(times)}})
print(first.timestamp())
"""
    return float(site.execute(code, 120))


def _rate(site: Site, model: type[Once], count: int) -> float:
    mark = last_run()
    due = arm(site, model, count, ahead=2 + count / 4_000)
    runs = wait_for_runs(mark, count, 120)
    return count / (max(ended for _, _, ended, _ in runs) - due)


def lateness(site: Site, model: type[Once], count: int, *, slow: bool = False) -> list[float]:
    """In milliseconds. The slow one is under way when the others are due."""
    mark = last_run()
    due = arm(site, model, count, ahead=SECONDS_AHEAD)
    if slow:
        arm(site, Busy, 1, ahead=due - now() - 4)
    runs = wait_for_runs(mark, count + slow, 60)
    return [(begun - due) * 1e3 for due, begun, _, kind in runs if kind != Busy._meta.model_name]


def _celery_rates(site: Site, peer: str, send: str, count: int, **environment: str) -> Figure:
    """Of a worker that starts with all repeats in the queue, between stamps that lie before, between and after them.

    ``send`` is code that sends ``count`` tasks. The first repeat warms up.
    """
    stamps = site.folder / "stamps"
    _publish(site, f"peer.stamp.delay(0)\nfor _ in range({REPEATS + 1}):\n    {send}\n    peer.stamp.delay(0)", peer)
    process = worker(site, peer, STAMPS=str(stamps), **environment)
    wait_until("Celery to have run its tasks", lambda: len(stamped(stamps)) == REPEATS + 2, 120)
    process.stop()
    return Figure(tuple(count / (end - begin) for begin, end in pairwise(sorted(stamped(stamps))))[1:], "tasks/s")


def _by_hand_rates(site: Site, count: int, reuse: str) -> Figure:
    """Of tasks that each lock and save a row of their own."""
    pks = _profiles(count)
    return _celery_rates(site, BY_HAND_PEER, f"[peer.save.delay(pk) for pk in {pks}]", count, REUSE=reuse)


def _profiles(count: int) -> list[int]:
    """Make so many rows that a task may lock and save; their keys."""
    prefix = unique("by hand")
    Once.objects.set_alarms({f"{prefix}-{number}": timedelta(days=1) for number in range(count)})
    pks = list(Object.objects.filter(name__startswith=prefix).values_list("pk", flat=True))
    Profile.objects.bulk_create(Profile(object_id=pk) for pk in pks)
    return pks


#: Due after four times as long as sending them takes, as some others show: RabbitMQ takes no delay below a second.
_ETA = """
import math, time
from datetime import UTC, datetime
begun = time.time()
for _ in range({count} // 10):
    peer.noop.apply_async(countdown=3600)
due = math.ceil(time.time() + 2 + 40 * (time.time() - begun))
for _ in range({count}):
    if time.time() > due - 2:
        print("too late")
        break
    peer.stamp.apply_async((due,), eta=datetime.fromtimestamp(due, UTC))
"""


def _eta_lateness(site: Site) -> list[float]:
    stamps = site.folder / "stamps"
    stamps.unlink(missing_ok=True)
    if _publish(site, _ETA.format(count=DUE_TOGETHER)):
        raise NotRun("publishing took longer than there was time")
    wait_until("Celery to have run its tasks", lambda: len(stamped(stamps)) >= DUE_TOGETHER, 120)
    return [stamp * 1e3 for stamp in stamped(stamps)]


def _publish(site: Site, code: str, peer: str = PEER) -> str:
    """Run code that sends tasks of the peer; return what it printed."""
    return site.execute(f"from {peer} import app as _, stamp\nimport {peer} as peer\n{code}", 120)


def stamped(path: Path) -> list[float]:
    """What tasks have written to this file by now, in order: a moment, or by how much they were late, in seconds."""
    return [float(line) for line in path.read_text().split()] if path.exists() else []
