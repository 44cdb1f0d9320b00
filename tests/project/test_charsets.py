"""One rule for the charsets of bodies, whichever app they are for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from batcher.models import Batcher
from reminders.models import Reminder

pytestmark = pytest.mark.django_db

TEXT = json.dumps({"message": "größer", "fire_at": "2036-01-01T00:00:00Z"}, ensure_ascii=False)


def both(client: Client, settings: Settings, parameter: str, body: bytes) -> list[Any]:
    """What a batcher and a reminder say to a body of this charset."""
    settings.API_TOKENS = ["good"]
    headers, kind = {"Authorization": "Bearer good"}, f"application/json{parameter}"
    asked = [("POST", "/batcher/a"), ("PUT", "/reminders/a")]
    return [client.generic(method, path, body, kind, headers=headers) for method, path in asked]


@pytest.mark.parametrize(
    ("parameter", "encoding"),
    [
        ("", "utf-8"),
        ("; charset=utf-8", "utf-8"),
        ('; charset="UTF-8"; x=y', "utf-8"),
        ("; charset=utf-16", "utf-16"),
        ("; charset=UTF-16LE", "utf-16-le"),
        ("; charset=windows-1252", "cp1252"),
        ("; charset=iso-8859-1", "latin-1"),
    ],
)
def test_both_apps_read_what_a_body_says_it_is(
    client: Client, settings: Settings, parameter: str, encoding: str
) -> None:
    """The charset that the Content-Type names, else UTF-8."""
    responses = both(client, settings, parameter, TEXT.encode(encoding))
    assert [response.status_code for response in responses] == [200, 200]
    reminder = Reminder.objects.get_by_name("a").get_reminder()
    assert reminder is not None
    assert reminder["message"] == "größer"
    assert "größer" in str(Batcher.objects.get_by_name("a").storage.list())


@pytest.mark.parametrize(
    ("parameter", "body"),
    [
        ("", TEXT.encode("utf-16")),
        ("", TEXT.encode("latin-1")),
        ("", TEXT.encode("utf-8-sig")),
        ("; charset=ascii", TEXT.encode()),
        ("; charset=utf-16", b"\x00"),
        ("; charset=klingon", TEXT.encode()),
        ("; charset=hex", TEXT.encode().hex().encode()),
        ("; charset=rot13", b"text"),
    ],
)
def test_both_apps_refuse_what_it_is_not(client: Client, settings: Settings, parameter: str, body: bytes) -> None:
    """Bytes that are not in the charset, and a charset that is none of text, are malformed: nothing is guessed."""
    for response in both(client, settings, parameter, body):
        assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed")
