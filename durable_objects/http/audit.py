"""An audit log of tokens: a line of this module's logger for each request that may have changed something."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from durable_objects.http import tokens
from durable_objects.http.auth import READING
from durable_objects.http.client_address import address_of
from durable_objects.http.tokens import Principal
from durable_objects.logs import get_logger

logger = get_logger("durable_objects.http.audit")

#: The status of a request that was cut off before its answer, as nginx has it.
CUT_OFF = 499


def record(principal: Principal, method: str, path: str, status: int, address: str, *, times: int = 1) -> None:
    """Log what was requested with a token, by the token's name; the token itself is never logged."""
    extra = {"event": "api_write", "token": principal.name, "token_id": principal.id, "method": method, "path": path,
             "status": status, "address": address, "times": times}  # fmt: skip
    text = "%s %r: %d, with the token %r from %s" + (f", {times} times" if times > 1 else "")
    logger.info(text, method, path, status, principal.name, address, extra=extra)


class AuditLog:
    """Middleware that records what takes Django's way, refused or not; the fast path records by itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response = self.get_response(request)
        except BaseException:  # it was cut off, as ASGI servers do when the client goes; what it asked for may be done
            _record(request, CUT_OFF)
            raise
        _record(request, response.status_code)
        return response


def _record(request: HttpRequest, status: int) -> None:
    if request.method not in READING:
        principal = getattr(request, "auth", None)
        if principal is None:  # refused: known all the same?
            principal = tokens.trusted(request.headers.get("Authorization", ""))
        if isinstance(principal, Principal):
            record(principal, str(request.method), request.path, status, address_of(request.META))
