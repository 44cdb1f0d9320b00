"""The web server inside this process: uvicorn, in a thread of its own, so that signals stay the command's."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import threading
from contextlib import suppress
from http import HTTPStatus

import uvicorn
from django.core.management.base import CommandError

from durable_objects.http.asgi_body_limit import Application, Receive, Scope, Send
from durable_objects.http.errors import error
from durable_objects.logs import get_logger
from project.embedded.connection import Connection

logger = get_logger("project.web")
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # that a client sends what is no HTTP is no news

USUAL_PORT = 8000
SECONDS_OF_SILENCE = 120
SECONDS_PER_LOOK = 30
#: What requests under way get at the stop, beside the 0.2 s in which uvicorn sees that it is asked to.
SECONDS_TO_END = 1


def listening_socket(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on ``host`` at ``port``; for None at 8000, or at any free port when that is taken.

    Clients that connect from now on wait until the server serves. Raises ``CommandError`` with the way out when the
    port that was asked for is taken or not allowed.
    """
    try:
        return _listening(host, USUAL_PORT if port is None else port)
    except OSError as refused:
        if port is None and refused.errno == errno.EADDRINUSE:
            return _listening(host, 0)
        raise CommandError(
            f"cannot listen on {host} port {USUAL_PORT if port is None else port}: {refused.strerror}; "
            "give another with --port (0 takes any free one)"
        ) from refused


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    # Its connections inherit it. asyncio sets it on few, and an answer's second packet would wait 40 ms for the client.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class WebServer:
    """Serves an ASGI application on a listening socket, in a thread of its own.

    Once stopped it cannot be started again.
    """

    def __init__(self, application: Application, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                answered_at_the_stop(application),
                http=Connection,
                ws="none",
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # the settings say which proxy is believed, and what
                server_header=False,
                timeout_keep_alive=SECONDS_OF_SILENCE,
                timeout_graceful_shutdown=SECONDS_TO_END,
                callback_notify=self._end_silent_connections,
                timeout_notify=SECONDS_PER_LOOK,
                reset_contextvars=True,  # else the next request of a connection begins in the context of the last
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="web", daemon=True)

    def start(self) -> None:
        """Start; who has connected already is answered as soon as it serves."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether it still serves."""
        return self._thread.is_alive()

    def stop(self, seconds: float) -> bool:
        """Take no new connection, let the requests under way end within ``SECONDS_TO_END``, and close everything;
        return whether all that took at most ``seconds``.
        """
        self._server.should_exit = True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    async def _end_silent_connections(self) -> None:
        for connection in list(self._server.server_state.connections):
            try:
                if isinstance(connection, Connection):
                    connection.end_if_silent(SECONDS_OF_SILENCE)
            except Exception:  # what is raised here would end the server
                logger.exception("a connection could not be looked after")


def answered_at_the_stop(application: Application) -> Application:
    """Return the application; a request that is cut off at the stop is answered by 503, if nothing is answered yet."""
    body = json.dumps(
        error(HTTPStatus.SERVICE_UNAVAILABLE, "the site stops; whether this was done is not known")
    ).encode()
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"retry-after", b"1")]

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await application(scope, receive, send)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # the answer has begun, and breaks off
                await send({"type": "http.response.start", "status": 503, "headers": headers})
                await send({"type": "http.response.body", "body": body})

    return answered
