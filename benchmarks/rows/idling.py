"""Rows 12 and 14: memory and start-up of the processes, and what a minute costs in which nothing runs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from django.db import connection

from benchmarks.measuring import QUICK, Figure, Result, many, side_by_side
from benchmarks.row import Target, row
from benchmarks.rows.pending import store
from benchmarks.stage import Stage, worker
from tests.support.site_processes import Process, Site

PENDING = many(1_000_000)
IDLE_SECONDS = 2 if QUICK else 60
SETTLE_SECONDS = 2 if QUICK else 8
TICKS = os.sysconf("SC_CLK_TCK")

_SETUP = """
from django.conf import settings
apps = ["django.contrib.contenttypes", "django.contrib.auth"]
settings.configure(INSTALLED_APPS=apps + {more}, DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3"}}}})
import django
from celery import shared_task  # `import celery` alone loads next to nothing of it
django.setup()
"""


@row(12, "Memory of a worker and of `up`, time to import the engine", worker=Target(2, 1.5, at_most=True))
def footprint(stage: Stage) -> Result:
    """Memory (PSS) of a worker with the project, against one of Celery without Django; CPU to import the engine."""
    result = Result()
    pool = ("--pool", "threads", "--concurrency", "4")
    apps: dict[str, tuple[str, dict[str, str]]] = {
        "worker with the project": ("benchmarks.worker_app", {}),
        "bare Celery worker": ("benchmarks.peers.celery_app", {"DJANGO_SETTINGS_MODULE": ""}),
    }
    for name, (app, environment) in apps.items():
        with stage.site() as site:
            process = worker(site, app, *pool, **environment)
            time.sleep(SETTLE_SECONDS)
            result.figures[name] = Figure((memory([process]),), "MB")
    with stage.site() as site, site.up():
        time.sleep(SETTLE_SECONDS)
        result.figures["`up`, all of it"] = Figure((memory(site.processes),), "MB")
    result.figures |= side_by_side(
        {
            "Django and Celery": lambda: _setup([]),
            "with the engine": lambda: _setup(["durable_objects"]),
        },
        "ms of CPU",
    )
    project, bare = (result.figures[name].median for name in apps)
    result.ratios["worker"] = project / bare
    return result


@row(14, "A minute of nothing, 1,000,000 alarms pending", cpu=Target(1, 0.1, at_most=True))
def idle(stage: Stage) -> Result:
    """Transactions, CPU (percent of a core, with and without the database's) and bytes of the database's log."""
    with stage.running() as site:
        store(PENDING)
        connection.close()  # the database counts what this session did when it ends, not within the minute
        time.sleep(SETTLE_SECONDS)
        begun, before, cpu = time.monotonic(), _database(site), cpu_seconds(site.processes)
        time.sleep(IDLE_SECONDS)
        spent = time.monotonic() - begun
        after, cpu = _database(site), cpu_seconds(site.processes) - cpu
    transactions, log, busy = (last - first for first, last in zip(before, after, strict=True))
    figures = {
        "worker and dispatcher": Figure((cpu / spent * 100,), "% of a core"),
        "the database's sessions": Figure((busy / spent / 10,), "% of a core"),
        "transactions": Figure((transactions / spent * 60,), "a minute"),
        "written to the log": Figure((log / 1024 / spent * 60,), "KB a minute"),
    }
    return Result(figures, {"cpu": cpu / spent * 100})


def _setup(more: list[str]) -> float:
    """Milliseconds of CPU that a process takes to import and set up these apps."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", _SETUP.format(more=more)], check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def memory(processes: Iterable[Process]) -> float:
    """MB that these processes and their children would free if they ended: shared pages count by their share."""
    total = 0.0
    for pid in _pids(processes):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(rollup.partition("\nPss:")[2].split()[0]) / 1024
    return total


def cpu_seconds(processes: Iterable[Process]) -> float:
    """Seconds of CPU that these processes and their children have used."""
    ticks = 0
    for pid in _pids(processes):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def _pids(processes: Iterable[Process]) -> list[int]:
    found = [process.pid for process in processes]
    for pid in found:  # grows while it is walked: the children of children too
        listing = Path(f"/proc/{pid}/task/{pid}/children")
        found += [int(child) for child in listing.read_text().split()]
    return found


def _database(site: Site) -> tuple[float, float, float]:
    """Transactions, bytes of WAL, and milliseconds that sessions were busy with statements, so far."""
    query = """
        SELECT xact_commit + xact_rollback, pg_current_wal_lsn() - '0/0'::pg_lsn, active_time
        FROM pg_stat_database WHERE datname = current_database()
    """
    ((transactions, log, busy),) = site.rows(query)
    return float(transactions), float(log), float(busy)
