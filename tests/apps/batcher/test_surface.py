"""Batcher over HTTP and on the command line."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from ninja.testing import TestClient

from batcher.api import router
from batcher.models import Batch, Batcher
from durable_objects import InvalidValue
from durable_objects.tables import Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

WINDOW = timedelta(seconds=10)


@pytest.fixture
def client() -> TestClient:
    return TestClient(router)


def post(client: Any, body: bytes, content_type: str) -> Any:
    return client.post("/orders", data=body, content_type=content_type)


@pytest.mark.parametrize(
    ("body", "content_type", "item"),
    [
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b"[1]", "application/vnd.shop+json; charset=utf-8", [1]),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
        ("ü€".encode(), "text/plain; charset=utf-8", "ü€"),
        (b"", "application/octet-stream", ""),
        (b"a=1&b=2", "application/x-www-form-urlencoded", "a=1&b=2"),
    ],
)
@pytest.mark.usefixtures("alarm_clock")
def test_a_body_is_an_item(client: TestClient, body: bytes, content_type: str, item: object) -> None:
    """JSON by its Content-Type is parsed, anything else is text; the answer says how many wait."""
    assert post(client, body, content_type).json() == {"queued": 1}
    Batcher.objects.get_by_name("orders").flush()
    run_due_alarms()
    assert Batch.objects.get().items == [item]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"NaN", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"9" * 5000, "application/json"),
        (b"\xff\xfe", "text/plain"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_malformed_body_is_400(client: TestClient, body: bytes, content_type: str) -> None:
    """What is not the JSON or the UTF-8 that it claims to be is refused, and makes no row."""
    assert post(client, body, content_type).status_code == 400
    assert not Object.objects.exists()


def test_what_no_item_can_hold_is_refused_by_the_contract(client: TestClient) -> None:
    """A NUL in JSON is well-formed JSON but no item: the contract's error goes to whoever mounted the router."""
    with pytest.raises(InvalidValue):
        post(client, b'"\\u0000"', "application/json")


def test_get_and_delete(client: TestClient, alarm_clock: FakeClock) -> None:
    """GET says what waits and when; DELETE takes the alarm; for one never used zeros, and no row is made."""
    assert client.get("/never").json() == {"queued": 0, "alarm": None}
    assert client.delete("/never/alarm").json() == {"queued": 0, "alarm": None}
    assert not Object.objects.exists()
    post(client, b"a", "text/plain")
    state = client.get("/orders").json()
    assert state["queued"] == 1
    assert state["alarm"].startswith((alarm_clock.now() + WINDOW).isoformat()[:19])
    assert client.delete("/orders/alarm").json() == {"queued": 1, "alarm": None}


def run(*arguments: str) -> Any:
    out = io.StringIO()
    call_command("batcher", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_the_command(
    alarm_clock: FakeClock, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line: add (arguments, or lines of standard input), show, cancel, flush and replay."""
    Batcher.objects.get_by_name("orders").configure(upstream_url=upstream.url)
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"line {number}\n" for number in range(1200))))
    assert run("add", "orders", "-")["queued"] == 1200
    assert run("add", "orders", "one", "two")["added"] == 2
    assert run("cancel", "orders") == {"cancelled": True, "batcher": "orders", "queued": 1202, "alarm": None}
    assert run("flush", "orders")["alarm"] is not None
    upstream.script(Answer(410))
    run_due_alarms()
    assert upstream.items == [f"line {number}" for number in range(1200)] + ["one", "two"]
    (batch,) = run("show", "orders")["batches"]
    assert (batch["status"], batch["items"], batch["status_code"]) == ("failed", 1202, 410)
    assert run("replay", "orders")["replayed"] == [batch["id"]]
    run_due_alarms()
    assert Batch.objects.get().status == "delivered"
    call_command("batcher", "show", "orders")
    assert "status=delivered" in capsys.readouterr().out
    with pytest.raises(CommandError, match="has no batch"):
        run("replay", "orders", "nonsense")
