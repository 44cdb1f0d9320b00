"""What needs no token: the health of the alarms, and the description of all routes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.test import Client

from batcher.models import Batcher
from durable_objects.testing import FakeClock
from project import health

pytestmark = pytest.mark.django_db


def test_the_description_is_open_and_names_every_path(client: Client) -> None:
    """OpenAPI's description of all routes needs no token."""
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/batcher/{name}",
        "/batcher/{name}/alarm",
        "/reminders/{name}",
        "/reminders/{name}/snooze",
        "/health",
    }


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


def test_health_is_red_when_the_database_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot reach its database is not healthy, and says which it is."""

    def away() -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(health, "figures", away)
    response = client.get("/health")
    assert (response.status_code, response.json()) == (503, {"status": "database_away"})
