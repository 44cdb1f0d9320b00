"""What the HTTP interface says of a value that it refuses: the field of the JSON, and what is allowed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from tests.support import http_settings

pytestmark = pytest.mark.django_db
TOKEN = "a-token"
TIME = "a time with its offset from UTC, after 1970 and up to the year 9990, such as 2030-01-31T09:00:00+01:00"
DURATION = "a duration: seconds, or ISO 8601 such as PT10M"
#: Names and texts of the code, of Python and of the libraries below the interface.
FOREIGN = re.compile(
    r"datetime|timedelta|naive|aware|body\.|\bnew\b|snoozed|Input should|dictionary|Value error|None|exactly|frozenset"
)


@pytest.fixture
def client(settings: Any) -> Client:
    http_settings.change(settings, TOKENS=[TOKEN])
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


def refused(answer: Any) -> tuple[str, Any]:
    """The message and what is allowed."""
    error = answer.json()["error"]
    assert (answer.status_code, FOREIGN.findall(f"{error['message']} {error['allowed']}")) == (422, [])
    return error["message"], error["allowed"]


@pytest.mark.parametrize(
    ("change", "problem", "allowed"),
    [
        ({"fire_at": "2030-01-01T09:00"}, "fire_at is 2030-01-01T09:00:00", TIME),
        ({"fire_at": "soon"}, 'fire_at is "soon"', TIME),
        ({"fire_at": "1960-01-01T00:00Z"}, "fire_at is 1960-01-01T00:00:00+00:00", TIME),
        ({"fire_at": "9995-01-01T00:00Z"}, "fire_at is 9995-01-01T00:00:00+00:00", TIME),
        ({"message": 5}, "message is not text", "message: text"),
        ({"message": None}, "message is not text", "message: text"),
        ({"message": "\0"}, r'message is "\u0000", which has a NUL character at position 0',
         "up to 100,000 characters of text"),
        ({"colour": "red"}, "colour is not a field of this request", "the fields that /openapi.json describes"),
        ({"channels": "log"}, "channels is not a list", "channels: a list"),
        ({"channels": ["log", 5]}, "channels.1 is not text", "channels.1: text"),
        ({"urgent": "maybe"}, "urgent is not true or false", "urgent: true or false"),
        ({"skip_if_late": "x"}, "skip_if_late is not a duration", f"skip_if_late: {DURATION}"),
        ({"skip_if_late": "P1M"}, "skip_if_late: a month, a year or a boolean is no fixed duration",
         f"skip_if_late: {DURATION}"),
        ({"skip_if_late": 0}, "skip_if_late is 0 s", "a duration above 0, up to 3650 days"),
    ],
)  # fmt: skip
def test_a_refused_field_is_named_as_in_the_json(
    client: Client, change: dict[str, Any], problem: str, allowed: str
) -> None:
    """A reminder with one wrong field is refused by the field's name, and with what would be accepted."""
    body = {"message": "tea", "fire_at": "2030-01-01T09:00:00Z", **change}
    message, would_do = refused(client.put("/reminders/tea", json.dumps(body), content_type="application/json"))
    assert (message[: len(problem)], would_do) == (problem, allowed)


def test_a_missing_field_is_named(client: Client) -> None:
    """So is each one that is missing; a body that is no object, or none at all, is called the body."""
    answer = client.put("/reminders/tea", json.dumps({"message": "tea"}), content_type="application/json")
    assert refused(answer) == ("fire_at is missing", "fire_at: a value")
    answer = client.put("/reminders/tea", "[]", content_type="application/json")
    assert refused(answer) == ("the body is not a JSON object", "the body: a JSON object")
    answer = client.put("/reminders/tea", "", content_type="application/json")
    assert refused(answer) == ("the body is missing", "the body: a value")


@pytest.mark.parametrize(("by", "problem"), [(0, "by is 0 s"), (-5, "by is -5 s"), (10**9, "by is 1,000,000,000 s")])
def test_a_snooze_that_is_none_is_shown_in_seconds(client: Client, by: int, problem: str) -> None:
    """A duration that is refused is shown as a client could have sent it."""
    body = {"message": "tea", "fire_at": "2030-01-01T09:00:00Z"}
    client.put("/reminders/tea", json.dumps(body), content_type="application/json")
    answer = client.post("/reminders/tea/snooze", json.dumps({"by": by}), content_type="application/json")
    message, allowed = refused(answer)
    assert (message.split(".")[0], allowed) == (problem, "a duration above 0, up to 3650 days")


def test_a_reminder_that_is_not_set_cannot_be_snoozed(client: Client) -> None:
    """The answer says what to do first."""
    answer = client.post("/reminders/none/snooze", json.dumps({"by": 5}), content_type="application/json")
    assert refused(answer)[1] == "a reminder that is set"


def test_a_part_of_the_path_is_named(client: Client) -> None:
    """So is a part of the path."""
    assert refused(client.get("/batcher/a/items/x")) == ("item is not a whole number", "item: a whole number")


def test_the_engines_own_errors_speak_of_json(client: Client) -> None:
    """What the engine allows is named as JSON has it, in the message and beside it, and not by types of Python."""
    message, allowed = refused(client.get(f"/batcher/{'x' * 600}"))
    assert allowed == "text of 1 to 512 characters, without NUL or lone surrogates"
    assert message.endswith(f"has 600 characters. Allowed: {allowed}.")
    message, allowed = refused(client.post("/batcher/a", json.dumps("\0"), content_type="application/json"))
    assert allowed.startswith("a JSON value, at most 200 levels deep, without NUL")
    assert message.endswith(f"has a NUL character at position 0. Allowed: {allowed}.")
