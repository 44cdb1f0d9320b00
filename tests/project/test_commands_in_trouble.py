"""Commands whose database is in trouble: one line that says what to do, whatever the verb."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from project.demo.processes import clean_environment
from tests.support import services
from tests.support.every_command import VERBS
from tests.support.site_processes import REPOSITORY

PASSWORD = "pass-in-no-words"
SECONDS = 300.0


def environment(url: str, **given: str) -> dict[str, str]:
    """A process on this database, with a broker of its own."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.site_settings", "SECRET_KEY": "x" * 50, "API_TOKENS": "t"}
    engine = json.dumps({"LOCK_TIMEOUT": 0.05})
    return clean_environment(**settings, DATABASE_URL=url, CELERY_BROKER_URL="memory://", ENGINE=engine, **given)


def manage(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A management command on this database."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY, env=environment(url), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def every_verb(url: str, *left_out: str, **given: str) -> list[dict[str, Any]]:
    """What became of each verb on this database."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.every_command", *left_out],
        cwd=REPOSITORY, env=environment(url, **given), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def judge(results: list[dict[str, Any]], words: str) -> dict[str, Any]:
    """Those that did not end with 1, one line with these words on standard error, and JSON or nothing on the other."""
    return {
        each["verb"]: (each["code"], each["out"], each["err"])
        for each in results
        if each["code"] != 1
        or len(each["err"].splitlines()) != 1
        or words not in each["err"]
        or PASSWORD in each["err"]
        or not all(json.loads(line) for line in each["out"].splitlines())
    }


def reported_once(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the verb that says a line more for each object."""
    return [each for each in results if not each["verb"].startswith("objects import")]


def empty(folder: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{folder / 'db.sqlite3'}"


def folder_instead(folder: Path) -> str:
    """A folder where the file should be."""
    (folder / "db.sqlite3").mkdir()
    return empty(folder)


def something_else(folder: Path) -> str:
    """A file that is no database."""
    (folder / "db.sqlite3").write_bytes(b"This is a text and not a database. " * 100)
    return empty(folder)


SQLITE: list[tuple[Callable[[Path], str], str, tuple[str, ...]]] = [
    (empty, "run `manage.py migrate`", ("up",)),
    (folder_instead, "no such database", ()),
    (something_else, "correct DATABASES", ()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "words", "left_out"), SQLITE, ids=[make.__name__ for make, _, _ in SQLITE])
def test_an_sqlite_file_in_trouble(
    make: Callable[[Path], str], words: str, left_out: tuple[str, ...], tmp_path: Path
) -> None:
    """A file that is empty, a folder, or no database: every verb says so in one line, what to do, and ends with 1."""
    results = every_verb(make(tmp_path), *left_out)
    assert len(results) == len(VERBS) - len(left_out)
    assert judge(results, words) == {}


@pytest.mark.slow
def test_a_database_that_is_half_migrated(tmp_path: Path) -> None:
    """Where the engine's tables are and the apps' are not, whoever needs those is asked to migrate."""
    url = empty(tmp_path)
    for app in ("contenttypes", "durable_objects"):
        assert manage(url, "migrate", app, "--verbosity", "0").returncode == 0
    results = [each for each in every_verb(url, "up") if each["code"] != 0]
    assert {each["verb"].split()[0] for each in results} >= {"batcher", "cleaner", "reminders", "tokens"}
    reported = reported_once(results)
    assert judge(reported, "") == {}
    others = {each["verb"] for each in reported if "migrate" not in each["err"] + each["out"]}
    assert others == {"operations stop 1", "operations resume 1"}  # the engine's: there is none


@pytest.mark.slow
def test_a_file_that_another_process_writes_to(tmp_path: Path) -> None:
    """An SQLite file locked for longer than the time-out: who writes gets one line; who reads is answered."""
    url = empty(tmp_path)
    assert manage(url, "migrate", "--verbosity", "0").returncode == 0
    holder = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        results = every_verb(url, "up", SQLITE_TIMEOUT="0.05")
    finally:
        holder.close()
    failed = [each for each in results if each["code"] != 0]
    assert judge(reported_once(failed), "") == {}
    assert {"batcher add a item", "tokens create a --scope metrics:read"} <= {each["verb"] for each in failed}


@contextmanager
def _postgresql(case: str) -> Iterator[str]:
    with services.fresh_postgresql() as url:
        parts = urlsplit(url)
        user, host, port = parts.username or "", parts.hostname or "", parts.port or 5432
        if case == "refused":
            yield urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{host}:1"))
        elif case == "password":
            yield urlunsplit(parts._replace(netloc=f"{user}x:{PASSWORD}@{host}:{port}"))
        elif case == "missing":
            yield urlunsplit(parts._replace(path="/there_is_no_such_database"))
        elif case == "unmigrated":
            yield url
        else:
            assert manage(url, "migrate", "--verbosity", "0").returncode == 0
            yield f"{url}?options=-c%20default_transaction_read_only%3Don"


POSTGRESQL = [
    ("refused", "does not answer", ()),
    ("password", "refuses the connection", ()),
    ("missing", "database", ()),
    ("unmigrated", "run `manage.py migrate`", ("up",)),
]


@pytest.mark.slow
@pytest.mark.services("postgresql")
@pytest.mark.parametrize(("case", "words", "left_out"), POSTGRESQL, ids=[case for case, _, _ in POSTGRESQL])
def test_a_server_in_trouble(case: str, words: str, left_out: tuple[str, ...]) -> None:
    """A server that refuses, a wrong user or password, no such database, no tables: one line, without the password."""
    with _postgresql(case) as url:
        assert judge(every_verb(url, *left_out), words) == {}


@pytest.mark.slow
@pytest.mark.services("postgresql")
def test_a_server_that_takes_no_writes() -> None:
    """A server that is read-only answers who reads; who writes is asked in one line to use the primary."""
    with _postgresql("read-only") as url:
        failed = [each for each in every_verb(url) if each["code"] != 0]
    assert judge([each for each in reported_once(failed) if not each["verb"].startswith("alarms doctor")], "") == {}
    (added,) = [each for each in failed if each["verb"] == "batcher add a item"]
    assert "It takes no writes: ask its primary" in added["err"]
