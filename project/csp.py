"""Content-Security-Policy: a browser loads and runs on our pages what we serve ourselves, and no script inside them."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Django's own pages about an error have style and script inside. They are made where DEBUG is on, and only there.
WHILE_DEBUGGING = POLICY.replace(
    "-src 'self'; style-src 'self'", "-src 'unsafe-inline'; style-src 'unsafe-inline' 'self'"
)


class ContentSecurityPolicy:
    """Middleware that says the policy on every HTML page which does not say another one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            policy = WHILE_DEBUGGING if settings.DEBUG and response.status_code >= 400 else POLICY
            response.headers.setdefault("Content-Security-Policy", policy)
        return response
