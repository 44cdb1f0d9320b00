"""``manage.py up`` as a process of a test's own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from project.demo.processes import Child, clean_environment

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-tests"
START = 30.0
PATIENCE = 10.0
SECONDS_TO_STOP = 5.0


class Up:
    """``manage.py up`` on a database of the test's own; as root or not, without a terminal, in the C locale."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.environment = clean_environment(
            DJANGO_SETTINGS_MODULE="project.settings",
            DATABASE_URL=f"sqlite:///{folder / 'db.sqlite3'}",
            SECRET_KEY="x" * 50,
            API_TOKENS=TOKEN,
            LC_ALL="C",
            LANG="C",
            **environment,
        )
        self.folder = folder
        self.process = self.python("up", "manage.py", "up", "--port", "0", "--json", *options, brief=False)

    def python(self, name: str, *arguments: str, brief: bool = True) -> Child:
        """Start a Python process beside it, on the same database; ``brief``: its work has an end."""
        return Child(name, list(arguments), self.folder, REPOSITORY, self.environment, brief=brief)

    def client(self) -> httpx.Client:
        """Wait until it is ready; return a client of it, with the token."""
        self.announced = self.process.ready(START)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.announced["address"], headers=headers, timeout=PATIENCE, trust_env=False)

    def stopped_by(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; return the exit code, and how many seconds the end took."""
        began = time.monotonic()
        os.kill(self.process.pid, number)
        code = self.process.ended(PATIENCE)
        return code, time.monotonic() - began


@contextmanager
def up(folder: Path, *options: str, **environment: str) -> Iterator[Up]:
    """Run ``manage.py up`` in this block, with these options and environment variables, and end it in any case."""
    running = Up(folder, *options, **environment)
    with running.process:
        yield running
