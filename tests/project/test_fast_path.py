"""The fast path: connections and turns that requests share. What it answers: test_ways."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from contextvars import ContextVar, copy_context
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished
from django.db import OperationalError, connection, connections
from django.db.backends.signals import connection_created
from pytest_django import Settings

from batcher import fast_path
from batcher.fast_path import FastPath, WsgiFastPath
from batcher.models import Batcher
from durable_objects.turns import combining
from project.api import api
from project.asgi_application import asgi_application, end_connections
from tests.engine.http import urls
from tests.support.server_interfaces import WAYS, RawRequest, by_wsgi, hang_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("good_token")]

GOOD = {"Authorization": "Bearer good"}
JSON = GOOD | {"Content-Type": "application/json"}

ITEM = RawRequest("POST", b"/batcher/a", (("Authorization", "Bearer good"),), b"x")
NUL = ("POST", "/batcher/a", JSON, b'"\\u0000"')


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
        if isinstance(application, FastPath):
            hang_up(application)


def test_its_threads_keep_their_connections() -> None:
    """Two requests, one after the other, share a connection, though a request of Django's gets its own."""
    made: list[str] = []

    def note(**_: object) -> None:
        made.append(threading.current_thread().name)

    application = FastPath(ASGIHandler(), api)
    connection_created.connect(note)
    try:
        asyncio.run(two_in_a_row(application))
    finally:
        connection_created.disconnect(note)
        hang_up(application)
    assert len(made) == len(set(made)) <= 2


def test_its_threads_give_connections_back_to_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Django's ``pool`` lends out goes back once an item is added: threads that stay keep none of it."""
    options, submit_all, due = connection.settings_dict["OPTIONS"], Batcher.submit_all, []

    def in_a_pool(batcher: Batcher, items: list[object]) -> Any:
        options["pool"] = True  # once connected: with or without psycopg_pool
        return submit_all(batcher, items)

    def add() -> None:
        try:
            waiting: Any = SimpleNamespace(item="x", context=copy_context(), plain=Mock())
            fast_path._add_all("a", [waiting])
        finally:
            del options["pool"]
            connection.close()

    monkeypatch.setattr(Batcher, "submit_all", in_a_pool)
    monkeypatch.setattr(fast_path, "close_old_connections", lambda: due.append(connection.close_at))
    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    assert due[-1] is not None  # closed by the real one: CONN_MAX_AGE is 0


@pytest.mark.parametrize(("age", "kept"), [(0, False), (60, True)])
def test_under_wsgi_a_connection_is_kept_as_in_any_request(
    age: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the thread is the request's, and its connection lasts as long as ``CONN_MAX_AGE`` says."""
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", age)
    connection.close()
    assert WAYS["WSGI, fast path"](ITEM).status == 200
    assert (connection.connection is not None) == kept


def test_the_log_of_queries_is_of_one_request(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``DEBUG`` keeps of a request's queries, items and all, is forgotten with the next by both interfaces."""
    settings.DEBUG = True
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 60)
    monkeypatch.setattr(fast_path, "THREADS", 1)  # the one that is asked for its log
    application = FastPath(ASGIHandler(), api)
    logged: dict[str, list[int]] = {"WSGI": [], "ASGI": []}
    try:
        for _ in range(3):
            assert WAYS["WSGI, fast path"](ITEM).status == 200
            logged["WSGI"].append(len(connection.queries_log))
            asyncio.run(two_in_a_row(application))
            logged["ASGI"].append(application._threads.submit(lambda: len(connection.queries_log)).result())
    finally:
        hang_up(application)
    assert all(0 < counts[1] == counts[2] for counts in logged.values()), logged


async def two_in_a_row(application: FastPath) -> None:
    """Each is answered before the next is made."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
        for _ in range(2):
            assert (await client.post("/batcher/a", headers=GOOD, content=b"x")).status_code == 200


def test_under_asgi_no_request_leaves_its_connection_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request of Django's has a thread of its own there, so that a connection kept for the next one would be lost,
    whatever ``CONN_MAX_AGE`` says for other threads.
    """
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 60)
    made: list[Any] = []

    def note(**given: Any) -> None:
        made.append(given["connection"])

    connection_created.connect(note)
    try:
        assert ask(asgi_application(), ("GET", "/batcher/a", GOOD, b""))[0].status_code == 200
    finally:
        connection_created.disconnect(note)
        request_finished.disconnect(end_connections, sender=ASGIHandler)
    assert made
    assert [each.connection for each in made] == [None] * len(made)


def test_the_garbage_collector_leaves_the_application_alone() -> None:
    """What is there when the application is made lives as long as the process: to go through it again and again would
    take time of every request.
    """
    made = ["before the application"]
    try:
        asgi_application()
    finally:
        request_finished.disconnect(end_connections, sender=ASGIHandler)
    assert all(each is not made for each in gc.get_objects())


