"""Requests that are wrong on the wire: what the embedded web server itself has to see through."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.project.test_web import PATIENCE, Served, size_of_body

POST = b"POST / HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    served = Served(size_of_body)
    yield served.url
    served.stop()


def sent(url: str, request: bytes) -> bytes:
    """All that the server answers to these bytes, until it closes or all is sent."""
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout=PATIENCE) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1e3\r\n\r\n",
        b"Content-Length: 3, 3\r\n\r\nabc",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"Bad Header: x\r\n\r\n",
    ],
)
def test_lengths_and_headers_that_are_none(url: str, headers: bytes) -> None:
    """A request whose length or headers cannot be read is malformed, in our form, and the connection ends."""
    answer = sent(url, POST + headers)
    assert answer[8:13] == b" 400 "
    assert b'"code": "malformed"' in answer


def test_a_body_that_is_shorter_than_it_said(url: str) -> None:
    """A body that breaks off never reaches the application."""
    assert sent(url, POST + b"Content-Length: 10\r\n\r\nabc") == b""


def test_a_body_that_is_longer_than_it_said(url: str) -> None:
    """The application gets as many bytes as were declared; what follows them is the next request, and none."""
    first, _, rest = sent(url, POST + b"Content-Length: 3\r\n\r\nabcdef\r\n\r\n").partition(b"HTTP/1.0 400")
    assert first.endswith(b"\r\n\r\n3")
    assert b'"code": "malformed"' in rest


def test_two_lengths_at_once(url: str) -> None:
    """Chunked with a Content-Length is read as chunked or refused, never as two requests (smuggling)."""
    body = b"3\r\nabc\r\n0\r\n\r\n"
    answer = sent(url, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + body)
    assert answer.count(b"HTTP/1.") == 1


def test_headers_beyond_measure(url: str) -> None:
    """Headers of more than 256 KiB are refused as that, in our form."""
    answer = httpx.get(url, headers={"X-Large": "x" * 300_000}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")
