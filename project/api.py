"""The HTTP interface: where each app's routes are, who may use them, and what every error looks like."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest
from ninja import NinjaAPI, Status

from batcher.api import router as batcher
from project import errors, health
from project.tokens import BearerToken
from reminders.api import router as reminders

#: Guarded by a bearer token, but for ``/health`` and ``/openapi.json``. No cookies, no sessions, so nothing that
#: a browser could be tricked into (CSRF). ninja's documentation page is off, since it loads its scripts from
#: other hosts.
api = NinjaAPI(
    title="Durable Objects with alarms",
    version="1",
    auth=BearerToken(),
    docs_url=None,
    urls_namespace="api",
)
errors.install(api)
api.add_router("/batcher", batcher, tags=["batcher"])
api.add_router("/reminders", reminders, tags=["reminders"])


@api.get("/health", auth=None, response={200: dict[str, Any], 503: dict[str, Any]}, tags=["health"])
def get_health(request: HttpRequest) -> Status[dict[str, Any]]:
    """200 while alarms run in time; 503 when one is late, or when the database cannot say."""
    try:
        figures = health.figures()
    except DatabaseError:
        return Status(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "database_away"})
    late = figures["status"] != "ok"
    return Status(HTTPStatus.SERVICE_UNAVAILABLE if late else HTTPStatus.OK, figures)
