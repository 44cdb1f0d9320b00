"""The HTTP interface refuses what the contract refuses, in one form, and then has changed nothing."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects import DurableObjectError, ObjectBusy
from durable_objects.http.body_limit import MAX_BODY_BYTES
from durable_objects.tables import Object
from tests.support import http_settings

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-the-tests"
IN = {"Authorization": f"Bearer {TOKEN}"}
REMINDER = {"message": "m", "fire_at": "2030-01-31T09:00:00+01:00"}
TEXT = "text/plain"
JSON = "application/json"


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    http_settings.change(settings, TOKENS=[TOKEN])


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error of a response that was refused in our form; nothing was made, and no cookie is set."""
    assert response.status_code == status, response.content
    body: dict[str, dict[str, Any]] = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "allowed"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    assert not response.cookies
    assert not Object.objects.exists()
    return body["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xe4\xf6"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/batcher/a"),
        ("get", "/batcher/a"),
        ("delete", "/batcher/a/alarm"),
        ("put", "/reminders/a"),
        ("get", "/reminders/a"),
        ("delete", "/reminders/a"),
        ("post", "/reminders/a/snooze"),
    ],
)
def test_without_a_known_token_nothing_is_done(client: Client, headers: dict[str, str], method: str, path: str) -> None:
    """Every route asks for one of the tokens, and for the whole of it."""
    response = getattr(client, method)(path, REMINDER, content_type=JSON, headers=headers)
    assert "manage.py tokens create" in refused(response, 401, "unauthorized")["allowed"]
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("tokens", [[], [""]])
def test_closed_by_default(client: Client, settings: Settings, tokens: list[str]) -> None:
    """Where no token is configured nobody gets in, an empty one neither."""
    http_settings.change(settings, TOKENS=tokens)
    for sent in ("Bearer ", "Bearer", f"Bearer {TOKEN}"):
        refused(client.get("/batcher/a", headers={"Authorization": sent}), 401, "unauthorized")


def test_any_of_the_tokens_opens(client: Client, settings: Settings) -> None:
    """Several tokens are accepted at a time, so that one can be replaced."""
    http_settings.change(settings, TOKENS=["other", TOKEN])
    assert client.get("/batcher/a", headers=IN).json() == {"queued": 0, "alarm": None}


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("path", ["/nowhere", "/batcher", "/batcher/", "/batcher/a/b", "/batcher/a%2Fb", "/docs"])
def test_unknown_path(client: Client, settings: Settings, path: str, *, debug: bool) -> None:
    """An unknown path is answered in our form, in development too; a name is one path segment."""
    settings.DEBUG = debug
    assert "/batcher/<name>" in refused(client.get(path, headers=IN), 404, "not_found")["allowed"]


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_wrong_method(client: Client, method: str) -> None:
    """A method that a path does not have is refused with those that it has."""
    response = getattr(client, method)("/batcher/a", headers=IN)
    assert sorted(refused(response, 405, "method_not_allowed")["allowed"]) == ["GET", "HEAD", "POST"]
    assert sorted(response["Allow"].split(", ")) == ["GET", "HEAD", "POST"]


@pytest.mark.parametrize("body", ["{", " ", "[1,]", "NaN", b"\xff", '"\\'])
def test_malformed_json(client: Client, body: str | bytes) -> None:
    """A body that is not the JSON that it claims to be is malformed, as an item and as a reminder."""
    refused(client.post("/batcher/a", body, content_type=JSON, headers=IN), 400, "malformed")
    refused(client.put("/reminders/a", body, content_type=JSON, headers=IN), 422 if body == "NaN" else 400,
            "refused" if body == "NaN" else "malformed")  # fmt: skip


def test_text_that_is_not_utf8(client: Client) -> None:
    """A body of text is UTF-8."""
    refused(client.post("/batcher/a", b"\xff\xfe", content_type=TEXT, headers=IN), 400, "malformed")


@pytest.mark.parametrize("name", ["n" * 513, "a%00b", "%00"])
def test_names_that_no_object_can_have(client: Client, name: str) -> None:
    """A name beyond the contract is refused by every route, reads too, with the rule for names."""
    for method, path in [("POST", f"/batcher/{name}"), ("GET", f"/batcher/{name}"), ("GET", f"/reminders/{name}")]:
        response = client.generic(method, path, "x", TEXT, headers=IN)
        assert "1 to 512" in refused(response, 422, "invalid_name")["allowed"]


