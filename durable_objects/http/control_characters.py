"""Shows control characters on HTML pages as visible signs, whoever wrote the name or text that had them."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

#: In UTF-8; with the two that override the direction of writing, so that a name reads as another one. Tab, line feed,
#: form feed and carriage return are white space in HTML.
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xad\xae]")


class ControlCharactersShown:
    """Middleware that puts a visible sign in place of each control character of an HTML page.

    They mean nothing in HTML, and hide from who reads the page what a name holds; a terminal that is shown the page's
    source, or a log line copied from it, would obey them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html; charset=utf-8")
        if is_page and isinstance(response, HttpResponse):
            content = response.content
            if _CONTROLS.search(content):
                response.content = _CONTROLS.sub(lambda found: _sign(found[0]), content)
        return response


def _sign(control: bytes) -> bytes:
    """Return the picture that Unicode has of a control character, else the replacement character."""
    code = ord(control.decode())
    picture = 0x2400 + code if code < 0x20 else 0x2421 if code == 0x7F else 0xFFFD
    return chr(picture).encode()
