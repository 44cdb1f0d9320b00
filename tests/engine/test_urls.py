"""``durable_objects.urls`` in a project that has included them, and nothing else of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path, reverse
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from durable_objects import doctor, health, now, prometheus
from durable_objects.conf import engine
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted

urlpatterns = [path("internal/", include("durable_objects.urls"))]
pytestmark = pytest.mark.urls(__name__)

TOKEN = "a-token-of-16-characters-or-more"
OPEN = ["health", "live", "ready"]


@pytest.fixture(autouse=True)
def foreign(settings: Settings) -> None:
    """A project's usual middleware, which asks for a login everywhere."""
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "MONITORING_TOKEN": TOKEN}


@contextmanager
def database_away() -> Iterator[None]:
    """Each statement fails, as it does on a connection that broke."""

    def fail(*args: Any) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(fail):
        yield


@pytest.fixture
def migrated() -> Iterator[MigrationRecorder]:
    """All migrations on record, whether the tests' database was made by them or from the models."""
    recorder = MigrationRecorder(connection)
    was_there = recorder.has_table()
    executor = MigrationExecutor(connection)
    for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes()):
        recorder.record_applied(migration.app_label, migration.name)
    yield recorder
    if not was_there:
        with connection.schema_editor() as editor:
            editor.delete_model(recorder.Migration)


def ask(name: str, **headers: str) -> HttpResponse:
    """GET one of the addresses, with these headers."""
    answer: Any = Client().get(reverse(f"durable_objects:{name}"), headers=headers)
    return answer  # type: ignore[no-any-return]


def status(name: str, **headers: str) -> tuple[int, str]:
    """The answer's status code, and the status that it names."""
    answer = ask(name, **headers)
    return answer.status_code, json_of(answer)["status"]


def json_of(answer: HttpResponse) -> dict[str, Any]:
    """The figures of an answer."""
    figures: dict[str, Any] = answer.json()  # type: ignore[attr-defined]
    return figures


def with_token(scheme: str = "Bearer", token: str = TOKEN) -> dict[str, str]:
    """The header that monitoring sends."""
    return {"Authorization": f"{scheme} {token}"}


def test_live_asks_no_database() -> None:
    """Whatever the database does: this test may not open it at all."""
    assert status("live") == (200, "ok")


@pytest.mark.django_db
def test_live_answers_while_the_database_is_away() -> None:
    """A process that is restarted for its database's sake is one more that is not there when it is back."""
    with database_away():
        assert status("live") == (200, "ok")
        assert status("ready") == (503, "database_away")
        assert status("health") == (503, "database_away")
        assert ask("metrics", **with_token()).status_code == 503


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…")
def test_a_standby_is_not_ready() -> None:
    """It answers whatever is read, and no turn can commit there; the doctor names it as well."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        assert status("ready") == (503, "read_only")
        assert [finding.code for finding in doctor.examine(now()) if finding.code == "read_only"] == ["read_only"]
    finally:
        connection.close()
    assert status("ready")[1] != "read_only"


@pytest.mark.django_db(transaction=True)
def test_ready_once_every_migration_is_applied(migrated: MigrationRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose code is ahead of the database gets no requests yet; afterwards migrations are not read again."""
    last = max(name for app, name in migrated.applied_migrations() if app == "durable_objects")
    migrated.record_unapplied("durable_objects", last)
    assert status("ready") == (503, "migrations_missing")
    migrated.record_applied("durable_objects", last)
    assert status("ready") == (200, "ok")
    monkeypatch.setattr(health, "MigrationExecutor", None)
    assert status("ready") == (200, "ok")
    with database_away():
        assert status("ready") == (503, "database_away")


@pytest.mark.django_db(transaction=True)
def test_late_alarms_are_a_matter_of_health_alone(migrated: MigrationRecorder, script: Script) -> None:
    """Health is 503 once an alarm is 30 s late; the process is alive and ready all the same."""
    with FakeClock() as clock:
        Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(0))
        assert status("health") == (200, "ok")
        clock.advance(timedelta(seconds=31))
        assert [status(name) for name in OPEN] == [(503, "late"), (200, "ok"), (200, "ok")]


