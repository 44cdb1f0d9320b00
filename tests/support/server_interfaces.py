"""A request as bytes, sent through each interface: WSGI and ASGI, both also with the fast path; a socket."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from ninja import NinjaAPI

from batcher.fast_path import FastPath, WsgiFastPath
from durable_objects.http.asgi_body_limit import AsgiBodyLimit
from durable_objects.http.content_type_header import ContentTypeCheck
from project.api import api

PATIENCE = 10.0
#: The status of no answer.
CLOSED = 0


@dataclass(frozen=True)
class RawRequest:
    """What is sent: ``target`` as it stands in the request's first line, headers in their order, the body."""

    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    #: RawRequest without a length, in pieces of this size.
    chunks_of: int = 0

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the question mark."""
        return self.target.partition(b"?")[2]

    def all_headers(self) -> list[tuple[str, str]]:
        """The headers with a host, and with a length where none is given and none is left out on purpose."""
        names = {name.lower() for name, _ in self.headers}
        host = [] if "host" in names else [("Host", "localhost")]
        if self.chunks_of:
            framing = [("Transfer-Encoding", "chunked")]
        else:
            framing = [] if "content-length" in names or not self.body else [("Content-Length", str(len(self.body)))]
        return [*host, *self.headers, *framing]

    def pieces(self) -> list[bytes]:
        """The body as it comes."""
        size = self.chunks_of or len(self.body) or 1
        return [self.body[at : at + size] for at in range(0, len(self.body), size)]

    def on_the_wire(self) -> bytes:
        """All of it, as HTTP/1.1."""
        lines = [b"%s %s HTTP/1.1" % (self.method.encode(), self.target)]
        lines += [
            f"{name}: {value}".encode("latin-1") for name, value in [*self.all_headers(), ("Connection", "close")]
        ]
        body = self.body
        if self.chunks_of:
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in self.pieces()) + b"0\r\n\r\n"
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Answer:
    """What came back: all that means something to a client."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> str | None:
        """The error's code, where it has our form."""
        try:
            return str(json.loads(self.body)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What must be the same through each interface."""
        compared = ("content-type", "allow", "www-authenticate", "location", "retry-after")
        return self.status, {name: self.headers.get(name) for name in compared}, self.body


@dataclass(frozen=True)
class Mounted:
    """The interface that the fast path is told of, and where; by default the site's."""

    api: NinjaAPI = api
    prefix: str = "/batcher/"


SITE = Mounted()


def by_wsgi(
    sent: RawRequest, *, fast: bool = False, source: io.BytesIO | None = None, mounted: Mounted = SITE
) -> Answer:
    """Return the WSGI application's answer to what a server makes of the request: equal headers in one, by commas."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": sent.method,
        "PATH_INFO": unquote_to_bytes(sent.path).decode("latin-1"),
        "QUERY_STRING": sent.query.decode("latin-1"),
        "RAW_URI": sent.target.decode("latin-1"),
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
        "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.input_terminated": True,
        "wsgi.input": source or io.BytesIO(sent.body),
    }  # fmt: skip
    for name, value in sent.all_headers():
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    started: list[Any] = []
    application: Any = ContentTypeCheck(WSGIHandler())
    if fast:
        application = WsgiFastPath(application, mounted.api, mounted.prefix)
    response = application(environ, lambda *arguments, **_: started.append(arguments))
    body = b"".join(response)
    getattr(response, "close", lambda: None)()
    status, headers = started[0]
    return Answer(int(status.split()[0]), {name.lower(): value for name, value in headers}, body)


def by_asgi(sent: RawRequest, *, fast: bool = False, mounted: Mounted = SITE) -> Answer:
    """Return the ASGI application's answer, with or without the fast path in front."""
    application: Any = AsgiBodyLimit(ASGIHandler())
    if not fast:
        return asyncio.run(_asked(application, sent))
    fast_path = FastPath(application, mounted.api, mounted.prefix)
    try:
        return asyncio.run(_asked(fast_path, sent))
    finally:
        hang_up(fast_path)


#: Both interfaces, as Django answers them and as the project serves them.
WAYS: dict[str, Callable[[RawRequest], Answer]] = {
    "WSGI": by_wsgi,
    "ASGI": by_asgi,
    "WSGI, fast path": partial(by_wsgi, fast=True),
    "ASGI, fast path": partial(by_asgi, fast=True),
}


def hang_up(application: FastPath) -> None:
    """Close the connections of the application's threads, which live as long as their process.

    As many calls as it has threads at most, which wait for each other: so each thread takes one.
    """
    threads = application._threads
    number = threads._max_workers
    all_threads = threading.Barrier(number)

    def close() -> None:
        all_threads.wait(5)
        connections.close_all()

    for done in [threads.submit(close) for _ in range(number)]:
        done.result()
    threads.shutdown()


async def _asked(application: Any, sent: RawRequest) -> Answer:
    scope = {
        "type": "http", "method": sent.method, "path": unquote_to_bytes(sent.path).decode(errors="replace"),
        "raw_path": sent.path, "query_string": sent.query, "scheme": "http", "http_version": "1.1",
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.all_headers()],
    }  # fmt: skip
    pieces = [*sent.pieces()] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": at < len(pieces)} for at, piece in enumerate(pieces, 1)
    ]
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(PATIENCE)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    await application(scope, receive, send)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in answers[0]["headers"]}
    return Answer(
        answers[0]["status"],
        headers,
        b"".join(message["body"] for message in answers[1:] if "body" in message),
    )


def by_socket(port: int) -> Callable[[RawRequest], Answer]:
    """Return a function that sends a request to the server on this port."""

    def ask(sent: RawRequest) -> Answer:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client,
            http.client.HTTPResponse(client, method=sent.method) as response,
        ):
            with suppress(OSError):  # who refuses early may close early
                client.sendall(sent.on_the_wire())
            try:
                response.begin()
            except (OSError, http.client.HTTPException):
                return Answer(CLOSED)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())

    return ask
