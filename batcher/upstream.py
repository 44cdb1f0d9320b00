"""The effect: one POST to an upstream, with an end."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import httpx

from batcher.answers import Answer, Verdict, read

__all__ = ["Answer", "Verdict", "origin_of", "post"]

#: So much of an answer's body is read: enough for a word on each item.
READ_BYTES = 65_536
READ_BYTES_PER_ITEM = 1024
READ_BYTES_AT_MOST = 16 * 1024 * 1024

_PORTS = {"http": 80, "https": 443}
#: The upstream cannot have had the body when one of these is raised.
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: The fault is in what we were told to send, and where to.
_NOT_SENDABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address: what one circuit breaker stands for."""
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode("ascii").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{parsed.scheme}://{host}:{parsed.port or _PORTS.get(parsed.scheme, 0)}"[:300]


def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout: timedelta,
    deadline: timedelta,
    item_count: int,
) -> Answer:
    """POST ``body`` and say what the answer means. Never raises for an upstream that is down, slow, or speaks
    nonsense: those are answers to be tried again.

    ``timeout`` is for each step (connect, send, each wait for more of the answer), ``deadline`` for all together.
    Redirects are not followed. A connection of its own for each post: a kept one that the upstream has closed would
    look like a failed try. User and password of the address go as a header, so that no log has them.
    """
    limits = httpx.Timeout(min(timeout, deadline).total_seconds())
    try:
        address = httpx.URL(url)
        auth = (address.username, address.password) if address.userinfo else None
        address = address.copy_with(username=None, password=None)
        with (
            httpx.Client(timeout=limits, verify=_tls(), auth=auth) as client,
            _ended_after(deadline) as extensions,
            client.stream("POST", address, content=body, headers=headers, extensions=extensions) as response,
        ):
            start, whole = _start_of(response, item_count)
            return read(response.status_code, response.headers, start, item_count, whole=whole)
    except _NOT_SENDABLE as error:
        return Answer.failed(error)
    except _NOTHING_SENT as error:
        return Answer.failed(error, is_down=True)
    except (httpx.HTTPError, httpx.StreamError, ValueError, OSError) as error:
        return Answer.failed(error, unknown=True, is_down=True)


@contextmanager
def _ended_after(deadline: timedelta) -> Iterator[dict[str, Any]]:
    """Extensions for a request whose connection is shut down after ``deadline``, whatever it is waiting for then.

    A time-out of httpx is for one step, and starts afresh with each byte that an upstream lets drip.
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


def _start_of(response: httpx.Response, item_count: int) -> tuple[bytes, bool]:
    """The body as far as it is worth reading, and whether that is all of it: it may break off."""
    limit = min(READ_BYTES + READ_BYTES_PER_ITEM * item_count, READ_BYTES_AT_MOST)
    start = bytearray()
    try:
        for chunk in response.iter_bytes(8192):
            start += chunk
            if len(start) > limit:
                return bytes(start[:limit]), False
    except httpx.HTTPError:
        return bytes(start), False
    return bytes(start), True


@functools.cache
def _tls() -> ssl.SSLContext:
    """One context for the process: making one takes longer than a post."""
    return httpx.create_ssl_context()