def test_requests_at_the_same_time_share_turns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred are added in their order, by few turns, with few lines in the log, which count each of them; one that
    is refused costs the others nothing.
    """
    caplog.set_level("INFO", "durable_objects.http.audit")
    turns: list[int] = []
    run_all = combining.run_all

    def counted(key: Any, several: Any) -> Any:
        turns.append(len(several))
        return run_all(key, several)

    monkeypatch.setattr(combining, "run_all", counted)
    texts = [("POST", "/batcher/a", GOOD, f"item {number}".encode()) for number in range(99)]
    answers = ask(FastPath(ASGIHandler(), api), *texts[:50], NUL, *texts[50:])
    assert [answer.status_code for answer in answers] == [200] * 50 + [422] + [200] * 49
    assert [answer.json()["queued"] for answer in answers if answer.status_code == 200] == list(range(1, 100))
    items = Batcher.objects.get_by_name("a").storage.list(prefix="item:").values()
    assert [entry["item"] for entry in items] == [body.decode() for _, _, _, body in texts]
    assert len(turns) < 10
    recorded = [(line.__dict__["status"], line.__dict__["times"]) for line in caplog.records]
    assert len(recorded) < 12
    assert sum(times for status, times in recorded if status == 200) == 99


def test_all_are_added_in_the_context_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrapper of the server's sets for a request, such as its trace, is there where the item is added, and the
    items of requests that come meanwhile.
    """
    trace: ContextVar[str] = ContextVar("trace", default="none")
    submit_all, seen = Batcher.submit_all, []
    application = FastPath(ASGIHandler(), api)

    async def traced(scope: Any, receive: Any, send: Any) -> None:
        trace.set(dict(scope["headers"])[b"x-trace"].decode())
        await application(scope, receive, send)

    def noting(batcher: Batcher, items: list[str]) -> Any:
        seen.append(("".join(items), trace.get()))
        return submit_all(batcher, items)

    monkeypatch.setattr(Batcher, "submit_all", noting)
    try:
        ask(traced, *(("POST", "/batcher/a", GOOD | {"X-Trace": f"of {each}"}, each.encode()) for each in "abcd"))
    finally:
        hang_up(application)
    assert "".join(items for items, _ in seen) == "abcd"
    assert all(context == f"of {items[0]}" for items, context in seen)
    assert len(seen) <= 2


def at_once(application: FastPath, *bodies: str) -> list[httpx.Response]:
    """The answers to posts to one batcher at the same time."""
    return ask(application, *(("POST", "/batcher/a", GOOD, body.encode()) for body in bodies))


def test_those_of_the_same_time_are_added_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """They get receipts of their own, in their order, as if each had been added alone."""
    several, calls = Batcher.submit_all, []

    def noting(batcher: Batcher, items: list[object]) -> Any:
        calls.append(len(items))
        return several(batcher, items)

    monkeypatch.setattr(Batcher, "submit_all", noting)
    answers = at_once(FastPath(ASGIHandler(), api), *"abcdefghij")
    assert sum(calls) >= 8, "most of them"
    assert len(calls) <= 2
    assert [answer.json()["queued"] for answer in answers] == list(range(1, 11))
    assert [answer.headers["Location"] for answer in answers] == [f"/batcher/a/items/{item}" for item in range(1, 11)]
    items = Batcher.objects.get_by_name("a").storage.list(prefix="item:").values()
    assert [entry["item"] for entry in items] == list("abcdefghij")


