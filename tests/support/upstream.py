"""A real HTTP upstream on the loopback, for tests: it records what it got and answers by a script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PATIENCE = 5.0
"""Seconds after which a wait of this module gives up, and after which a held request is answered."""


@dataclass(frozen=True)
class Answer:
    """The upstream's answer to one request: after ``delay`` seconds, or a closed connection when ``drop``."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    delay: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Received:
    """One request as it arrived; ``at`` is ``time.monotonic()`` seconds."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str | None:
        """The ``Idempotency-Key`` header, or None."""
        return self.headers.get("idempotency-key")

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def items(self) -> list[Any]:
        """The ``items`` of a batch."""
        items: list[Any] = self.json["items"]
        return items


class Upstream:
    """A server on a free loopback port.

    ``script(...)`` queues answers, used one per request in order; with none left ``answer_to`` is asked, where it is
    set, in the server's thread; else ``default`` is given.
    ``on_request`` is called in the server's thread for each request, recorded but not yet answered: the place to do
    something while a post is in flight (close Django's connections there when the database was used).
    ``hold()`` keeps requests unanswered until ``release()``.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.default = Answer()
        self.on_request: Callable[[Received], None] | None = None
        self.answer_to: Callable[[Received], Answer] | None = None
        self._script: list[Answer] = []
        self._changed = threading.Condition()
        self._open = threading.Event()
        self._open.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Its port on the loopback."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/batches"

    @property
    def keys(self) -> list[str | None]:
        """The key of each request, in order of arrival."""
        return [request.key for request in self.received]

    @property
    def items(self) -> list[Any]:
        """All items of all requests, in order of arrival, each request's as often as it came."""
        return [item for request in self.received for item in request.items]

    def script(self, *answers: Answer | int) -> None:
        """Queue answers for the next requests; a bare number is a status."""
        self._script.extend(Answer(answer) if isinstance(answer, int) else answer for answer in answers)

    def hold(self) -> None:
        """Leave requests unanswered until ``release()`` (at most PATIENCE seconds)."""
        self._open.clear()

    def release(self) -> None:
        """Answer what is held, and what comes."""
        self._open.set()

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[Received]:
        """The requests, once there are ``count``; TimeoutError when they are not there in ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, timeout):
                raise TimeoutError(f"{len(self.received)} of {count} requests after {timeout} s")
        return self.received

    def close(self) -> None:
        """Stop; from now on the port refuses connections."""
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, request: Received) -> Answer:
        with self._changed:
            self.received.append(request)
            asked = self.answer_to(request) if self.answer_to and not self._script else self.default
            answer = self._script.pop(0) if self._script else asked
            self._changed.notify_all()
        if self.on_request is not None:
            self.on_request(request)
        self._open.wait(PATIENCE)
        time.sleep(answer.delay)
        return answer

    def _handler(upstream) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request handler below
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = upstream._receive(Received(time.monotonic(), self.path, headers, body))
                self.close_connection = True
                if not answer.drop:
                    with suppress(ConnectionError):  # a client may have given up waiting
                        self._say(answer)

            do_GET = do_POST  # noqa: N815  as http.server calls it

            def _say(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on the terminal."""

        return Handler
