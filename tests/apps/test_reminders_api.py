"""Reminders over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from ninja.testing import TestClient

from durable_objects import InvalidAlarmTime, InvalidInput
from durable_objects.rows import Object
from reminders.api import router

pytestmark = pytest.mark.django_db

NOTHING: dict[str, Any] = {
    "message": None,
    "fire_at": None,
    "next_at": None,
    "recurrence": None,
    "time_zone": None,
    "channels": [],
    "person": None,
    "urgent": None,
}


@pytest.fixture
def client() -> TestClient:
    return TestClient(router)


def test_put_get_snooze_delete(client: TestClient) -> None:
    """PUT sets, GET shows, snooze puts off, DELETE takes away; all answer with what is set."""
    new = {
        "message": "tea",
        "fire_at": "2030-06-01T09:00:00+02:00",
        "recurrence": "FREQ=DAILY",
        "time_zone": "Europe/Berlin",
        "person": "ada",
        "urgent": True,
        "skip_if_late": 600,
    }
    state = client.put("/tea", json=new).json()
    assert state == client.get("/tea").json()
    assert (state["message"], state["next_at"], state["channels"]) == ("tea", "2030-06-01T07:00:00Z", ["log"])
    assert (state["person"], state["urgent"]) == ("ada", True)
    assert client.post("/tea/snooze", json={"by": 600}).json()["next_at"] == "2030-06-01T07:10:00Z"
    assert client.post("/tea/snooze", json={"by": "PT1H"}).json()["next_at"] == "2030-06-01T08:10:00Z"
    assert client.delete("/tea").json() == {"cancelled": True}
    assert client.get("/tea").json() == NOTHING


def test_one_never_set_answers_with_nothing(client: TestClient) -> None:
    """GET and DELETE of a reminder never set make no row."""
    assert client.get("/never").json() == NOTHING
    assert client.delete("/never").json() == {"cancelled": False}
    assert not Object.objects.exists()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"message": "tea", "fire_at": "soon"}, InvalidAlarmTime),
        ({"message": "tea", "fire_at": "2030-06-01T09:00:00"}, InvalidAlarmTime),
        ({"message": "tea", "fire_at": "2030-06-01T09:00:00Z", "recurrence": "now and then"}, InvalidInput),
    ],
)
def test_what_the_contract_refuses(client: TestClient, body: dict[str, Any], error: type[Exception]) -> None:
    """The contract's errors go to whoever mounted the router."""
    with pytest.raises(error):
        client.put("/tea", json=body)


@pytest.mark.parametrize(
    "body", [{}, {"message": 5, "fire_at": "2030-06-01T09:00:00Z"}, {"message": "a", "fire_at": 5}, [], {"mesage": "a"}]
)
def test_what_the_schema_refuses(client: TestClient, body: Any) -> None:
    """A body of another form is 422, also one with a name that is not known."""
    assert client.put("/tea", json=body).status_code == 422
    assert client.post("/tea/snooze", json={"by": "a while"}).status_code == 422
