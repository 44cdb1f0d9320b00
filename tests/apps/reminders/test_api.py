"""Reminders over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ninja.testing import TestClient

from durable_objects import InvalidAlarmTime, InvalidInput
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from reminders.api import router
from reminders.channels import Message
from tests.support.passing_time import outcomes, pass_time
from tests.support.sent_messages import Sent

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


def at(clock: FakeClock, **more: Any) -> dict[str, Any]:
    """A reminder that is due at the clock's now."""
    return {"message": "tea", "fire_at": clock.now().isoformat()} | more


def test_the_same_put_again_after_its_delivery(client: TestClient, alarm_clock: FakeClock, sent: Sent) -> None:
    """A PUT that is repeated, as a client does whose answer was lost, delivers nothing again, also in other words."""
    new = at(alarm_clock)
    client.put("/tea", json=new)
    pass_time(alarm_clock)
    same = datetime.fromisoformat(new["fire_at"]).astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
    for again in (new, new | {"fire_at": same}, new | {"channels": ["log"], "urgent": False, "time_zone": "UTC"}):
        assert client.put("/tea", json=again).json() == NOTHING
        assert outcomes(alarm_clock, timedelta(hours=1)) == []
    assert len(sent) == 1


@pytest.mark.parametrize(
    "change", [{"message": "coffee"}, {"urgent": True}, {"person": "ada"}, {"skip_if_late": 86400}]
)
def test_another_put_after_its_delivery(
    change: dict[str, Any], client: TestClient, alarm_clock: FakeClock, sent: Sent
) -> None:
    """Whatever is changed makes it another reminder, which is delivered."""
    new = at(alarm_clock)
    client.put("/tea", json=new)
    pass_time(alarm_clock)
    client.put("/tea", json=new | change)
    pass_time(alarm_clock)
    assert len({message.key for message in sent}) == 2


def test_the_same_put_again_after_it_was_cancelled(client: TestClient, alarm_clock: FakeClock, sent: Sent) -> None:
    """What was taken away, or was delivered and then taken away, can be set again."""
    new = at(alarm_clock)
    client.put("/tea", json=new)
    client.delete("/tea")
    assert client.put("/tea", json=new).json()["message"] == "tea"
    pass_time(alarm_clock)
    assert len(sent) == 1


def test_the_same_put_again_in_the_middle_of_a_series(client: TestClient, alarm_clock: FakeClock, sent: Sent) -> None:
    """A series keeps its place, and a snooze: no occurrence comes twice, none is left out."""
    new = at(alarm_clock, recurrence="FREQ=DAILY;COUNT=3")
    client.put("/tea", json=new)
    pass_time(alarm_clock)
    snoozed = client.post("/tea/snooze", json={"by": 3600}).json()
    assert client.put("/tea", json=new).json() == snoozed
    for _ in range(8):
        pass_time(alarm_clock, timedelta(hours=13))
        client.put("/tea", json=new)
    assert len(sent) == len({message.key for message in sent}) == 3


def test_the_same_put_again_while_it_is_tried(client: TestClient, alarm_clock: FakeClock, sent: Sent) -> None:
    """A delivery that is tried again keeps its key and its tries; once it has failed for good, PUT begins again."""
    new = at(alarm_clock)

    def fail(message: Message) -> None:
        client.put("/tea", json=new)
        raise ConnectionError("nobody there")

    sent.act = fail
    client.put("/tea", json=new)
    assert [outcome for _ in range(8) for outcome in outcomes(alarm_clock, timedelta(minutes=2))][-1] == "dead"
    assert (len(sent), len({message.key for message in sent})) == (7, 1)
    sent.act = None
    client.put("/tea", json=new)
    pass_time(alarm_clock)
    assert (len(sent), len({message.key for message in sent})) == (8, 2)


@pytest.mark.parametrize("span", [True, False, "P1M", "P1Y", "P1Y2M3DT4H", "P1M1D", "-P1M", "+P1Y", "P0001M"])
def test_a_span_has_a_fixed_length(client: TestClient, span: Any) -> None:
    """A month, a year and a boolean are refused, with words on what is allowed; minutes and weeks are what they say."""
    client.put("/tea", json={"message": "tea", "fire_at": "2030-06-01T07:00:00Z"})
    body = {"message": "tea", "fire_at": "2030-06-01T07:00:00Z", "skip_if_late": span}
    for answer in (client.post("/tea/snooze", json={"by": span}), client.put("/tea", json=body)):
        assert answer.status_code == 422
        assert "give seconds, or such as PT10M" in str(answer.json())
    assert client.get("/tea").json()["next_at"] == "2030-06-01T07:00:00Z"
    assert client.post("/tea/snooze", json={"by": "P1WT1M"}).json()["next_at"] == "2030-06-08T07:01:00Z"
