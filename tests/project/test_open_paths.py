"""What needs no token: the health of the alarms, and the description of all routes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects.testing import FakeClock
from project.api import api

pytestmark = pytest.mark.django_db


PATHS = {
    "/batcher/{name}",
    "/batcher/{name}/items/{item}",
    "/batcher/{name}/alarm",
    "/reminders/{name}",
    "/reminders/{name}/snooze",
    "/health",
    "/ready",
    "/live",
    "/metrics",
}
PROBES = ("get /health", "get /ready", "get /live")


def test_the_description_is_open_and_names_every_path(client: Client) -> None:
    """OpenAPI's description of all routes needs no token."""
    assert set(client.get("/openapi.json").json()["paths"]) >= PATHS


def operations(client: Client) -> list[tuple[str, dict[str, Any]]]:
    """Every operation of the description, by method and path."""
    paths = client.get("/openapi.json").json()["paths"]
    return [(f"{method} {path}", operation) for path, methods in paths.items() for method, operation in methods.items()]


def test_every_operation_says_how_it_refuses(client: Client) -> None:
    """Each operation has words, a tag, and every refusal in our form with an example; a token where one is asked."""
    for name, operation in operations(client):
        assert operation["description"], name
        assert operation["tags"], name
        guarded = name not in PROBES
        assert bool(operation.get("security")) == guarded, name
        refusals = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert refusals.keys() >= {"400", "404", "413", "415", "500", "503"}, name
        assert not guarded or refusals.keys() >= {"401", "403", "422", "429"}, name
        for status, answer in refusals.items():
            if name in PROBES and status == "503":
                continue  # the figures say it
            content = answer["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}, (name, status)
            assert content["example"]["error"]["message"], (name, status)


def test_every_description_of_data_has_a_name_of_its_own() -> None:
    """No two routes describe different answers under one name, which would make one description a lie."""
    found: dict[str, set[str]] = {}
    for router in api._get_bound_routers():
        for path_view in router.path_operations.values():
            for operation in path_view.operations:
                for model in operation.response_models.values():
                    annotations = getattr(model, "model_fields", {}).values()
                    for each in (field.annotation for field in annotations):
                        found.setdefault(getattr(each, "__name__", "?"), set()).add(f"{each!r}")
    assert {name: classes for name, classes in found.items() if len(classes) > 1} == {}


def test_health_is_open_and_green(client: Client) -> None:
    """While nothing is late health is 200 with its figures, without a token."""
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response.json()["overdue"] == 0


def test_health_is_red_when_an_alarm_is_late() -> None:
    """An alarm that is due is no reason for alarm; one that nobody runs for longer is."""
    client = Client()
    with FakeClock() as clock:
        Batcher.objects.get_by_name("a").add_item("x")
        assert client.get("/health").json()["armed"] == 1
        clock.advance(timedelta(seconds=15))
        due = client.get("/health")
        assert (due.status_code, due.json()["overdue"]) == (200, 1)
        clock.advance(timedelta(seconds=30))
        late = client.get("/health")
        assert (late.status_code, late.json()["status"]) == (503, "late")
        assert late.json()["oldest_overdue_seconds"] == pytest.approx(35, abs=1)


def test_the_probes_say_when_the_database_is_away(client: Client) -> None:
    """A system that cannot reach its database is neither healthy nor ready, and says which it is; it is alive."""

    def away(*args: Any) -> Any:
        raise OperationalError("no connection")

    with connection.execute_wrapper(away):
        for path in ("/health", "/ready"):
            response = client.get(path)
            assert (response.status_code, response.json()) == (503, {"status": "database_away"})
        assert client.get("/live").json() == {"status": "ok"}


def test_the_probes_say_which_setting_is_refused(client: Client, settings: Settings) -> None:
    """Where no check ran before the server, they answer 503 with the sentence that ``check`` has; it is alive."""
    settings.DURABLE_OBJECTS = {"LEES": timedelta(seconds=60)}
    for path in ("/health", "/ready"):
        response = client.get(path)
        assert (response.status_code, response.json()["status"]) == (503, "misconfigured")
        assert "unknown key 'LEES'" in response.json()["cause"]
    assert client.get("/live").json() == {"status": "ok"}
