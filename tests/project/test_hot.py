"""The short way for the hot request answers as Django's way does, whatever is asked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.db import connections
from django.db.backends.signals import connection_created
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects import combining
from project.body import MAX_BODY_BYTES
from project.hot import THREADS, HotPath
from tests.house.sources import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

GOOD = {"Authorization": "Bearer good"}
JSON = GOOD | {"Content-Type": "application/json"}

#: Method, path, headers, body.
REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "text": ("POST", "/batcher/a", GOOD, b"a line"),
    "empty": ("POST", "/batcher/a", GOOD, b""),
    "JSON": ("POST", "/batcher/a", JSON, b'{"n": [1, 2.5, null]}'),
    "broken JSON": ("POST", "/batcher/a", JSON, b'{"n":'),
    "NaN": ("POST", "/batcher/a", JSON, b"NaN"),
    "not UTF-8": ("POST", "/batcher/a", GOOD, b"\xff"),
    "NUL": ("POST", "/batcher/a", JSON, b'"\\u0000"'),
    "deep": ("POST", "/batcher/a", JSON, b"[" * 100_000),
    "no token": ("POST", "/batcher/a", {}, b"a"),
    "wrong token": ("POST", "/batcher/a", {"Authorization": "Bearer bad"}, b"a"),
    "other scheme": ("POST", "/batcher/a", {"Authorization": "Basic good"}, b"a"),
    "name too long": ("POST", "/batcher/" + "n" * 513, GOOD, b"a"),
    "no name": ("POST", "/batcher/", GOOD, b"a"),
    "deeper path": ("POST", "/batcher/a/b", GOOD, b"a"),
    "percent": ("POST", "/batcher/%C3%A4", GOOD, b"a"),
    "too large": ("POST", "/batcher/a", GOOD, b"x" * (MAX_BODY_BYTES + 1)),
    "other method": ("PUT", "/batcher/a", GOOD, b"a"),
    "a look": ("GET", "/batcher/a", GOOD, b""),
}


@pytest.fixture(autouse=True)
def token(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is known. No connection outlives its request: under ASGI each may have a thread of its own."""
    settings.API_TOKENS = ["good"]
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)


def ask(application: Any, *requests: tuple[str, str, dict[str, str], bytes]) -> list[httpx.Response]:
    """The answers to requests that are made at the same time."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = [
                client.request(method, path, headers=headers, content=body) for method, path, headers, body in requests
            ]
            return await asyncio.gather(*asked)

    try:
        return asyncio.run(all_of_them())
    finally:
        if isinstance(application, HotPath):
            hang_up(application)


def hang_up(application: HotPath) -> None:
    """Close the connections of the application's threads, which live as long as their process.

    As many calls as it has threads at most, which wait for each other: so each thread takes one.
    """
    threads = application._threads
    together = threading.Barrier(THREADS)

    def close() -> None:
        together.wait(5)
        connections.close_all()

    for done in [threads.submit(close) for _ in range(THREADS)]:
        done.result()
    threads.shutdown()


@pytest.mark.parametrize("which", REQUESTS)
def test_answers_as_django_does(which: str) -> None:
    """Status, headers that mean something, body and what is stored are the same by both ways."""
    answers, stored = [], []
    for application in (HotPath(get_asgi_application()), get_asgi_application()):
        (answer,) = ask(application, REQUESTS[which])
        headers = {name: answer.headers.get(name) for name in ("content-type", "allow", "www-authenticate", "location")}
        answers.append((answer.status_code, headers, answer.json()))
        stored.append([one.storage.list(prefix="item:").keys() for one in Batcher.objects.all()])
        Batcher.objects.all().delete()
    assert answers[0] == answers[1]
    assert stored[0] == stored[1]


def test_its_threads_keep_their_connections() -> None:
    """Two requests, one after the other, share a connection, though a request of Django's gets its own."""
    made: list[str] = []

    def note(**_: object) -> None:
        made.append(threading.current_thread().name)

    application = HotPath(get_asgi_application())
    connection_created.connect(note)
    try:
        asyncio.run(two_in_a_row(application))
    finally:
        connection_created.disconnect(note)
        hang_up(application)
    assert len(made) == len(set(made)) <= 2


async def two_in_a_row(application: HotPath) -> None:
    """Each is answered before the next is made."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
        for _ in range(2):
            assert (await client.post("/batcher/a", headers=GOOD, content=b"x")).status_code == 200


def test_under_asgi_no_request_leaves_its_connection_behind() -> None:
    """Each request has a thread of its own there, so that a connection kept for the next one would be lost."""
    ask = "print(connections['default'].settings_dict['CONN_MAX_AGE'])"
    code = f"import project.asgi; from django.db import connections; {ask}"
    command, given = [sys.executable, "-c", code], os.environ | {"DEBUG": "1"}
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_requests_at_the_same_time_share_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred are added in their order, by few turns; one that is refused costs the others nothing."""
    turns: list[int] = []
    run_all = combining.run_all

    def counted(key: Any, several: Any) -> Any:
        turns.append(len(several))
        return run_all(key, several)

    monkeypatch.setattr(combining, "run_all", counted)
    texts = [("POST", "/batcher/a", GOOD, f"item {number}".encode()) for number in range(99)]
    answers = ask(HotPath(get_asgi_application()), *texts[:50], REQUESTS["NUL"], *texts[50:])
    assert [answer.status_code for answer in answers] == [200] * 50 + [422] + [200] * 49
    assert [answer.json()["queued"] for answer in answers if answer.status_code == 200] == list(range(1, 100))
    items = Batcher.objects.get_by_name("a").storage.list(prefix="item:").values()
    assert [entry["item"] for entry in items] == [body.decode() for _, _, _, body in texts]
    assert len(turns) < 10
