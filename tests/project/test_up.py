"""``manage.py up`` as its user meets it: a process that serves, delivers, stops when asked and survives ``kill -9``."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import Settings

from durable_objects.http import tokens
from project.demo import database_steps
from project.demo.processes import wait_for
from project.embedded.first_admin import make_admin
from project.management.commands.up import SECONDS_TO_BEGIN, Command, address_of, patient
from tests.support import http_settings
from tests.support.site_processes import Site
from tests.support.up_process import PATIENCE, SECONDS_TO_STOP, START, TOKEN, Up, up
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow


def pending_post(running: Up, upstream: Upstream) -> None:
    """Add an item to a batcher with a short window towards ``upstream``."""
    with running.client() as client:
        with running.python("prepare", "-m", "project.demo.database_steps", "prepare", upstream.url) as prepared:
            prepared.ready(START)
        assert client.post(f"/batcher/{database_steps.PENDING_BATCHER}", content=b"an item").json() == {"queued": 1}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


def test_it_serves_and_delivers_and_stops(tmp_path: Path, upstream: Upstream) -> None:
    """One command: items in over HTTP, a batch out, alarms set by other processes run, Ctrl-C ends it with 0."""
    with up(tmp_path) as running:
        pending_post(running, upstream)
        with running.client() as client:
            assert client.get("/health").json()["armed"] == 1
            assert [client.get(probe).json() for probe in ("/live", "/ready")] == [{"status": "ok"}] * 2
            assert client.get("/admin/login/").status_code == 200
            assert client.get("/static/admin/css/base.css").status_code == 200
            assert "warn" not in running.process.log.read_text("utf-8").lower()
        assert upstream.wait_for(1, PATIENCE)[0].items == ["an item"]
        cleaned = ["-m", "project.demo.database_steps", "clean"]
        with running.python("clean", *cleaned) as cleaner:
            assert database_steps.OLD in cleaner.ready(START)["entries"]
            wait_for("the cleaner to clean", lambda: keys_of(tmp_path), seconds=PATIENCE, until=only_fresh)
        admin = running.announced["admin"]
        assert admin["username"] == "admin"
        assert admin["password"] not in running.process.log.read_text("utf-8")
        assert TOKEN not in running.process.log.read_text("utf-8")
        code, seconds = running.stopped_by(signal.SIGINT)
        assert (code, seconds < SECONDS_TO_STOP) == (0, True)


def keys_of(folder: Path) -> list[str]:
    """The keys of all entries, read past the engine."""
    with sqlite3.connect(folder / "db.sqlite3") as database:
        rows = database.execute("SELECT key FROM durable_objects_entry").fetchall()
    database.close()
    return [key for (key,) in rows]


def only_fresh(keys: list[str]) -> bool:
    """Whether the old entry is gone and the fresh one is not."""
    return database_steps.FRESH in keys and database_steps.OLD not in keys


def test_a_person_reads_how_it_begins_and_ends(tmp_path: Path) -> None:
    """At a terminal ``up`` and ``alarms dispatch --loop`` say what they do, how to stop them, and that they stopped."""
    with Site(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", "memory://") as site:
        running = site.start("up", "manage.py", "up", "--port", "0", "--no-admin").says("Ctrl-C stops it.")
        assert (running.stop(), "Stopped." in running.text().splitlines()) == (0, True)
        looping = site.start("loop", "manage.py", "alarms", "dispatch", "--loop").says("A pass every 5s")
        assert (looping.stop(), "Stopped." in looping.text().splitlines()) == (0, True)


def test_it_believes_a_proxy_that_it_is_told_of(tmp_path: Path) -> None:
    """Behind one, requests are over HTTPS where it says so, and failures count for the addresses that it gives."""
    given = {"BEHIND_PROXY": "1", "HTTPS": "1", "API_FAILURE_RATE": "1/h"}
    with up(tmp_path, **given) as running, running.client() as client:

        def status(path: str, scheme: str, address: str, **headers: str) -> int:
            by_proxy = {"X-Forwarded-Proto": scheme, "X-Forwarded-For": f"192.0.2.9, {address}"}
            return client.get(path, headers=by_proxy | headers).status_code

        assert [status("/admin/login/", scheme, "192.0.2.1") for scheme in ("http", "https")] == [301, 200]
        unknown = {"Authorization": "Bearer nobody-has-this-token"}
        asked = [status("/batcher/x", "https", f"192.0.2.{last}", **unknown) for last in (1, 1, 2)]
        assert asked == [401, 429, 401]


@pytest.mark.chaos
def test_it_stops_while_an_alarm_is_running(tmp_path: Path, upstream: Upstream) -> None:
    """SIGTERM ends it within 5 s with 0, however long an upstream keeps an alarm."""
    upstream.hold()
    with up(tmp_path) as running:
        pending_post(running, upstream)
        upstream.wait_for(1, PATIENCE)
        code, seconds = running.stopped_by(signal.SIGTERM)
        assert (code, seconds < SECONDS_TO_STOP) == (0, True)
        assert "runs again after the next start" in running.process.log.read_text("utf-8")


def test_the_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first signal asks for a clean stop, the second one does not wait for it."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    command = Command()
    command.ask_to_stop(signal.SIGINT, None)
    assert (command.stop_asked, codes) == (True, [])
    command.ask_to_stop(signal.SIGINT, None)
    assert codes == [130]


@pytest.mark.slow
def test_after_a_kill_overdue_alarms_run_at_once(tmp_path: Path) -> None:
    """Killed with -9 and started again, what became due meanwhile runs within 2 s of the first answered request."""
    with up(tmp_path) as running, running.client() as client:
        fire_at = datetime.now(UTC) + timedelta(seconds=1)
        put = client.put("/reminders/r", json={"message": "over there", "fire_at": fire_at.isoformat()})
        assert put.status_code == 200
        running.process.kill()
    wait_for("the reminder to be overdue", lambda: datetime.now(UTC) > fire_at, seconds=PATIENCE)
    with up(tmp_path) as running, running.client() as client:
        assert client.get("/health").status_code == 200
        wait_for("the reminder to be over", lambda: client.get("/reminders/r").json(), seconds=2, until=is_over)
        assert "over there" in running.process.log.read_text("utf-8")
        assert running.announced["admin"] == {"username": "admin", "password": None}


def is_over(reminder: dict[str, Any]) -> bool:
    """Whether nothing is set any more."""
    return reminder["message"] is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's")
def test_the_start_waits_for_who_writes() -> None:
    """A locked SQLite file is waited for longer while a site starts than by a request."""

    def waits() -> float:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            return float(cursor.fetchone()[0]) / 1000

    usual = waits()
    with patient():
        assert waits() == SECONDS_TO_BEGIN > usual
    assert waits() == usual


def test_the_token_is_made_once_and_kept_for_its_owner(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In development without API_TOKENS a token is made, the same for every start, that only its owner can read."""
    monkeypatch.setattr(tokens, "_accepted_here", [])
    http_settings.change(settings, TOKENS=[])
    settings.VAR_DIR, settings.DEBUG = tmp_path / "var", True
    token = Command().token()
    assert Command().token() == token
    assert token in tokens.known_tokens()
    (kept,) = settings.VAR_DIR.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_production_without_a_token_does_not_start(settings: Settings) -> None:
    """DEBUG=0 without API_TOKENS is refused: nobody would know the token that was made."""
    http_settings.change(settings, TOKENS=[])
    settings.DEBUG = False
    with pytest.raises(CommandError, match="API_TOKENS"):
        Command().token()


@pytest.mark.django_db
def test_the_admin_login_is_made_once() -> None:
    """The first start makes a superuser with a password of its own; later ones leave it, and any other, alone."""
    name, password = make_admin()
    user = get_user_model().objects.get()
    assert (user.get_username(), user.is_superuser, user.check_password(password or "")) == (name, True, True)
    assert make_admin() == (name, None)


@pytest.mark.django_db
def test_a_users_rights_are_not_raised() -> None:
    """Somebody's own user with our name is not made a superuser."""
    get_user_model().objects.create_user("admin", password="mine")
    assert make_admin() == ("", None)
    assert not get_user_model().objects.filter(is_superuser=True).exists()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104  nothing is bound here
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("a.example", "a.example"),
    ],
)
def test_the_address_can_be_opened(host: str, shown: str) -> None:
    """What is printed is an address that a browser on the same machine can open."""
    assert address_of(host, 8000) == f"http://{shown}:8000"
