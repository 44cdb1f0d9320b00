"""Row 15: how long it takes, from a fault on, until all alarms that are overdue have run. One fault at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.measuring import QUICK, Figure, Result, many
from benchmarks.row import NotRun, Target, row
from benchmarks.stage import Stage, worker
from tests.chaos.own_postgres import OwnPostgres
from tests.support.own_brokers import OwnRabbit
from tests.support.site_processes import Site

ALARMS = many(400)
SECONDS_OF_ALARMS = 8
SECONDS_TO_THE_FAULT = 4.0
SECONDS_TO_RECOVER = 120.0
TIMES = 1 if QUICK else 3

_SET = """
import random
from datetime import timedelta
from tests.models import Once
times = {{f"recovering{round}-{{n}}": timedelta(seconds=1 + random.random() * {seconds}) for n in range({alarms})}}
Once.objects.set_alarms(times)
"""


@row(15, "Recovery: seconds until all overdue alarms have run", p50=Target(3, 1, at_most=True))
def recovery(stage: Stage) -> Result:
    """After a worker was killed and started again, the broker was emptied, the database was restarted."""
    result = Result()
    with _server() as server, Stage(server.url).site() as site:
        site.migrate()
        worker(site, "benchmarks.worker_app")
        site.dispatcher()
        faults: dict[str, Callable[[], object]] = {
            "worker killed": lambda: _kill_worker(site),
            "broker emptied": lambda: OwnRabbit(site.broker_url).empty(),
            "database restarted": lambda: _restart(server),
        }
        for round_, (name, fault) in enumerate(faults.items()):
            seconds = [_recovery(site, f"{round_}{number}", fault) for number in range(TIMES)]
            result.figures[name] = Figure(tuple(seconds), "s")
    every = [value for figure in result.figures.values() for value in figure.values]
    result.ratios["p50"] = statistics.median(every)
    result.notes.append(f"the longest of all: {max(every):.1f} s")
    return result


def _restart(server: OwnPostgres) -> None:
    server.stop("immediate")
    server.start()


@contextmanager
def _server() -> Iterator[OwnPostgres]:
    """A server that may be restarted. Raises ``NotRun`` where its programs are missing."""
    try:
        server = OwnPostgres()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise NotRun(f"PostgreSQL: {error}") from error
    with server:
        yield server


def _recovery(site: Site, round_: str, fault: Callable[[], object]) -> float:
    """Seconds from the fault, itself and what is started again included, until no alarm that is due is left."""
    site.execute(_SET.format(round=round_, seconds=SECONDS_OF_ALARMS, alarms=ALARMS))
    time.sleep(SECONDS_TO_THE_FAULT)
    begun = time.monotonic()
    fault()
    left = "SELECT count(*) FROM durable_objects_alarm WHERE wake_at <= now()"
    site.wait_for_rows(left, seconds=SECONDS_TO_RECOVER, until=lambda rows: rows[0][0] == 0)
    recovered = time.monotonic() - begun
    armed = "SELECT count(*) FROM durable_objects_alarm WHERE wake_at IS NOT NULL"
    site.wait_for_rows(armed, seconds=SECONDS_TO_RECOVER, until=lambda rows: rows[0][0] == 0)
    return recovered


def _kill_worker(site: Site) -> None:
    """End the worker with -9, and start another one, as its supervisor would."""
    (running,) = [process for process in site.processes if process.name == "worker" and process.exit_code() is None]
    running.kill()
    worker(site, "benchmarks.worker_app")
