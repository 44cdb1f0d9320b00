"""Sites made of real processes: workers, beat, dispatchers and web servers on one database and one broker.

Each has a clean environment, is waited for with a limit, writes its log into the site's folder, and is ended by its
id when the ``with`` block ends, with all that it has forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar

import httpx
import psycopg

from project.demo.processes import Child, clean_environment, wait_for

Seen = TypeVar("Seen")
Rows = list[tuple[Any, ...]]
REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-tests"
SECONDS_TO_START = 40.0
SECONDS_TO_STOP = 15.0
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL}


class Process(Child):
    """One process of a site. ``name`` names its log."""

    def text(self) -> str:
        """What it has written so far, its log last."""
        return "".join(file.read_text("utf-8", errors="replace") for file in (self._output, self.log))

    def says(self, line: str, seconds: float = SECONDS_TO_START) -> Self:
        """Wait until its log has the line; fails with the log's end when it does not, or when the process ends."""

        def look() -> str:
            ended = self.exit_code()
            text = self.text()
            assert line in text or ended is None, f"{self.name} ended with {ended}:\n{text[-3000:]}"
            return text[-1500:]

        wait_for(f"{self.name} to say {line!r}", look, seconds=seconds, until=lambda _: line in self.text())
        return self

    def children(self) -> list[int]:
        """The ids of the processes that it has forked and that live: the pool of a prefork worker."""
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in listing.read_text().split()]

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to it, or to one of its children."""
        self.may_end |= pid is None and number in _ENDING
        os.kill(self.pid if pid is None else pid, number)

    def freeze(self) -> None:
        """SIGSTOP it and all that it has forked."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, after ``freeze``."""
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it and all that it has forked with -9, as a power cut would."""
        self.may_end = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, seconds: float = SECONDS_TO_STOP) -> int:
        """Ask it to end by SIGTERM, kill what is left after ``seconds``; return its exit code."""
        self.may_end = True
        if self.exit_code() is None:
            self.thaw()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()
        return self._process.returncode


class Processes:
    """Python processes in one environment; they end with the ``with`` block, which tells if one did so before.

    ``at`` is where they run, ``python`` what runs them.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, at: Path = REPOSITORY, python: str = sys.executable
    ) -> None:
        self.folder, self.environment = folder, dict(environment)
        self.at, self.python = at, python
        self.processes: list[Process] = []

    def start(self, name: str, *arguments: str, **environment: str) -> Process:
        """Start a Python process: ``start("look", "-c", "…")``. Its log is NAME.log; a name used again appends.

        It lives until it is stopped: the test fails when it ends by itself.
        """
        return self._start(name, arguments, environment, brief=False)

    def brief(self, name: str, *arguments: str, **environment: str) -> Process:
        """Start a Python process whose work has an end, with 0."""
        return self._start(name, arguments, environment, brief=True)

    def wait_for(
        self, what: str, look: Callable[[], Seen], *, seconds: float, until: Callable[[Seen], object] = bool
    ) -> Seen:
        """What ``look`` gives as soon as ``until`` accepts it; fails after ``seconds`` with the ends of all logs."""
        try:
            return wait_for(what, look, seconds=seconds, until=until)
        except Exception as failure:
            raise AssertionError(f"{failure}\n{self.logs()}") from failure

    def logs(self, characters: int = 2000) -> str:
        """The end of each log."""
        texts = {process.name: process.text() for process in self.processes}
        return "\n".join(f"--- {name}\n{text[-characters:]}" for name, text in texts.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        failed = {process.name: process.exit_code() for process in self.processes if process.has_failed}
        for process in self.processes:
            if process.exit_code() is None:
                process.thaw()
                process.signal(signal.SIGTERM)
        end = time.monotonic() + SECONDS_TO_STOP
        for process in self.processes:
            process.stop(max(0.0, end - time.monotonic()))
        if kind is None:
            assert not failed, f"ended by themselves, with these codes: {failed}\n{self.logs(4000)}"

    def _start(self, name: str, arguments: tuple[str, ...], given: dict[str, str], *, brief: bool) -> Process:
        environment = self.environment | given
        process = Process(name, list(arguments), self.folder, self.at, environment, brief=brief, python=self.python)
        self.processes.append(process)
        return process

    def run(self, *arguments: str, seconds: float) -> str:
        """Run Python with these arguments to its end; what it wrote to standard output. Fails unless it ends with 0."""
        command = [self.python, *arguments]
        done = subprocess.run(
            command, cwd=self.at, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stderr[-3000:]}"
        return done.stdout


class Site(Processes):
    """One database, one broker, one folder for the logs; the processes on them end with the ``with`` block.

    ``engine`` is laid over ``DURABLE_OBJECTS`` (times in seconds), ``environment`` over the processes' environment.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        broker_url: str,
        *,
        engine: Mapping[str, Any] | None = None,
        **environment: str,
    ) -> None:
        self.database_url, self.broker_url = database_url, broker_url
        site = clean_environment(
            DJANGO_SETTINGS_MODULE="tests.site_settings",
            DATABASE_URL=database_url,
            CELERY_BROKER_URL=broker_url,
            DEBUG="1",
            SECRET_KEY="x" * 50,
            API_TOKENS=TOKEN,
            ENGINE=json.dumps(dict(engine or {})),
            PYTHONUNBUFFERED="1",
        )
        super().__init__(folder, site | environment)

    def migrate(self) -> Self:
        """Make the tables."""
        self.manage("migrate", "--verbosity", "0", seconds=3 * SECONDS_TO_START)
        return self

    def manage(self, *arguments: str, seconds: float = SECONDS_TO_START) -> str:
        """Run a management command to its end; what it wrote to standard output. Fails unless it ends with 0."""
        return self.run("manage.py", *arguments, seconds=seconds)

    def execute(self, code: str, seconds: float = SECONDS_TO_START) -> str:
        """Run Python code to its end in a process of its own, after ``django.setup()``; what it printed."""
        return self.run("-c", f"import django; django.setup()\n{code}", seconds=seconds)

    def worker(
        self, name: str = "worker", *options: str, pool: str = "prefork", concurrency: int = 2, **environment: str
    ) -> Process:
        """A Celery worker on all queues (``-Q`` among ``options`` says which), once it takes messages."""
        arguments = ["-m", "celery", "-A", "project", "worker", "-n", f"{name}@%h", "--loglevel", "INFO"]
        chosen = ["--pool", pool, "--concurrency", str(concurrency), *options]
        return self.start(name, *arguments, *chosen, **environment).says(f"{name}@{os.uname().nodename} ready.")

    def beat(self, name: str = "beat") -> Process:
        """django-celery-beat, once it has started."""
        return self.start(name, "-m", "celery", "-A", "project", "beat", "--loglevel", "INFO").says("beat: Starting...")

    def dispatcher(self, name: str = "dispatcher") -> Process:
        """``manage.py alarms dispatch --loop``; nothing says that it is ready."""
        return self.start(name, "manage.py", "alarms", "dispatch", "--loop", "--json")

    def up(self, name: str = "up", **environment: str) -> httpx.Client:
        """``manage.py up``, ready: a client of it, with the token."""
        process = self.start(name, "manage.py", "up", "--port", "0", "--json", "--no-admin", **environment)
        address = process.ready(SECONDS_TO_START)["address"]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=address, headers=headers, timeout=SECONDS_TO_START, trust_env=False)

    def rows(self, query: LiteralString, *params: Any) -> Rows:
        """What a query gives, read past the engine and past Django (PostgreSQL only), committed."""
        with psycopg.connect(self.database_url) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def wait_for_rows(
        self, query: LiteralString, *params: Any, seconds: float, until: Callable[[Rows], object] = bool
    ) -> Rows:
        """``rows`` as soon as ``until`` accepts them (default: there are any); fails after ``seconds``, with logs."""
        return self.wait_for(str(query), lambda: self.rows(query, *params), seconds=seconds, until=until)
