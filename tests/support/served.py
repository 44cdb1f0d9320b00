"""An ASGI application served by the embedded web server, and raw clients of it."""

from __future__ import annotations

import select
import socket
from types import TracebackType
from typing import Any, Self

from durable_objects.http.asgi_body_limit import Application, read_whole
from project.embedded import web

PATIENCE = 5.0


async def size_of_body(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that says how large the body was."""
    body = await read_whole(receive)
    if body is not None:
        await answer(send, str(len(body)).encode())


async def answer(send: Any, *pieces: bytes) -> None:
    """Answer with this text."""
    length = str(sum(map(len, pieces))).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number, piece in enumerate(pieces, 1):
        await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})


class Served:
    """An application that is served in this block."""

    def __init__(self, application: Application = size_of_body) -> None:
        self.server = web.WebServer(application, web.listening_socket("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.port}/"
        self.server.start()

    def client(self) -> socket.socket:
        """A connection of one's own."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE)

    def sent(self, request: bytes) -> bytes:
        """All that is answered to these bytes, until the server ends the connection; no more comes than they are."""
        with self.client() as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return rest_of(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.server.stop(PATIENCE)


def rest_of(client: socket.socket) -> bytes:
    """All that comes until the other side ends the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def refusal(client: socket.socket) -> bytes:
    """What is answered to somebody who goes on with what was begun: far more than there is a bound for, since what
    comes in one piece with an end is not counted. It is sent piece by piece, so that the answer is not lost with the
    connection.
    """
    for _ in range(20):
        if select.select([client], [], [], 0.1)[0]:
            break
        client.sendall(b"x" * 65536)
    return client.recv(65536)
