"""Which token did what: a line in the log of ``project.audit`` for each request that may have changed something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from durable_objects.logs import get_logger
from project.access import READING
from project.addresses import address_of
from project.tokens import Principal

logger = get_logger("project.audit")


def record(principal: Principal, method: str, path: str, status: int, meta: Mapping[str, Any]) -> None:
    """Write down what was asked with a token, by the token's name (the token itself is never logged)."""
    address = address_of(meta)
    extra = {"event": "api_write", "token": principal.name, "token_id": principal.id, "method": method, "path": path,
             "status": status, "address": address}  # fmt: skip
    logger.info("%s %r: %d, with the token %r from %s", method, path, status, principal.name, address, extra=extra)


class AuditLog:
    """Middleware that records what goes by Django's way; ASGI's short way records by itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        principal = getattr(request, "auth", None)
        if isinstance(principal, Principal) and request.method not in READING:
            record(principal, str(request.method), request.path, response.status_code, request.META)
        return response
