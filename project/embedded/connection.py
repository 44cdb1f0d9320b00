"""One client's connection to the embedded web server: uvicorn's, with bounds, and with refusals in our form."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from time import monotonic

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from durable_objects.http.errors import error

MAX_CONNECTIONS = 1000
MAX_HEAD_BYTES = 256 * 1024
#: How much of an answer is kept for a client that reads slowly, before the application has to wait for it.
KEPT_BYTES = 16 * 1024 * 1024


class Connection(HttpToolsProtocol):
    """A connection on which nothing is without a bound: neither the head of a request nor how long it is silent.

    What is no HTTP is answered in the form of all our errors. A client that closed its half, since it sends no more, gets its
    answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept it, or refuse one more than ``MAX_CONNECTIONS``."""
        super().connection_made(transport)
        self._head_bytes, self._unsent, self._heard_at = 0, 0, monotonic()
        transport.set_write_buffer_limits(KEPT_BYTES)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"there are {MAX_CONNECTIONS} connections already")

    def data_received(self, data: bytes) -> None:
        """Read what came; refuse a head of more than ``MAX_HEAD_BYTES``."""
        last = self._last()
        is_body = last is not None and last.more_body
        if last is None or not (is_body and last.response_complete):  # what follows an answer is no sign of life
            self._heard_at = monotonic()
        super().data_received(data)
        self._head_bytes = 0 if is_body or self.cycle is not last else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers have more than {MAX_HEAD_BYTES} bytes"
            )

    def on_message_complete(self) -> None:
        """Note that the request has come whole."""
        super().on_message_complete()
        self.cycle.more_body = False  # which uvicorn leaves when the answer came before the body's end

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn always closes
        """Return whether it stays open for an answer, though the client sends no more."""
        if self._waits_for_client():
            return False
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        if self._waits_for_client():
            self._refuse(HTTPStatus.BAD_REQUEST, msg)
        else:  # what follows a request that is answered yet: it gets its own answer, and is the last
            self.cycle.keep_alive = False
            self.flow.pause_reading()

    def end_if_silent(self, seconds: float) -> None:
        """End it when nothing came for so long, it is the client's turn, and the client takes nothing either."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._heard_at = unsent, monotonic()
        if self._waits_for_client() and monotonic() - self._heard_at > seconds:
            self.transport.abort()

    def _last(self) -> RequestResponseCycle | None:
        """Return the request whose head came last, with its answer; None before the first."""
        return self.cycle

    def _waits_for_client(self) -> bool:
        last = self._last()
        return last is None or last.response_complete or last.more_body

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        body = json.dumps(error(status, message)).encode()
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
