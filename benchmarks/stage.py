"""What every row is measured on: a database and a broker of its own, and processes that end with the row."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from benchmarks.row import NotRun
from durable_objects.database import clock
from project.demo.processes import wait_for
from tests.support.own_brokers import own_rabbit
from tests.support.site_processes import Process, Processes, Site

#: Processes of a pool: of ours and of every peer's.
PROCESSES = int(os.environ.get("BENCH_PROCESSES", "2"))


class Stage:
    """A PostgreSQL database with the tables, which this process is connected to as well."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url

    @contextmanager
    def site(self, **engine: Any) -> Iterator[Site]:
        """Processes on this database and on a RabbitMQ virtual host of their own, with confirms and quorum queues."""
        try:
            rabbit = own_rabbit()
            broker = rabbit.__enter__()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise NotRun(f"RabbitMQ: {error}") from error
        try:
            with (
                tempfile.TemporaryDirectory(prefix="durable-objects-bench-") as folder,
                Site(Path(folder), self.database_url, broker.url, engine=engine, **PRODUCTION) as site,
            ):
                yield site
        finally:
            rabbit.__exit__(None, None, None)

    @contextmanager
    def running(self, processes: int = PROCESSES, **engine: Any) -> Iterator[Site]:
        """The same with a worker of so many processes and a dispatcher, ready."""
        with self.site(**engine) as site:
            worker(site, "benchmarks.worker_app", "--concurrency", str(processes))
            site.dispatcher()
            yield site


PRODUCTION: dict[str, Any] = {"DEBUG": "0", "ALLOWED_HOSTS": "*"}


def worker(site: Processes, app: str, *options: str, name: str = "worker", **environment: str) -> Process:
    """A Celery worker that logs warnings only, once it takes messages."""
    ready = site.folder / f"{name}.ready"
    ready.unlink(missing_ok=True)
    arguments = ["-m", "celery", "-A", app, "worker", "-n", f"{name}@%h", "--loglevel", "WARNING"]
    pool = ["--pool", "prefork", "--concurrency", str(PROCESSES), "--without-gossip", "--without-mingle", *options]
    process = site.start(name, *arguments, *pool, READY_FILE=str(ready), **environment)
    site.wait_for(f"{name} to be ready", ready.exists, seconds=40)
    return process


def wait_until(what: str, condition: Any, seconds: float) -> None:
    """Return once the condition holds."""
    wait_for(what, condition, seconds=seconds)


def runs_since(mark: int) -> list[tuple[float, float, float, str]]:
    """Runs after the one with this id: when due, started and ended (seconds since the epoch), and the kind's name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM r.due_at)::float8, extract(epoch FROM r.started_at)::float8, "
            "extract(epoch FROM r.ended_at)::float8, t.model "
            "FROM durable_objects_alarmrun r JOIN durable_objects_object o ON o.id = r.object_id "
            "JOIN django_content_type t ON t.id = o.kind_id WHERE r.id > %s AND r.outcome = 'succeeded'",
            [mark],
        )
        rows: list[tuple[float, float, float, str]] = cursor.fetchall()
        return rows


def last_run() -> int:
    """The id of the last run that was written down."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM durable_objects_alarmrun")
        return int(cursor.fetchone()[0])


def wait_for_runs(mark: int, count: int, seconds: float) -> list[tuple[float, float, float, str]]:
    """``runs_since`` as soon as there are so many."""

    def seen() -> int:
        # There are no more of them than ids. To count all the time takes a tenth of what they take themselves.
        ids = last_run() - mark
        return count_of_runs(mark) if ids >= count else ids

    wait_for(f"{count} runs", seen, seconds=seconds, until=lambda number: number >= count)
    return runs_since(mark)


def unique(prefix: str) -> str:
    """A name that was never used."""
    return f"{prefix}{time.time_ns()}"


def now() -> float:
    """The database's time, in seconds since the epoch."""
    return clock.now().timestamp()


def count_of_runs(mark: int) -> int:
    """How many ``runs_since`` there are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM durable_objects_alarmrun WHERE id > %s AND outcome = 'succeeded'", [mark])
        return int(cursor.fetchone()[0])
