"""One POST to somebody else's server: bounded in time, in bytes and in how many threads wait for it.

For the apps; nothing of the engine needs it, nor httpx, which comes with the extra ``outgoing``.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from durable_objects.conf import AppSettings

defaults = AppSettings(
    "OUTGOING",
    {
        # So many threads of one process wait for one host at most.
        "CALLS_PER_HOST": 4,
        # And so many for all hosts together of which none has answered within a second when it was last asked.
        "CALLS_TO_SLOW_HOSTS": 4,
    },
)

#: A host that answers within so many seconds is none of the slow ones; for so long one waits for a place.
QUICK = 1.0
#: So many hosts are remembered as quick.
REMEMBERED = 1_000

_ENCODINGS = {"gzip", "x-gzip", "deflate"}
_PORTS = {"http": 80, "https": 443}


class TooManyCalls(Exception):
    """As many threads of this process as may wait for this host, or for slow ones, do so already. Nothing was sent."""


@dataclass(frozen=True)
class Reply:
    """What came back: ``start`` is the body as far as it was read, ``whole`` whether that is all of it."""

    status: int
    headers: httpx.Headers
    start: bytes
    whole: bool


def origin_of(url: str) -> str:
    """Scheme, host and port of an address: what one circuit breaker, and one share of the threads, stands for."""
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode("ascii").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{parsed.scheme}://{host}:{parsed.port or _PORTS.get(parsed.scheme, 0)}"[:300]


def post(
    url: str, body: bytes, *, headers: Mapping[str, str], timeout: timedelta, deadline: timedelta, read_bytes: int
) -> Reply:
    """POST ``body``, and read no more than ``read_bytes`` of what is answered, decoded.

    ``timeout`` is for each step (connect, send, each wait for more of the answer), ``deadline`` for all together.
    Redirects are not followed. A connection of its own for each post: a kept one that the other side has closed would
    look like a failed try. User and password of the address go as a header, so that no log has them. Raises httpx's
    errors, and ``TooManyCalls`` before anything was sent.
    """
    address = httpx.URL(url)
    auth = (address.username, address.password) if address.userinfo else None
    address = address.copy_with(username=None, password=None)
    limits = httpx.Timeout(min(timeout, deadline).total_seconds())
    sent = httpx.Headers(dict(headers))
    sent["Accept-Encoding"] = "identity"
    with (
        _places.taken(origin_of(url)),
        httpx.Client(timeout=limits, verify=_tls(), auth=auth) as client,
        _ended_after(deadline) as extensions,
        client.stream("POST", address, content=body, headers=sent, extensions=extensions) as response,
    ):
        start, whole = _start_of(response, read_bytes)
        return Reply(response.status_code, response.headers, start, whole)


def _start_of(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """The body up to so many bytes, and whether that is all of it: it may break off, or be packed in a way of which
    nobody knows what comes out. One layer is unpacked, no further than it is read.
    """
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in {"identity", "", *_ENCODINGS}:
        return b"", False
    start = bytearray()
    try:
        for chunk in _unpacked(response.iter_raw(8192), limit + 1) if packed in _ENCODINGS else response.iter_raw(8192):
            start += chunk
            if len(start) > limit:
                return bytes(start[:limit]), False
    except (httpx.HTTPError, zlib.error):
        return bytes(start), False
    return bytes(start), True


def _unpacked(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """What comes out of packed chunks, each piece no longer than ``limit``, from no more than that much of them."""
    unpack, taken = zlib.decompressobj(zlib.MAX_WBITS | 32), 0
    for chunk in chunks:
        yield unpack.decompress(chunk, limit)
        taken += len(chunk)
        if taken > limit:
            raise zlib.error("packed to more than what may come out of it")
    if not unpack.eof:
        raise zlib.error("broken off")


@contextmanager
def _ended_after(deadline: timedelta) -> Iterator[dict[str, Any]]:
    """Extensions for a request whose connection is shut down after ``deadline``, whatever it is waiting for then.

    A time-out of httpx is for one step, and starts afresh with each byte that the other side lets drip.
    """
    opened: list[socket.socket] = []
    is_over = threading.Event()

    def trace(event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            connection = info["return_value"].get_extra_info("socket")
            opened.append(socket.socket(fileno=os.dup(connection.fileno())))  # TLS takes the first one over
            if is_over.is_set():
                end()

    def end() -> None:
        is_over.set()
        for connection in opened:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline.total_seconds(), end)
    timer.daemon = True
    timer.start()
    try:
        yield {"trace": trace}
    finally:
        timer.cancel()
        for connection in opened:
            connection.close()


@dataclass
class _Places:
    """Who waits for which host in this process, since when, and which hosts were quick when they were last asked."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    since: dict[str, list[float]] = field(default_factory=dict)
    quick: dict[str, None] = field(default_factory=dict)

    @contextmanager
    def taken(self, origin: str) -> Iterator[None]:
        """One place for a call to this host. Raises ``TooManyCalls`` where there is none within a second."""
        began = time.monotonic()
        with self.changed:
            while (held_up := self._before(origin)) is not None:
                left = QUICK - (time.monotonic() - held_up)
                if left <= 0:
                    raise TooManyCalls(
                        f"{origin} or other slow hosts hold as many threads of this process as they may: tried again"
                    )
                self.changed.wait(left)
            began = time.monotonic()
            self.since.setdefault(origin, []).append(began)
        try:
            yield
        finally:
            with self.changed:
                self._release(origin, began)
                self.changed.notify_all()

    def _before(self, origin: str) -> float | None:
        """Since when the oldest of those waits that stand before this one; None where there is a place."""
        there = self.since.get(origin, [])
        if len(there) >= defaults.CALLS_PER_HOST:
            return min(there)
        slow = [since for host, each in self.since.items() if host not in self.quick for since in each]
        if origin not in self.quick and len(slow) >= defaults.CALLS_TO_SLOW_HOSTS:
            return min(slow)
        return None

    def _release(self, origin: str, began: float) -> None:
        there = self.since[origin]
        there.remove(began)
        if not there:
            del self.since[origin]
        self.quick.pop(origin, None)
        if time.monotonic() - began < QUICK:
            self.quick[origin] = None
            if len(self.quick) > REMEMBERED:
                del self.quick[next(iter(self.quick))]


_places = _Places()


@functools.cache
def _tls() -> ssl.SSLContext:
    """One context for the process: making one takes longer than a post."""
    return httpx.create_ssl_context()
