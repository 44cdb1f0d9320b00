"""The HTTP interface: where each app's routes are, who may use them, and the form of every error."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from ninja import Status
from ninja.parser import Parser

from batcher.api import router as batcher
from durable_objects.http_bodies import text_in
from project import api_errors, health, metrics
from project.auth import BearerToken
from project.openapi import DESCRIPTION, DescribedAPI
from reminders.api import router as reminders


class OneCharset(Parser):
    """Reads the bodies of all routes by the rule for items."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """Return the JSON, in the charset that the Content-Type names, else in UTF-8."""
        body: dict[str, Any] = json.loads(text_in(request.body, request.headers.get("Content-Type", "")))
        return body


#: Guarded by a bearer token, but for ``/health`` and ``/openapi.json``. No cookies, no sessions, so nothing that
#: a browser could be tricked into (CSRF). ninja's documentation page is off, since it loads its scripts from
#: other hosts.
api = DescribedAPI(
    title="Durable Objects with alarms",
    version="1",
    description=DESCRIPTION,
    auth=BearerToken("nothing"),  # a route without a scope of its own is open to nobody
    docs_url=None,
    parser=OneCharset(),
    urls_namespace="api",
)
api_errors.install(api)
api.add_router("/batcher", batcher, auth=BearerToken("batcher"), tags=["batcher"])
api.add_router("/reminders", reminders, auth=BearerToken("reminders"), tags=["reminders"])


HEALTHY = {
    "status": "ok",
    "armed": 3,
    "dead": 0,
    "overdue": 0,
    "parked": 0,
    "oldest_overdue_seconds": 0.0,
    "late_after_seconds": 30.0,
}


@api.get(
    "/health",
    auth=None,
    response={200: dict[str, Any], 503: dict[str, Any]},
    tags=["operations"],
    openapi_extra={"responses": {200: {"content": {"application/json": {"example": HEALTHY}}}}},
)
def get_health(request: HttpRequest) -> Status[dict[str, Any]]:
    """Report the state of alarms: 200 while they run in time; 503 when one is late, or the database does not answer."""
    try:
        figures = health.figures()
    except DatabaseError:
        return Status(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "database_away"})
    late = figures["status"] != "ok"
    return Status(HTTPStatus.SERVICE_UNAVAILABLE if late else HTTPStatus.OK, figures)


@api.get(
    "/metrics",
    auth=BearerToken("metrics"),
    tags=["operations"],
    openapi_extra={"responses": {200: {"content": {"text/plain": metrics.EXAMPLE}}}},
)
def get_metrics(request: HttpRequest) -> HttpResponse:
    """Export the figures of alarms, runs and batches in Prometheus' text format."""
    return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)
