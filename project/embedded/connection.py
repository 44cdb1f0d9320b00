"""One client's connection to the embedded web server: uvicorn's, with bounds, and with refusals in our form."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from time import monotonic

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from durable_objects.http.errors import error

MAX_CONNECTIONS = 1000
MAX_HEAD_BYTES = 256 * 1024


class Connection(HttpToolsProtocol):
    """A connection on which nothing is without a bound: neither the head of a request, nor its trailers and the
    extensions of its chunks, nor how long the client is silent or reads nothing.

    What is no HTTP is answered in the form of all our errors. A client that closed its half, since it sends no more,
    gets its answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept it, or refuse one more than ``MAX_CONNECTIONS``."""
        self._head_bytes, self._unsent = 0, 0
        self._heard_at = self._taken_at = monotonic()
        self._answered: RequestResponseCycle | None = None
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"there are {MAX_CONNECTIONS} connections already")

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way for it."""
        if self._answered is not None:  # uvicorn tells only the last request, which may not be the one that is answered
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came; refuse more than ``MAX_HEAD_BYTES`` that are neither a whole head nor a piece of a body."""
        last = self._last()
        if last is None or not (last.more_body and last.response_complete):  # what follows an answer is no sign of life
            self._heard_at = monotonic()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers have more than {MAX_HEAD_BYTES} bytes"
            )

    def on_headers_complete(self) -> None:
        """Begin to answer the request."""
        super().on_headers_complete()
        self._head_bytes = 0
        self.headers = []  # for the trailers; uvicorn would add them to the headers

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has come whole."""
        self._head_bytes = 0
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
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def pause_writing(self) -> None:
        """Let the answer wait, since the client has to read first."""
        super().pause_writing()
        self._taken_at = monotonic()

    def end_if_silent(self, seconds: float) -> None:
        """End it when it has been the client's turn for so long: to read, whatever it sends, or to send or read."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._taken_at = unsent, monotonic()
        if self.flow.write_paused:
            since = self._taken_at
        elif self._waits_for_client():
            since = max(self._taken_at, self._heard_at)
        else:
            return
        if monotonic() - since > seconds:
            self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _last(self) -> RequestResponseCycle | None:
        """Return the request whose head came last, with its answer; None before the first."""
        return self.cycle

    def _waits_for_client(self) -> bool:
        last = self._last()
        return last is None or last.response_complete or last.more_body

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Say so and hang up; but where an earlier request has no answer yet, it gets its own, as the last."""
        if self.pipeline or not self._waits_for_client():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        body = json.dumps(error(status, message)).encode()
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
