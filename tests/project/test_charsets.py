"""One rule for the charsets of bodies, whichever app they are for."""

from __future__ import annotations

import json
import time
from encodings import aliases
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects.http_bodies import charset_of, readable
from reminders.models import Reminder
from tests.support import http_settings

pytestmark = pytest.mark.django_db

TEXT = json.dumps({"message": "größer", "fire_at": "2036-01-01T00:00:00Z"}, ensure_ascii=False)


def both(client: Client, settings: Settings, parameter: str, body: bytes) -> list[Any]:
    """What a batcher and a reminder say to a body of this charset."""
    http_settings.change(settings, TOKENS=["good"])
    headers, kind = {"Authorization": "Bearer good"}, f"application/json{parameter}"
    asked = [("POST", "/batcher/a"), ("PUT", "/reminders/a")]
    return [client.generic(method, path, body, kind, headers=headers) for method, path in asked]


ENOUGH = 10.0
"""Seconds for what takes some hundredths, and took minutes."""


def named(charset: str) -> bool:
    """Whether a Content-Type may name it."""
    try:
        return charset_of(f"text/plain; charset={charset}") is not None
    except ValueError:
        return False


@pytest.mark.slow
def test_every_charset_is_decoded_in_time_for_the_length_of_the_text() -> None:
    """So that no body holds up the others: slow codecs are no charsets here."""
    charsets = sorted(filter(named, {*aliases.aliases, *aliases.aliases.values()}))
    assert {"utf_8", "latin_1", "cp1252", "shift_jis", "gb18030"} <= {*charsets}
    began = time.perf_counter()
    for charset in charsets:
        for body in (b"a" * 1_000_000, b"\xff" * 20_000, b"\x81\x00" * 10_000):
            readable(body, f"text/plain; charset={charset}")
    assert time.perf_counter() - began < ENOUGH


@pytest.mark.parametrize(
    "content_type",
    [
        f'a/b; x="{";" * 120_000}', f"a/b; charset*{'9' * 4400}=x",
        "a/b; charset*=nonsense''utf-8", "a/b; charset=a\0b",
        "a/b; charset=\xfc", "a/b; charset=punycode", "a/b; charset*0=ut; charset*1=f-8",
    ],
)  # fmt: skip
def test_an_answer_is_read_whatever_its_content_type_says(content_type: str) -> None:
    """As UTF-8 where nothing else can be made of it, and at once."""
    began = time.perf_counter()
    assert readable("größer".encode(), content_type) == "größer"
    assert time.perf_counter() - began < ENOUGH


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
        ("; charset=punycode", b"text"),
        ("; charset=idna", b"text"),
        ("; charset=utf-7", b"text"),
    ],
)
def test_both_apps_refuse_what_it_is_not(client: Client, settings: Settings, parameter: str, body: bytes) -> None:
    """Bytes that are not in the charset, and a charset that is none of text, are malformed: nothing is guessed."""
    for response in both(client, settings, parameter, body):
        assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed")
