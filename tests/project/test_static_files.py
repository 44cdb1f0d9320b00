"""Static files are the same by each interface, whatever is asked for of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

from tests.support.server_interfaces import RawRequest, by_asgi, by_wsgi

PATH = "admin/js/vendor/xregexp/xregexp.js"  # of several pieces


def size() -> int:
    """How large the file is."""
    return Path(str(finders.find(PATH))).stat().st_size


@pytest.mark.parametrize(
    ("method", "headers", "status", "length"),
    [
        ("GET", (), 200, None),
        ("GET", (("Range", "bytes=10-70009"),), 206, 70_000),
        ("GET", (("Range", "bytes=99999999-"),), 416, 0),
        ("GET", (("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),), 304, 0),
        ("HEAD", (), 200, 0),
        ("POST", (), 405, 0),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_file_by_each_interface(
    method: str, headers: tuple[tuple[str, str], ...], status: int, length: int | None
) -> None:
    """The whole file, a part of it, or nothing: without a warning, and with the same headers."""
    sent = RawRequest(method, b"/static/" + PATH.encode(), headers)
    wsgi, asgi = by_wsgi(sent), by_asgi(sent)
    assert (asgi.status, len(asgi.body)) == (status, size() if length is None else length)
    assert (asgi.status, asgi.headers, asgi.body) == (wsgi.status, wsgi.headers, wsgi.body)
