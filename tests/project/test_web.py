"""The embedded web server: what it refuses before the application sees it, and how it stops."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.core.management.base import CommandError

from durable_objects.http.body_limit import MAX_BODY_BYTES
from project.embedded import web

PATIENCE = 5.0
CHUNK = b"x" * 65536


def size_of_body(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI application that says how large the body was."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(environ["wsgi.input"].read())).encode()]


class Served:
    """A WSGI application served in a thread of the test's own until ``stop``."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self.server = web.WebServer(application, web.listening_socket("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.port}/"
        self._running = threading.Event()
        self._running.set()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        """Stop as the command does: in the thread that serves."""
        self._running.clear()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while self._running.is_set():
            self.server.tick()
        self.server.stop(PATIENCE / 2)


@pytest.fixture
def url() -> Iterator[str]:
    served = Served(size_of_body)
    yield served.url
    served.stop()


def endless(chunks: int) -> Iterator[bytes]:
    """A body that does not say its size."""
    for _ in range(chunks):
        yield CHUNK


@pytest.mark.parametrize("body", [b"x" * MAX_BODY_BYTES, endless(15)])
def test_bodies_within_the_limit_arrive(url: str, body: bytes | Iterator[bytes]) -> None:
    """A body of up to 1 MiB reaches the application whole, chunked or not."""
    expected = len(body) if isinstance(body, bytes) else 15 * len(CHUNK)
    assert httpx.post(url, content=body, trust_env=False).text == str(expected)


@pytest.mark.parametrize("body", [b"x" * (MAX_BODY_BYTES + 1), b"x" * (5 * MAX_BODY_BYTES), endless(500)])
def test_bodies_over_the_limit_are_refused(url: str, body: bytes | Iterator[bytes]) -> None:
    """A larger body gets 413 in our form before it is read to its end."""
    response = httpx.post(url, content=body, trust_env=False)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"
    assert str(MAX_BODY_BYTES) in response.json()["error"]["allowed"]


def test_what_is_no_http_is_malformed(url: str) -> None:
    """Bytes that are no request get 400 in our form."""
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout=PATIENCE) as client:
        client.sendall(b"what is this\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b" 400 " in answer
    assert b'"code": "malformed"' in answer


def test_a_request_under_way_is_answered_at_the_stop() -> None:
    """Stopping lets requests under way end, and their answers go out."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        begun.set()
        go_on.wait(PATIENCE)
        return size_of_body(environ, start_response)

    served, answers = Served(slow), []
    client = threading.Thread(target=lambda: answers.append(httpx.post(served.url, content=b"xyz", trust_env=False)))
    client.start()
    assert begun.wait(PATIENCE)
    threading.Timer(0.3, go_on.set).start()
    served.stop()
    client.join(PATIENCE)
    assert [answer.text for answer in answers] == ["3"]


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
