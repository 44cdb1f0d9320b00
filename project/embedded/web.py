"""The web server inside this process: waitress, driven by the caller's own loop so that it stops when asked."""

from __future__ import annotations

import errno
import json
import logging
import socket
import time
from http import HTTPStatus
from typing import Any

from django.core.management.base import CommandError
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from durable_objects.http.body_limit import MAX_BODY_BYTES
from durable_objects.http.errors import TOO_LARGE, error

logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a request that waits for a thread is no news

USUAL_PORT = 8000
THREADS = 8
SECONDS_PER_TICK = 0.2


def listening_socket(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on ``host`` at ``port``; for None at 8000, or at any free port when that is taken.

    Clients that connect from now on wait until the server serves. Raises ``CommandError`` with the way out when the
    port that was asked for is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, USUAL_PORT if port is None else port), family=family, backlog=1024)
    except OSError as refused:
        if port is None and refused.errno == errno.EADDRINUSE:
            return socket.create_server((host, 0), family=family, backlog=1024)
        raise CommandError(
            f"cannot listen on {host} port {USUAL_PORT if port is None else port}: {refused.strerror}; "
            "give another with --port (0 takes any free one)"
        ) from refused


class JsonErrorTask(ErrorTask):  # type: ignore[misc]  # waitress ships no types
    """What waitress itself refuses (too large, no HTTP), answered in the form of all our errors."""

    def execute(self) -> None:
        """Write the refusal and close the connection."""
        refused = self.request.error
        answer = TOO_LARGE if refused.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else error(refused.code, refused.body)
        body = json.dumps(answer).encode()
        self.status = f"{refused.code} {refused.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class JsonErrorChannel(HTTPChannel):  # type: ignore[misc]  # as above
    """A client's connection whose refusals are JSON."""

    error_task_class = JsonErrorTask


class WebServer:
    """Serves a WSGI application on a listening socket, in the thread that calls ``tick`` again and again.

    Requests run in ``THREADS`` threads. A body over 1 MiB is refused at its Content-Length, a chunked one as soon as
    it has grown over it.
    """

    def __init__(self, application: Any, listener: socket.socket) -> None:
        self._map: dict[int, Any] = {}
        self._server = create_server(
            application,
            map=self._map,
            sockets=[listener],
            threads=THREADS,
            max_request_body_size=MAX_BODY_BYTES + 1,
            connection_limit=1000,
            ident=None,
        )
        self._server.channel_class = JsonErrorChannel
        self.port: int = listener.getsockname()[1]

    def tick(self, seconds: float = SECONDS_PER_TICK) -> None:
        """Handle what the sockets have for us, waiting at most ``seconds`` for it."""
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

    def stop(self, seconds: float) -> None:
        """Take no new connection, let the requests under way end within ``seconds``, and close everything."""
        end = time.monotonic() + seconds
        threads = self._server.task_dispatcher
        self._server.accepting = False
        threads.set_thread_count(0)  # each thread ends after the request it has
        while threads.threads and time.monotonic() < end:
            self.tick(0.02)
        threads.shutdown(timeout=0)
        self.tick(0.02)  # the last answers go out
        wasyncore.close_all(self._map, ignore_all=True)
