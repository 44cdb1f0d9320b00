"""Requests that are wrong on the wire: what the embedded web server itself has to see through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from durable_objects.http.asgi_body_limit import read_whole
from tests.support.served import Served, answer, refusal

POST = b"POST / HTTP/1.1\r\nHost: here\r\n"
MUCH = b"x" * 300_000


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as server:
        yield server


@pytest.mark.parametrize(
    "request_",
    [
        b"what is this\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1e3\r\n\r\n",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        POST + b"Bad Header: x\r\n\r\n",
    ],
)
def test_lengths_and_headers_that_are_none(served: Served, request_: bytes) -> None:
    """A request that is none, or whose length or headers cannot be read, is malformed, and the connection ends."""
    answer = served.sent(request_)
    assert answer[8:13] == b" 400 "
    assert b'"code": "malformed"' in answer
    assert answer.count(b"HTTP/1.") == 1


def test_a_body_that_is_shorter_than_it_said(served: Served) -> None:
    """A body that breaks off never reaches the application."""
    assert served.sent(POST + b"Content-Length: 10\r\n\r\nabc") == b""


def test_a_body_that_is_longer_than_it_said(served: Served) -> None:
    """The application gets as many bytes as were declared, and what was accepted is never answered as malformed; what
    follows is no request, and ends the connection.
    """
    answer = served.sent(POST + b"Content-Length: 3\r\n\r\nabcdef\r\n\r\n")
    assert (answer[8:13], answer.count(b"HTTP/1.")) == (b" 200 ", 1)
    assert answer.endswith(b"\r\n\r\n3")


def test_two_requests_at_once(served: Served) -> None:
    """They are answered in their order, also when the client has said that it sends no more."""
    one, two = (POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size for size in (3, 5))
    first, second = served.sent(one + two).split(b"HTTP/1.1 200")[1:]
    assert (first.endswith(b"\r\n\r\n3"), second.endswith(b"\r\n\r\n5")) == (True, True)


def test_two_lengths_at_once(served: Served) -> None:
    """Chunked with a Content-Length is read as chunked or refused, never as two requests (smuggling)."""
    body = b"3\r\nabc\r\n0\r\n\r\n"
    answer = served.sent(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + body)
    assert answer.count(b"HTTP/1.") == 1


def test_headers_beyond_measure(served: Served) -> None:
    """Headers of more than 256 KiB are refused as that, in our form, before they end; not only the first request's."""
    with served.client() as client:
        client.sendall(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)
        assert client.recv(65536).endswith(b"\r\n\r\n1000")
        client.sendall(POST + b"X-Large: ")
        refused = refusal(client)
    assert (refused[8:13], b'"code": "headers_too_large"' in refused) == (b" 431 ", True)


@pytest.mark.parametrize("begun", [b"3\r\nabc\r\n0\r\n", b"3\r\nabc\r\n3;x=", b""], ids=["trailers", "chunk", "first"])
def test_what_is_about_a_body_is_not_beyond_measure(served: Served, begun: bytes) -> None:
    """Neither are trailers, nor the extensions of a chunk."""
    with served.client() as client:
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + begun)
        client.sendall(b"X: " if begun.endswith(b"0\r\n") else b"1;x=")
        assert refusal(client)[8:13] == b" 431 "


def test_trailers_are_no_headers() -> None:
    """Nobody says after the body who they are."""

    async def names(scope: Any, receive: Any, send: Any) -> None:
        await read_whole(receive)
        await answer(send, b" ".join(name for name, _ in scope["headers"]))

    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    with Served(names) as served:
        first, second = served.sent(chunked + POST + b"X-Own: 1\r\nContent-Length: 0\r\n\r\n").split(b"HTTP/1.1 200")[
            1:
        ]
    assert first.endswith(b"\r\n\r\nhost transfer-encoding")
    assert second.endswith(b"\r\n\r\nhost x-own content-length")


def test_headers_within_measure(served: Served) -> None:
    """Many requests on one connection may have more than that together."""
    with httpx.Client(trust_env=False) as client:
        texts = [client.post(served.url, content=MUCH, headers={"X-Large": "x" * 100_000}).text for _ in range(5)]
    assert texts == [str(len(MUCH))] * 5
