"""The edges of the HTTP interface: methods, paths and bodies that clients send by mistake or on purpose."""

from __future__ import annotations

import gzip
import socket
from contextlib import suppress
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects.tables import Object
from tests.support import http_settings

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-the-tests"
IN = {"Authorization": f"Bearer {TOKEN}"}
JSON = "application/json"
READS = ["/health", "/live", "/metrics", "/openapi.json", "/batcher/a", "/reminders/a"]
NOTHING_SET = {"message": None, "fire_at": None, "next_at": None, "recurrence": None, "time_zone": None}


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    http_settings.change(settings, TOKENS=[TOKEN])


def code_of(response: Any) -> str:
    """The error's code, of a refusal in our form that changed nothing."""
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"code", "message", "allowed"}
    assert not Object.objects.exists()
    return str(error["code"])


@pytest.mark.parametrize("path", READS)
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    """HEAD has the status, type and length of GET, and no body; it needs the same token."""
    got, head = client.get(path, headers=IN), client.head(path, headers=IN)
    assert (head.status_code, head["Content-Type"], head.content) == (200, got["Content-Type"], b"")
    assert int(head["Content-Length"]) > 0
    open_to_all = path in ("/health", "/live", "/openapi.json")
    assert client.head(path).status_code == (200 if open_to_all else 401)


def test_head_where_nothing_is_to_get(client: Client) -> None:
    """HEAD is refused where GET is, without a body too."""
    response = client.head("/batcher/a/alarm", headers=IN)
    assert (response.status_code, response["Allow"], response.content) == (405, "DELETE", b"")
    assert client.head("/nowhere", headers=IN).status_code == 404


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PATCH", "LINK", "post"])
def test_other_methods(client: Client, method: str) -> None:
    """A method that a path does not have is 405 with those that it has, whoever asks."""
    response = client.generic(method, "/batcher/a/alarm", headers=IN)
    assert (response.status_code, code_of(response), response["Allow"]) == (405, "method_not_allowed", "DELETE")


@pytest.mark.parametrize(
    "path", ["/batcher/a/", "/reminders/a/", "/health/", "//batcher/a", "/batcher//a", "/BATCHER/a"]
)
def test_a_path_is_what_it_is(client: Client, path: str) -> None:
    """No slash is added, taken away or followed, and case counts: another path is 404."""
    response = client.generic("GET", path, headers=IN)
    assert (response.status_code, code_of(response)) == (404, "not_found")


@pytest.mark.parametrize("server", ["REQUEST_URI", "RAW_URI"])
@pytest.mark.parametrize(
    "path", ["/batcher/%ff", "/batcher/%zz", "/batcher/100%", "/batcher/%C3", "/batcher/%ed%a0%80"]
)
def test_a_name_has_one_spelling(client: Client, server: str, path: str) -> None:
    """A path that is no percent-encoded UTF-8 is malformed: it would be a second way to write another name."""
    response: Any = client.generic("GET", path, headers=IN, **{server: path})  # type: ignore[arg-type]  # the environ
    assert (response.status_code, code_of(response)) == (400, "malformed")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("100%25", "100%"),
        ("%C3%A9", "\xe9"),
        ("a%20b+c", "a b+c"),
        ("..%2e", "..."),
        ("a%3Fb%23c", "a?b#c"),
        ("%F0%9F%A5%A8", "\U0001f968"),
        ("%0A", "\n"),
        ("a;b=c", "a;b=c"),
        ("%252F", "%2F"),
    ],
)
def test_every_name_can_be_written(client: Client, path: str, name: str) -> None:
    """What a path spells, percent-encoded, is the object's name to the letter."""
    client.generic("POST", f"/batcher/{path}", "x", "text/plain", headers=IN, REQUEST_URI=f"/batcher/{path}")
    assert list(Batcher.objects.values_list("name", flat=True)) == [name]


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/batcher/a", {"queued": 0, "alarm": None}),
        ("DELETE", "/batcher/a/alarm", {"queued": 0, "alarm": None}),
        ("GET", "/reminders/a", NOTHING_SET),
        ("DELETE", "/reminders/a", {"cancelled": False}),
    ],
)
def test_never_used(client: Client, method: str, path: str, answer: dict[str, Any]) -> None:
    """An object that was never used answers with zeros, and asking makes no row."""
    response = client.generic(method, path, headers=IN)
    assert response.status_code == 200
    assert answer.items() <= response.json().items()
    assert not Object.objects.exists()


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, deflate"])
def test_compressed_bodies_are_refused(client: Client, encoding: str) -> None:
    """A compressed body is refused by its header, before anything is unpacked; one that is called plain is taken."""
    body = gzip.compress(b'"x"' * 1000)
    response = client.post("/batcher/a", body, JSON, headers=IN | {"Content-Encoding": encoding})
    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")
    assert client.post("/batcher/a", b'"x"', JSON, headers=IN | {"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xef\xbb\xbf{}", 400),  # a byte order mark
        (b"[" * 100_000, 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
        (b'{"a": -Infinity}', 400),
        (b"1e999", 422),  # it would become infinite
        (b"1" * 5_000, 400),  # more digits than Python reads
        (b'{"a": 1} {"b": 2}', 400),
        (b"'a'", 400),
    ],
)
def test_json_that_is_none(client: Client, body: bytes, status: int) -> None:
    """What is not exactly one JSON value that can be kept is refused, however deep or long it is."""
    response = client.post("/batcher/a", body, JSON, headers=IN)
    assert (response.status_code, code_of(response)) == (status, {400: "malformed", 422: "invalid_value"}[status])
    assert client.put("/reminders/a", body, JSON, headers=IN).status_code in (400, 422)
    assert not Object.objects.exists()


