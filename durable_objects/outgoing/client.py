"""One POST: bounded in bytes, and by ``bounded`` in time and in how many threads wait for it."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from durable_objects.outgoing.addresses import origin_of
from durable_objects.outgoing.deadline import Call, bounded
from durable_objects.outgoing.proxies import proxy_for

_ENCODINGS = {"gzip", "x-gzip", "deflate"}


@dataclass(frozen=True)
class Reply:
    """What came back: ``start`` is the body as far as it was read, ``whole`` whether that is all of it."""

    status: int
    headers: httpx.Headers
    start: bytes
    whole: bool


def post(
    url: str, body: bytes, *, headers: Mapping[str, str], timeout: timedelta, deadline: timedelta, read_bytes: int
) -> Reply:
    """POST ``body``, and read no more than ``read_bytes`` of what is answered, decoded.

    ``timeout`` is for each step (connect, send, each wait for more of the answer), ``deadline`` for all of them.
    Redirects are not followed. A connection of its own for each post: a kept one that the other side has closed would
    look like a failed try. User and password of the address go as a header, so that no log has them. It goes by the
    proxy of the environment, if there is one (``proxies``). Raises httpx's errors, ``ProxyUnusable``, and those of
    ``bounded``.
    """
    address = httpx.URL(url)
    auth = (address.username, address.password) if address.userinfo else None
    address = address.copy_with(username=None, password=None)
    proxy = proxy_for(address)
    limits = httpx.Timeout(min(timeout, deadline).total_seconds())
    sent = httpx.Headers(dict(headers))
    sent["Accept-Encoding"] = "identity"

    def work(call: Call[Reply]) -> Reply:
        with (
            httpx.Client(timeout=limits, verify=_tls(), auth=auth, proxy=proxy, trust_env=False) as client,
            client.stream("POST", address, content=body, headers=sent, extensions=_ended_with(call)) as response,
        ):
            start, whole = _start_of(response, read_bytes)
            return Reply(response.status_code, response.headers, start, whole)

    return bounded(origin_of(url), deadline, work)


def _start_of(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Return the body up to ``limit`` bytes, and whether that is all of it: it may break off, or be compressed in a way
    that is not supported. One layer is unpacked, no further than it is read.
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
    """Unpack chunks, each piece no longer than ``limit``, from no more than that much of them."""
    unpack, taken = zlib.decompressobj(zlib.MAX_WBITS | 32), 0
    for chunk in chunks:
        yield unpack.decompress(chunk, limit)
        taken += len(chunk)
        if taken > limit:
            raise zlib.error("packed to more than what may come out of it")
    if not unpack.eof:
        raise zlib.error("broken off")


def _ended_with(call: Call[Reply]) -> dict[str, Any]:
    """Return extensions for a request whose connection is shut down when the call ends, whatever it waits for then.

    A time-out of httpx is for one step, and starts afresh with each byte that the other side lets drip.
    """

    def trace(event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            call.at_end(lambda: None, always=stream.close)  # the call may be interrupted while httpx closes it
            own = socket.socket(fileno=os.dup(stream.get_extra_info("socket").fileno()))  # TLS takes the first one over
            call.at_end(lambda: own.shutdown(socket.SHUT_RDWR), always=own.close)
        elif event == "connection.start_tls.complete":
            call.at_end(lambda: None, always=info["return_value"].close)

    return {"trace": trace}


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the one context of the process: making one takes longer than a post."""
    return httpx.create_ssl_context()