@pytest.mark.parametrize("item", ['"a\\u0000b"', '{"a\\u0000": 1}', '"\\ud800"'])
def test_items_that_no_database_keeps(client: Client, item: str) -> None:
    """NUL and lone surrogates are refused, not changed."""
    response = client.post("/batcher/a", item, content_type=JSON, headers=IN)
    assert refused(response, 422, "invalid_value")["allowed"]


@pytest.mark.parametrize(
    "changed",
    [
        {"message": None},
        {"message": 7},
        {"fire_at": "soon"},
        {"fire_at": "2030-01-31T09:00:00"},
        {"fire_at": 12345},
        {"fire_at": "1960-01-01T00:00:00Z"},
        {"channels": ["pigeon"]},
        {"surprise": 1},
    ],
)
def test_reminders_that_the_contract_refuses(client: Client, changed: dict[str, Any]) -> None:
    """A reminder with a field that is missing, of another type, unknown or out of its range is not set."""
    response = client.put("/reminders/a", REMINDER | changed, content_type=JSON, headers=IN)
    assert response.status_code == 422
    refused(response, 422, response.json()["error"]["code"])


def test_a_body_of_the_largest_size(client: Client) -> None:
    """A body of exactly 1 MiB passes the limit of bodies; what its batcher says is another matter."""
    response = client.post("/batcher/a", "x" * MAX_BODY_BYTES, content_type=TEXT, headers=IN)
    assert response.status_code != 413


def test_a_body_that_says_it_is_too_large(client: Client) -> None:
    """One byte over 1 MiB is refused."""
    response = client.post("/batcher/a", "x" * (MAX_BODY_BYTES + 1), content_type=TEXT, headers=IN)
    assert str(MAX_BODY_BYTES) in refused(response, 413, "too_large")["allowed"]


class Endless(BytesIO):
    """A body without end that counts what was read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        self.taken += size
        return b"x" * size


def test_a_body_that_does_not_say_its_size(client: Client) -> None:
    """Of a stream without Content-Length no more is read than it takes to know that it is too large."""
    body = Endless()
    stream: dict[str, Any] = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    refused(client.generic("POST", "/batcher/a", "", TEXT, headers=IN, **stream), 413, "too_large")
    assert body.taken == MAX_BODY_BYTES + 1


def test_a_stream_without_size_is_read(client: Client) -> None:
    """A chunked body within the limit is the item, whole."""
    stream: dict[str, Any] = {"wsgi.input": BytesIO(b"one two"), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    response = client.generic("POST", "/batcher/a", "", TEXT, headers=IN, **stream)
    assert response.json() == {"queued": 1}
    batcher = Batcher.objects.get_by_name("a")
    assert "one two" in str(batcher.storage.list())


def test_a_busy_object(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller of a busy object is asked to come again."""

    def busy(self: Batcher, item: object, key: str | None = None) -> int:
        raise ObjectBusy("batcher a is busy")

    monkeypatch.setattr(Batcher, "submit", busy)
    response = client.post("/batcher/a", "x", content_type=TEXT, headers=IN)
    refused(response, 503, "busy")
    assert int(response["Retry-After"]) > 0


def test_an_object_that_takes_no_more(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is full says so and when to come again, with another code than for asking too often."""

    class Full(DurableObjectError):
        retry_after = timedelta(seconds=7.2)

    def full(self: Batcher, item: object, key: str | None = None) -> int:
        raise Full("batcher a is full")

    monkeypatch.setattr(Batcher, "submit", full)
    response = client.post("/batcher/a", "x", content_type=TEXT, headers=IN)
    refused(response, 429, "full")
    assert response["Retry-After"] == "8"


@pytest.mark.parametrize("debug", [True, False])
def test_a_bug(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, debug: bool) -> None:
    """An exception nobody thought of goes to the log, not to the caller."""
    settings.DEBUG = debug

    def broken(self: Batcher, item: object, key: str | None = None) -> int:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(Batcher, "submit", broken)
    response = client.post("/batcher/a", "x", content_type=TEXT, headers=IN)
    assert "secret" not in str(refused(response, 500, "internal"))


def test_a_host_that_is_not_ours(client: Client) -> None:
    """A request for another host is refused in our form, in development too."""
    refused(client.get("/admin-of-another", headers=IN | {"Host": "elsewhere.example"}), 400, "malformed")


def test_pages_for_people_keep_their_own_errors(admin_client: Client) -> None:
    """Admin's errors stay pages."""
    response = admin_client.get("/admin/nowhere/")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")
