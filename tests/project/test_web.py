"""The embedded web server: what it refuses before the application sees it, whom it waits for, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from django.core.management.base import CommandError

from durable_objects.http.asgi_body_limit import AsgiBodyLimit, read_whole
from durable_objects.http.body_limit import MAX_BODY_BYTES
from project.demo.processes import wait_for
from project.embedded import connection, web
from project.embedded.places import KEPT_BYTES, AsgiPlaces
from project.management.commands import up
from tests.support.served import PATIENCE, Served, answer, refusal, rest_of, size_of_body

CHUNK = b"x" * 65536
WHOLE = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
BEGUN = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nabc"


class Held:
    """An application whose answer waits until it may go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.set()
        while not self.go_on.is_set():  # noqa: ASYNC110  another thread sets it
            await asyncio.sleep(0.02)
        await size_of_body(scope, receive, send)


@pytest.fixture
def held() -> Iterator[Held]:
    application = Held()
    yield application
    application.go_on.set()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_bodies_arrive(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of up to 1 MiB reaches the application whole, chunked or not, also where there is no uvloop."""
    if loop == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    with Served() as served:
        for body in (b"x" * MAX_BODY_BYTES, (CHUNK for _ in range(MAX_BODY_BYTES // len(CHUNK)))):
            assert httpx.post(served.url, content=body, trust_env=False).text == str(MAX_BODY_BYTES)


def test_no_answer_waits_for_its_clients_acknowledgement() -> None:
    """Each connection has TCP_NODELAY, which asyncio does not set on those of a listener that was handed to it."""
    with web.listening_socket("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def much(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application whose answer at a path is larger than what is kept of one, and else just not."""
    pieces = [CHUNK] * (KEPT_BYTES // len(CHUNK))
    await answer(send, *pieces * (1 if scope["path"] == "/" else 32))


def test_who_does_not_read_takes_no_place() -> None:
    """An answer of usual size leaves Django free at once, for a client that reads none of it yet; it gets it whole."""
    with Served(AsgiPlaces(much, 1)) as served, served.client() as slow, served.client() as client:
        slow.sendall(WHOLE * 20)
        connections: Any = served.server._server.server_state.connections
        wait_for("full buffers", lambda: any(each.flow.write_paused for each in connections), seconds=PATIENCE)
        client.sendall(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert len(rest_of(client)) > KEPT_BYTES
        slow.shutdown(socket.SHUT_WR)
        assert rest_of(slow).count(b"HTTP/1.1 200") == 20


def test_who_goes_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """What is under way for a client that has gone ends without a word in the log, also if it had asked for more."""
    with Served(AsgiPlaces(much, 1)) as served:
        with served.client() as client:
            client.sendall(WHOLE * 20)
            connections: Any = served.server._server.server_state.connections
            wait_for("full buffers", lambda: any(each.flow.write_paused for each in connections), seconds=PATIENCE)
        wait_for("its end", lambda: not served.server._server.server_state.tasks, seconds=PATIENCE)
    assert not caplog.get_records("call")


def test_who_does_not_read_a_large_answer_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it sends meanwhile, and the place is free again."""
    monkeypatch.setattr(web, "SECONDS_OF_SILENCE", 0.5)
    monkeypatch.setattr(web, "SECONDS_PER_LOOK", 0)
    with Served(AsgiPlaces(much, 1)) as served, served.client() as slow:
        slow.sendall(WHOLE.replace(b"/ ", b"/large "))
        assert slow.recv(12) == b"HTTP/1.1 200"
        for _ in range(int(PATIENCE / 0.1)):
            with contextlib.suppress(OSError):
                slow.sendall(b"\r\n")
            if not served.server._server.server_state.tasks:
                break
            time.sleep(0.1)
        assert not served.server._server.server_state.tasks
        with served.client() as another:
            another.sendall(WHOLE)
            assert another.recv(12) == b"HTTP/1.1 200"


def test_django_answers_few_at_a_time() -> None:
    """No more than may be are let in at a time, and all of them are answered; a slow client takes no place."""
    inside, most = 0, 0

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.05)
        await size_of_body(scope, receive, send)
        inside -= 1

    async def ask(url: str) -> list[str]:
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = await asyncio.gather(*[client.post(url, content=b"abc") for _ in range(10)])
        return [each.text for each in answers]

    with Served(AsgiPlaces(counted, 2)) as served, served.client() as one, served.client() as other:
        for slow in (one, other):
            slow.sendall(BEGUN)
        assert asyncio.run(ask(served.url)) == ["3"] * 10
    assert most == 2


@pytest.mark.parametrize("begun", [b"", WHOLE[:10], BEGUN, WHOLE])
def test_a_silent_client_is_hung_up_on(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends nothing for a while, or no more of what was begun, keeps no connection."""
    monkeypatch.setattr(web, "SECONDS_OF_SILENCE", 0)
    monkeypatch.setattr(web, "SECONDS_PER_LOOK", 0)
    with Served() as served, served.client() as client:
        client.sendall(begun)
        assert rest_of(client).partition(b"\r\n\r\n")[2] == (b"0" if begun == WHOLE else b"")


def test_a_client_that_still_reads_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes for what it was answered."""
    monkeypatch.setattr(web, "SECONDS_OF_SILENCE", 1.5)
    monkeypatch.setattr(web, "SECONDS_PER_LOOK", 0)
    size = 32 * KEPT_BYTES

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * size)

    with Served(whole) as served, served.client() as client, client.makefile("rb") as answered:
        client.sendall(WHOLE)
        for _ in range(8):
            time.sleep(0.4)
            assert len(answered.read(size // 8)) == size // 8


def test_a_client_that_waits_for_its_answer_is_not_silent(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a request takes."""
    monkeypatch.setattr(web, "SECONDS_OF_SILENCE", 0)
    monkeypatch.setattr(web, "SECONDS_PER_LOOK", 0)
    with Served(held) as served, served.client() as client:
        client.sendall(WHOLE)
        threading.Timer(1.5, held.go_on.set).start()
        assert rest_of(client).endswith(b"\r\n\r\n0")


def test_trouble_with_one_connection_is_only_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the others are looked after as ever, and the server serves on."""
    ends = connection.Connection.end_if_silent
    broken: list[connection.Connection] = []

    def end_if_silent(each: connection.Connection, seconds: float) -> None:
        if not broken or each in broken:
            broken.append(each)
            raise RuntimeError("a fault in it")
        ends(each, seconds)

    monkeypatch.setattr(connection.Connection, "end_if_silent", end_if_silent)
    monkeypatch.setattr(web, "SECONDS_OF_SILENCE", 0)
    monkeypatch.setattr(web, "SECONDS_PER_LOOK", 0)
    with Served() as served, served.client():
        wait_for("the fault", lambda: broken, seconds=PATIENCE)
        with served.client() as other:
            assert rest_of(other) == b""
        assert served.server.is_alive()
    assert "a fault in it" in caplog.text


def test_requests_share_no_context() -> None:
    """What one sets in a context variable is not there for the next of its connection."""
    seen: ContextVar[str] = ContextVar("seen", default="nothing")

    async def remember(scope: Any, receive: Any, send: Any) -> None:
        before = seen.get()
        seen.set("something")
        await asyncio.sleep(0.1)  # so that the next waits for this one
        await answer(send, before.encode())

    with Served(remember) as served:
        assert served.sent(WHOLE * 2).count(b"nothing") == 2


def test_more_connections_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused in our form; who is there stays, and one that leaves makes room."""
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 1)
    with Served() as served:
        with served.client() as first:
            first.sendall(WHOLE)
            assert first.recv(12) == b"HTTP/1.1 200"
            with served.client() as second:
                refusal = rest_of(second)
        assert (refusal[8:13], b'"code": "busy"' in refusal) == (b" 503 ", True)
        connections = served.server._server.server_state.connections
        wait_for("room", lambda: not connections, seconds=PATIENCE)
        assert served.sent(WHOLE).startswith(b"HTTP/1.1 200")


def test_a_client_that_sends_no_more_is_answered(held: Held) -> None:
    """Also when it says so (by a FIN) before the answer is there."""
    with Served(held) as served, served.client() as client:
        client.sendall(WHOLE)
        client.shutdown(socket.SHUT_WR)
        assert held.begun.wait(PATIENCE)
        threading.Timer(0.3, held.go_on.set).start()
        assert rest_of(client).endswith(b"\r\n\r\n0")


def test_a_body_may_come_after_its_answer() -> None:
    """What is left of it is passed over, and what follows is the next request, with bounds as the first had."""

    async def early(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"early")

    with Served(early) as served, served.client() as client:
        client.sendall(BEGUN)
        assert client.recv(65536).endswith(b"early")
        client.sendall(b"defghij" + WHOLE)
        assert client.recv(65536).endswith(b"early")
        client.sendall(BEGUN)
        assert client.recv(65536).endswith(b"early")
        client.sendall(b"defghij" + WHOLE.replace(b"\r\n\r\n", b"\r\nX: "))
        assert refusal(client)[8:13] == b" 431 "


def test_a_request_under_way_is_answered_at_the_stop(held: Held) -> None:
    """Stopping lets requests under way end, and their answers go out; who asks for nothing is not waited for."""
    with Served(held) as served, served.client() as client, served.client():
        client.sendall(BEGUN + b"defghij")
        assert held.begun.wait(PATIENCE)
        threading.Timer(0.3, held.go_on.set).start()
        assert served.server.stop(web.SECONDS_TO_END)
        assert rest_of(client).endswith(b"\r\n\r\n10")


@pytest.mark.parametrize(
    "trouble",
    [
        BEGUN.replace(b"Host", b"X: " + CHUNK * 12 + b"\r\nHost"),
        BEGUN.replace(b"Content-Length: 10", b"Bad Header: x"),
        BEGUN.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),
    ],
    ids=["head", "header", "body"],
)
def test_what_follows_a_request_is_not_answered_before_it(held: Held, trouble: bytes) -> None:
    """Whatever is wrong with a later one, the first answer is the first request's."""
    with Served(held) as served, served.client() as client:
        client.sendall(WHOLE + trouble.replace(b"abc", b"zz\r\n"))
        assert held.begun.wait(PATIENCE)
        assert not select.select([client], [], [], 0.3)[0]
        held.go_on.set()
        assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(("path", "is_invited"), [(b"/batcher/orders", False), (b"/admin/login/", True)])
def test_a_body_that_is_withheld_is_not_invited(path: bytes, is_invited: bool) -> None:
    """A stranger that asks first (Expect: 100-continue) is refused without having sent anything."""

    async def like_django(scope: Any, receive: Any, send: Any) -> None:
        await read_whole(receive)
        listening = asyncio.create_task(receive())
        await asyncio.sleep(0.1)
        await answer(send, b"an answer")
        listening.cancel()

    asks = BEGUN.replace(b"/ ", path + b" ").replace(b"Host", b"Expect: 100-continue\r\nHost").partition(b"abc")[0]
    with Served(AsgiBodyLimit(like_django)) as served, served.client() as client:
        client.sendall(asks)
        assert client.recv(12) == (b"HTTP/1.1 100" if is_invited else b"HTTP/1.1 200")


def test_a_request_that_does_not_end_holds_up_no_stop(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    """It is cut off, and may be made again."""
    begun_at = time.monotonic()
    with Served(held) as served, served.client() as client:
        client.sendall(WHOLE)
        assert held.begun.wait(PATIENCE)
        assert not served.server.stop(0.1)
        refused = rest_of(client)
    assert (refused[8:13], b'"code": "busy"' in refused) == (b" 503 ", True)
    assert not [record for record in caplog.get_records("call") if record.exc_info]
    assert time.monotonic() - begun_at < web.SECONDS_TO_END + 2


class Thread:
    """A part of ``up``, as far as it is looked at."""

    def __init__(self, alive: bool) -> None:
        self.alive = alive

    def is_alive(self) -> bool:
        """As it was made."""
        return self.alive


@pytest.mark.parametrize("died", ["web server", "dispatcher", "worker"])
def test_the_end_of_a_thread_is_noticed(died: str) -> None:
    """Whichever it is, the command names it, and ends."""
    parts: Any = [Thread(name != died) for name in ("web server", "dispatcher", "worker")]
    assert up.Command().wait(*parts) == died


def test_a_taken_port_that_was_asked_for() -> None:
    """A port that is taken is refused, with the way out."""
    with (
        web.listening_socket("127.0.0.1", 0) as taken,
        pytest.raises(CommandError, match=r"cannot listen .*--port"),
    ):
        web.listening_socket("127.0.0.1", taken.getsockname()[1])


def test_a_taken_port_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no port was asked for and the usual one is taken, a free one is used."""
    with web.listening_socket("127.0.0.1", 0) as taken:
        monkeypatch.setattr(web, "USUAL_PORT", taken.getsockname()[1])
        with web.listening_socket("127.0.0.1", None) as free:
            assert free.getsockname()[1] not in (0, taken.getsockname()[1])