@pytest.mark.parametrize("seconds", [60.0, 0.0])
def test_a_turn_waits_for_those_who_were_just_answered(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that post again once they are answered share each turn, though they do not come at the same moment; for
    one who does not come back the others wait no longer than they may.
    """
    monkeypatch.setattr(fast_path, "SECONDS_TO_GATHER", seconds)
    add_all, turns = fast_path._add_all, list[int]()
    application = FastPath(ASGIHandler(), api)

    def noting(name: str, waiting: Any) -> Any:
        turns.append(len(waiting))
        return add_all(name, waiting)

    async def post(client: httpx.AsyncClient, which: int) -> None:
        while len(turns) < (12 if which else 6):  # the first one leaves
            for _ in range(20 * which):
                await asyncio.sleep(0)  # the one after the other
            assert (await client.post("/batcher/a", headers=GOOD, content=b"x")).status_code == 200

    async def all_of_them() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
            posting = [asyncio.create_task(post(client, which)) for which in range(4)]
            done, left = await asyncio.wait(posting, return_when="FIRST_COMPLETED" if seconds else "ALL_COMPLETED")
            for each in left:
                each.cancel()
            assert all(each.exception() is None for each in done)

    monkeypatch.setattr(fast_path, "_add_all", noting)
    try:
        asyncio.run(asyncio.wait_for(all_of_them(), 30))
    finally:
        hang_up(application)
    assert not seconds or turns[3:6] == [4] * 3


def test_who_posts_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next item is added as soon as it is there."""
    monkeypatch.setattr(fast_path, "SECONDS_TO_GATHER", 60.0)
    application = FastPath(ASGIHandler(), api)
    try:
        asyncio.run(asyncio.wait_for(two_in_a_row(application), 30))
    finally:
        hang_up(application)


def test_a_limit_is_judged_item_by_item() -> None:
    """Where there is room for some of those that come at the same time, the first of them are accepted."""
    Batcher.objects.get_by_name("a").configure(max_queued=4)
    answers = at_once(FastPath(ASGIHandler(), api), *"abcdefghij")
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 6
    assert Batcher.objects.get_by_name("a").queued() == 4


def test_where_it_is_not_known_whether_they_count_none_is_added_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the answer to each that was added by that call."""

    def lost(batcher: Batcher, items: list[object]) -> Any:
        raise OperationalError("the connection was lost")

    monkeypatch.setattr(Batcher, "submit_all", lost)
    answers = at_once(FastPath(ASGIHandler(), api), *"abcdefghij")
    assert [answer.status_code for answer in answers] == [503] * 10
    assert Batcher.objects.get_by_name("a").queued() == 0


async def nobody(*_: object) -> None:
    """Stand where Django would."""
    raise AssertionError("the request has taken Django's way")


@pytest.mark.urls("tests.engine.http.urls")
def test_below_another_path() -> None:
    """Where batchers are mounted elsewhere it answers there, and leaves all other paths to Django."""
    shop = FastPath(nobody, urls.nested, prefix="/within/api/batcher/")
    (answer,) = ask(shop, ("POST", "/within/api/batcher/a", GOOD, b"x"))
    assert (answer.json(), answer.headers["Location"]) == ({"queued": 1}, "/within/api/batcher/a/items/1")
    with pytest.raises(AssertionError, match="Django's way"):
        ask(FastPath(nobody, urls.nested, prefix="/within/api/batcher/"), ("POST", "/batcher/a", GOOD, b"x"))


def test_a_site_below_a_path_is_djangos_under_asgi() -> None:
    """A server that says ``root_path`` means that the path is not the whole site's: what is a batcher, Django says."""

    async def post() -> None:
        transport = httpx.ASGITransport(FastPath(nobody, api), root_path="/batcher")
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.post("/batcher/a", headers=GOOD, content=b"x")

    with pytest.raises(AssertionError, match="Django's way"):
        asyncio.run(post())


@pytest.mark.urls("tests.engine.http.urls")
def test_under_wsgi_plain_ones_do_not_reach_django() -> None:
    """A plain post is answered before Django, below the path that it is told; all else is left to Django."""

    def django(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return [b"Django"]

    shop = WsgiFastPath(django, urls.nested, prefix="/within/api/batcher/")
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/within/api/batcher/a", "QUERY_STRING": "", "CONTENT_LENGTH": "1",
        "HTTP_HOST": "localhost", "HTTP_AUTHORIZATION": "Bearer good", "REMOTE_ADDR": "127.0.0.1",
    }  # fmt: skip
    started: list[tuple[str, dict[str, str]]] = []

    def post(**changes: str) -> bytes:
        asked = {**environ, "wsgi.input": io.BytesIO(b"x"), **changes}
        return b"".join(shop(asked, lambda status, headers: started.append((status, dict(headers)))))

    assert post() == b'{"queued": 1}'
    [(status, headers)] = started
    assert (status, headers["Location"]) == ("200 OK", "/within/api/batcher/a/items/1")
    for changed in (
        {"REQUEST_METHOD": "PUT"}, {"PATH_INFO": "/batcher/a"}, {"SCRIPT_NAME": "/site"}, {"CONTENT_LENGTH": "2"},
        {"RAW_URI": "/within/api/batcher/%61"}, {"HTTP_IDEMPOTENCY_KEY": "k"}, {"HTTP_AUTHORIZATION": "Bearer bad"},
    ):  # fmt: skip
        assert post(**changed) == b"Django", changed


def test_under_wsgi_a_body_that_breaks_off_is_malformed() -> None:
    """Whether the stream ends early or raises, Django's way answers, with 400, and nothing is added."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError

    for source in (io.BytesIO(b"x"), Broken()):
        short = RawRequest("POST", b"/batcher/a", (*ITEM.headers, ("Content-Length", "2")), b"x")
        answer = by_wsgi(short, fast=True, source=source)
        assert (answer.status, answer.code) == (400, "malformed")
    assert Batcher.objects.get_by_name("a").queued() == 0


@pytest.mark.parametrize("environ", [{}, {"PATH_INFO": "/batcher/x"}], ids=["no path", "no query string"])
def test_what_a_wsgi_server_leaves_out_as_empty_goes_djangos_way(environ: dict[str, str]) -> None:
    """A WSGI server may leave out variables that are empty: Django answers such a request."""
    answer = [b"from Django"]
    application = WsgiFastPath(lambda environ, start_response: answer, api)
    assert application({"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/below", **environ}, None) is answer
