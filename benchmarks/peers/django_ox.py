"""django-ox as a peer: tasks of Django's framework in the same PostgreSQL, each locking and saving a row, by as many
processes as ours.

DJANGO_OX names a Python that has it, 3.12 or newer, with psycopg (``scripts/make-peers``); without that it is not run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.peers.environment import python_with
from benchmarks.row import NotRun
from project.demo.processes import wait_for

_FOLDER = Path(__file__).parent / "ox"

_ENQUEUE = """
import sys
from datetime import timedelta
import django; django.setup()
from django.utils import timezone
from django_ox.bulk import enqueue_many
from tasks import save
ahead, pks = float(sys.argv[1]), map(int, sys.argv[2].split(","))
due = timezone.now() + timedelta(seconds=ahead) if ahead else None
enqueue_many(save.using(run_after=due), [((pk,), {}) for pk in pks])
"""


class DjangoOx:
    """Its workers, at work on one database."""

    def __init__(self, python: str, database_url: str) -> None:
        self._python, self._database_url = python, database_url
        self._environment = os.environ | {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "settings"}

    def rate(self, pks: Sequence[int]) -> float:
        """Tasks per second, one for each of these rows, from the start of the first to the end of the last."""
        rows = self._run(pks, ahead=0)
        return len(rows) / (max(ended for _, _, ended in rows) - min(started for _, started, _ in rows))

    def lateness(self, pks: Sequence[int], ahead: float) -> list[float]:
        """Milliseconds from when they were due, all at the same time, to the start of each."""
        return [(started - due) * 1e3 for due, started, _ in self._run(pks, ahead)]

    def _run(self, pks: Sequence[int], ahead: float) -> list[tuple[float, float, float]]:
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute("TRUNCATE django_ox_oxtask CASCADE")
            self.run("-c", _ENQUEUE, str(ahead), ",".join(map(str, pks)))

            def finished() -> list[tuple[float, float, float]]:
                return connection.execute(
                    "SELECT extract(epoch FROM coalesce(run_after, enqueued_at))::float8, "
                    "extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8 "
                    "FROM django_ox_oxtask WHERE status = 'SUCCESSFUL'"
                ).fetchall()

            return wait_for(
                "django-ox to have run its tasks", finished, seconds=60, until=lambda rows: len(rows) == len(pks)
            )

    def run(self, *arguments: str) -> None:
        """Run Python with these arguments, in its project, to the end."""
        done = subprocess.run(
            [self._python, *arguments], cwd=_FOLDER, env=self._environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NotRun(f"django-ox: {done.stderr.strip()[-300:]}")

    def start(self, processes: int) -> subprocess.Popen[bytes]:
        """Start its workers; the process that ends with all of them."""
        command = [self._python, "-m", "django", "ox_worker", "--processes", str(processes)]
        return subprocess.Popen(command, cwd=_FOLDER, env=self._environment, stderr=subprocess.DEVNULL)


@contextmanager
def working(database_url: str, processes: int) -> Iterator[DjangoOx]:
    """Tables and workers for the block. Raises ``NotRun``."""
    peer = DjangoOx(python_with("DJANGO_OX", "django-ox", "django_ox", "django.tasks", "psycopg"), database_url)
    peer.run("-m", "django", "migrate", "--verbosity", "0")
    workers = peer.start(processes)
    try:
        yield peer
    finally:
        workers.terminate()
        workers.wait(30)
