"""What probes answer while something is wrong: the database is silent, new or without tables, a setting is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from durable_objects import health
from tests.support.tcp_proxy import TcpProxy

urlpatterns = [path("internal/", include("durable_objects.urls"))]
pytestmark = pytest.mark.urls(__name__)
on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's: a server")

TOKEN = "a-token-of-16-characters-or-more"
SECONDS = 0.5
ASKED = ["health", "ready"]


@pytest.fixture(autouse=True)
def foreign(settings: Settings) -> None:
    """A project without middleware, whose figures are open to who has the token."""
    settings.MIDDLEWARE = []
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "MONITORING_TOKEN": TOKEN}


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """The wire between this process and its database."""
    given = connection.settings_dict
    proxy = TcpProxy(int(given["PORT"] or 5432))
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(given, "HOST", "127.0.0.1")
        patch.setitem(given, "PORT", str(proxy.port))
        patch.setattr(health, "SECONDS_TO_ANSWER", SECONDS)
        yield proxy
        proxy.thaw()
        connection.close()
    proxy.stop()


def ask(name: str) -> tuple[int, dict[str, Any]]:
    """What is answered to a stranger."""
    answer = Client().get(f"/internal/{name}")
    return answer.status_code, answer.json()


def scrape() -> int:
    """The status code that a scrape gets."""
    return Client().get("/internal/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code


@pytest.mark.django_db
def test_a_database_without_tables_is_not_away() -> None:
    """Before the first ``migrate`` health says so: nobody looks for a server that answers."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE durable_objects_alarm RENAME TO moved_away")
    assert ask("health") == (503, {"status": "not_migrated"})


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_database_that_was_restarted_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was kept over the restart is replaced, not reported."""
    monkeypatch.setattr(health, "_migrated", True)
    for probe in (partial(ask, "health"), partial(ask, "ready"), scrape):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            session = cursor.fetchone()[0]
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [session])
        other.close()
        assert probe() in (200, (200, {"status": "ok"}))


@on_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kept", [True, False], ids=["a kept connection", "no connection"])
@pytest.mark.parametrize("name", ASKED)
def test_a_silent_database_is_waited_for_a_moment(
    name: str, kept: bool, wire: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes connections and says nothing holds no probe: it is away, and well again once it speaks."""
    monkeypatch.setattr(health, "_migrated", True)
    monkeypatch.delitem(connection.settings_dict["OPTIONS"], "connect_timeout", raising=False)
    assert ask(name) == (200, {"status": "ok"})
    if not kept:
        connection.close()
    wire.freeze()
    began = time.monotonic()
    assert ask(name) == (503, {"status": "database_away"})
    assert time.monotonic() - began < 2 * SECONDS + 2
    wire.thaw()
    assert ask(name) == (200, {"status": "ok"})


@pytest.mark.parametrize("given", [{"LEES": 1}, {"DATABASE": "nowhere"}, {"MONITORING_TOKEN": "a-secret"}, "text"])
def test_a_refused_setting_is_told_by_the_probes(given: Any, settings: Settings) -> None:
    """Where no check ran, readiness and health answer 503 with the sentence that ``check`` has, and no secret."""
    settings.DURABLE_OBJECTS = given
    answers = [ask(name) for name in ASKED]
    for code, body in answers:
        assert (code, body["status"]) == (503, "misconfigured")
        assert body["cause"].startswith("DURABLE_OBJECTS")
        assert "a-secret" not in body["cause"]
    assert ask("live") == (200, {"status": "ok"})
    if given != {"DATABASE": "nowhere"}:
        assert scrape() == 503
