"""Who did what over HTTP: the log names the token."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects.http import tokens
from durable_objects.http.models import ApiToken
from tests.support import http_settings
from tests.support.server_interfaces import WAYS, RawRequest
from tests.support.threads import await_event

pytestmark = pytest.mark.django_db(transaction=True)

JSON = ("Content-Type", "application/json")
REMINDER = b'{"message": "m", "fire_at": "2100-01-01T00:00:00Z"}'
WRITES = [
    (RawRequest("POST", b"/batcher/a", (), b"x"), "POST '/batcher/a': 200"),
    (RawRequest("POST", b"/batcher/a%0A2026-01-01%20FORGED", (), b"x"), r"POST '/batcher/a\n2026-01-01 FORGED': 200"),
    (RawRequest("POST", b"/batcher/a", (JSON,), b"{"), "POST '/batcher/a': 400"),
    (RawRequest("POST", b"/batcher/a", (JSON,), b'"\\u0000"'), "POST '/batcher/a': 422"),
    (RawRequest("DELETE", b"/batcher/a/alarm"), "DELETE '/batcher/a/alarm': 200"),
    (RawRequest("PUT", b"/reminders/r", (JSON,), REMINDER), "PUT '/reminders/r': 200"),
    (RawRequest("POST", b"/reminders/r/snooze", (JSON,), b'{"by": 60}'), "POST '/reminders/r/snooze': 200"),
    (RawRequest("DELETE", b"/reminders/r"), "DELETE '/reminders/r': 200"),
    (RawRequest("POST", b"/metrics"), "POST '/metrics': 405"),
]


@pytest.fixture(autouse=True)
def _as_under_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)


def with_token(sent: RawRequest, token: str) -> RawRequest:
    """The request of who has this token."""
    return RawRequest(sent.method, sent.target, (*sent.headers, ("Authorization", f"Bearer {token}")), sent.body)


@pytest.mark.parametrize("way", WAYS)
def test_each_write_names_its_token(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """PUT, POST and DELETE leave a line each with the token's name, the answer and the address; never the token."""
    row = ApiToken(name="the\nshop", scopes=["batcher:write", "reminders:write"])
    token = row.issue()
    assert tokens.authenticate(f"Bearer {token}")  # familiar, so that the fast path takes it
    with caplog.at_level(logging.INFO, "durable_objects.http.audit"):
        for sent, _ in WRITES:
            WAYS[way](with_token(sent, token))
    lines = [record for record in caplog.records if record.name == "durable_objects.http.audit"]
    who = f"with the token {str(row)!r} from 127.0.0.1"
    assert [line.getMessage() for line in lines] == [f"{text}, {who}" for _, text in WRITES]
    assert {line.__dict__["token"] for line in lines} == {str(row)}
    assert token not in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_what_is_refused_to_a_known_token(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """A token that tries what it may not is named too."""
    token = ApiToken(name="the shop", scopes=["batcher:read"]).issue()
    with caplog.at_level(logging.INFO, "durable_objects.http.audit"):
        assert WAYS[way](with_token(WRITES[0][0], token)).status == 403
    lines = [record.getMessage() for record in caplog.records if record.name == "durable_objects.http.audit"]
    assert [line.partition(" (")[0] for line in lines] == ["POST '/batcher/a': 403, with the token 'the shop"]


@pytest.mark.parametrize("way", WAYS)
def test_what_changes_nothing_is_no_line(way: str, caplog: pytest.LogCaptureFixture, settings: Settings) -> None:
    """Looks are not recorded, nor is what somebody without a known token asked for."""
    http_settings.change(settings, TOKENS=["a-token-of-the-tests"])
    with caplog.at_level(logging.INFO, "durable_objects.http.audit"):
        WAYS[way](with_token(RawRequest("GET", b"/batcher/a"), "a-token-of-the-tests"))
        WAYS[way](with_token(RawRequest("POST", b"/batcher/a", (), b"x"), "another"))
        WAYS[way](RawRequest("POST", b"/admin/login/"))
        WAYS[way](with_token(RawRequest("POST", b"/batcher/a", (), b"x"), "a-token-of-the-tests"))
    lines = [record.getMessage() for record in caplog.records if record.name == "durable_objects.http.audit"]
    assert lines == ["POST '/batcher/a': 200, with the token 'TOKENS 1' from 127.0.0.1"]


def test_what_is_cut_off_may_have_changed_something(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that goes before the answer is recorded with the status 499."""
    caplog.set_level(logging.INFO, "durable_objects.http.audit")
    token, begun = ApiToken(name="the shop", scopes=["batcher:write"]).issue(), threading.Event()
    cancel_alarm, go_on = Batcher.cancel_alarm, threading.Event()

    def slowly(batcher: Batcher) -> None:
        begun.set()
        await_event(go_on)
        cancel_alarm(batcher)

    monkeypatch.setattr(Batcher, "cancel_alarm", slowly)
    scope = {
        "type": "http", "method": "DELETE", "path": "/batcher/a/alarm", "raw_path": b"/batcher/a/alarm",
        "query_string": b"", "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1), "scheme": "http",
    }  # fmt: skip
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.to_thread(await_event, begun)
        asyncio.get_running_loop().call_later(0.2, go_on.set)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(f"nobody takes {message}")

    asyncio.run(ASGIHandler()(scope, receive, send))
    assert [line.__dict__["status"] for line in caplog.records] == [499]