def test_duplicate_keys(client: Client) -> None:
    """Of a key that comes twice in an object the last value counts, as most readers of JSON have it."""
    assert client.post("/batcher/a", b'{"a": 1, "a": 2}', JSON, headers=IN).status_code == 200
    assert "'a': 2" in str(Batcher.objects.get_by_name("a").storage.list())


@pytest.mark.parametrize(
    "fire_at",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00-14:00",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T23:59:59.999999+14:00",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2030-01-01T00:00:00+24:00",
    ],
)
@pytest.mark.parametrize("recurrence", [None, "FREQ=DAILY", "FREQ=YEARLY;UNTIL=99991231T235959Z"])
@pytest.mark.parametrize("zone", [None, "Pacific/Kiritimati", "Etc/GMT+12"])
def test_years_at_either_end(client: Client, fire_at: str, recurrence: str | None, zone: str | None) -> None:
    """The first and the last years of the calendar are refused with words, in whatever zone, and set nothing."""
    new = {"message": "m", "fire_at": fire_at, "recurrence": recurrence, "time_zone": zone}
    response = client.put("/reminders/a", new, JSON, headers=IN)
    assert (response.status_code, code_of(response)) in ((422, "invalid_alarm_time"), (422, "invalid_input"))


@pytest.mark.slow
def test_a_snooze_beyond_the_calendar(client: Client) -> None:
    """However often it is put off, a reminder never leaves the years that can be written."""
    new = {"message": "m", "fire_at": "2100-01-01T00:00:00Z"}
    assert client.put("/reminders/a", new, JSON, headers=IN).status_code == 200
    ended = [client.post("/reminders/a/snooze", {"by": "P3650D"}, JSON, headers=IN).status_code for _ in range(850)]
    assert set(ended) <= {200, 422}
    assert ended[-1] == 422
    assert client.get("/reminders/a", headers=IN).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "token", "goes_on"),
    [
        ("/batcher/a", b"x", TOKEN, True),
        ("/batcher/a", b'{"broken', TOKEN, True),
        ("/reminders/a/snooze", b"{}", TOKEN, True),
        ("/batcher/a", b"", "unknown", True),
        ("/batcher/a", b"x", "unknown", False),
    ],
)
def test_a_connection_goes_on_unless_a_body_was_left_unread(
    client: Client, path: str, body: bytes, token: str, goes_on: bool
) -> None:
    """Behind gunicorn a client's next request on its connection arrives, unless the rest of this one's body would."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        environ: dict[str, Any] = {"gunicorn.socket": ours}
        client.post(path, body, JSON, headers={"Authorization": f"Bearer {token}"}, **environ)
        with suppress(BrokenPipeError):
            theirs.sendall(b"next")
        assert ours.recv(4) == (b"next" if goes_on else b"")