@pytest.mark.django_db
def test_figures_are_for_who_has_the_token(script: Script) -> None:
    """A stranger learns whether it is well, and nothing else; the token shows figures and cause."""
    for wrong in ({}, with_token(token=TOKEN[:-1]), with_token("Basic"), {"Authorization": TOKEN}):
        assert json_of(ask("health", **wrong)) == {"status": "ok"}
    with FakeClock() as clock:
        Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(0))
        clock.advance(timedelta(seconds=31))
        figures = json_of(ask("health", **with_token()))
    assert (figures["armed"], figures["overdue"], figures["oldest_overdue_seconds"]) == (1, 1, 31.0)
    assert "1 alarm is late" in figures["cause"]


@pytest.mark.django_db
def test_metrics_are_closed_by_default(settings: Settings) -> None:
    """Without a token of the project's nobody reads them, with one only who sends it."""
    refused = ask("metrics", **with_token(token="another-token-of-16-characters"))
    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer")
    read = ask("metrics", **with_token("bearer"))
    assert (read.status_code, read["Content-Type"]) == (200, prometheus.CONTENT_TYPE)
    names = {family.name for family in text_string_to_metric_families(read.content.decode())}
    assert names >= {"durable_objects_alarms", "batcher_items_waiting"}
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "MONITORING_TOKEN": ""}
    for header in ({}, {"Authorization": "Bearer "}, with_token()):
        closed = ask("metrics", **header)
        assert closed.status_code == 403
        assert b"MONITORING_TOKEN" in closed.content
        assert json_of(ask("health", **header)) == {"status": "ok"}


@pytest.mark.django_db
def test_metrics_without_the_client_library_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that was not installed is named, and no other address needs it."""
    monkeypatch.delitem(sys.modules, "durable_objects.prometheus")
    monkeypatch.delattr("durable_objects.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = ask("metrics", **with_token())
    assert answer.status_code == 501
    assert b"django-durable-objects[metrics]" in answer.content
    assert status("health") == (200, "ok")


@pytest.mark.parametrize("name", [*OPEN, "metrics"])
@pytest.mark.django_db
def test_they_are_read_only_and_never_cached(name: str) -> None:
    """GET and HEAD only; no proxy keeps an answer."""
    address = reverse(f"durable_objects:{name}")
    assert Client().post(address).status_code == 405
    assert "no-store" in ask(name)["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_they_open_no_transaction(migrated: MigrationRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """ATOMIC_REQUESTS would open one, and so ask the database, before any view could answer that it is away."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert [status(name) for name in OPEN] == [(200, "ok")] * 3
    with database_away():
        assert [status(name) for name in OPEN] == [(503, "database_away"), (200, "ok"), (503, "database_away")]


@pytest.mark.parametrize("short", ["x", "fifteen-letters"])
def test_a_token_that_can_be_guessed_is_refused(short: str, settings: Settings) -> None:
    """``check`` reports it (E010), and so does the first use; the token is not repeated."""
    from durable_objects.conf import engine

    settings.DURABLE_OBJECTS = {"MONITORING_TOKEN": short}
    flaw = str(engine.flaw())
    assert "at least 16" in flaw
    assert f"{short!r}" not in flaw


@pytest.mark.django_db
def test_what_the_database_says_to_a_scrape_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A scrape that the database refused is told no words of it; the log has them."""
    with database_away():
        answer = client.get("/internal/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 503
    assert "the log has its words" in answer.text
    assert "closed the connection unexpectedly" not in answer.text
    assert "closed the connection unexpectedly" in caplog.text


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f" {TOKEN}", f"{TOKEN} {TOKEN}", f"{TOKEN}\u00e9", " " * 20])
def test_a_token_that_no_request_can_match_is_refused(settings: Settings, token: str) -> None:
    """A token from a file with its line's end would refuse every scrape: ``check`` says so, without showing it."""
    settings.DURABLE_OBJECTS = {"MONITORING_TOKEN": token}
    flaw = engine.flaw()
    assert flaw is not None
    assert "no request can match it" in flaw
    assert TOKEN not in flaw
