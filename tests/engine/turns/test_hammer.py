"""Two processes of eight threads each count up one counter: no update is lost, and nobody gets "locked"."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

THREADS, TIMES = 8, 25
PATIENCE = 40
"""Seconds after which a process counts as hung."""


def processes(url: str, *commands: list[str]) -> list[str]:
    """What these Python commands, run side by side on the database, printed; fails where one of them does."""
    environment = os.environ | {"TEST_DATABASE_URL": url, "PYTHONWARNINGS": "default"}
    started = [
        subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        printed = [process.communicate(timeout=PATIENCE)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * len(started)
    return printed


def hammer(url: str) -> None:
    """Hammer a fresh database from two processes; the counter must hold what they counted, without an error."""
    processes(url, ["-m", "django", "migrate", "--verbosity", "0"])
    command = ["-m", "tests.support.counting_process", str(THREADS), str(TIMES)]
    for seen in processes(url, command, command):
        assert json.loads(seen) == {"added": THREADS * TIMES}
    count = "import django; django.setup(); from tests.models import Counter; print(Counter.objects.get().add(0))"
    assert processes(url, ["-c", count]) == [f"{2 * THREADS * TIMES}\n"]


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "sqlite", reason="the tests run on PostgreSQL")
def test_no_update_is_lost_on_sqlite(tmp_path: Path) -> None:
    """On SQLite writers wait for each other: none gets "database is locked", none overwrites another."""
    hammer(f"sqlite:///{tmp_path / 'hammered.sqlite3'}")


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor != "postgresql", reason="the tests run on SQLite: TEST_DATABASE_URL says on what")
def test_no_update_is_lost_on_postgresql(postgresql_url: str) -> None:
    """On PostgreSQL sixteen sessions that want one object have it one after the other."""
    hammer(postgresql_url)
