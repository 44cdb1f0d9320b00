"""The HTTP interface: where each app's routes are, and the site's own."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from ninja import Status

from durable_objects.http.api import GuardedAPI
from durable_objects.http.routers import ScopedRouter
from project import health, metrics

operations = ScopedRouter(
    "metrics",
    tags=["operations"],
    reads="read /metrics",
    description="Monitoring: `/health` is open, `/metrics` needs the scope `metrics:read`.",
)

HEALTHY = {
    "status": "ok",
    "armed": 3,
    "dead": 0,
    "overdue": 0,
    "parked": 0,
    "oldest_overdue_seconds": 0.0,
    "late_after_seconds": 30.0,
}


@operations.get(
    "/health",
    auth=None,
    response={200: dict[str, Any], 503: dict[str, Any]},
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


@operations.get(
    "/metrics",
    openapi_extra={"responses": {200: {"content": {"text/plain": metrics.EXAMPLE}}}},
)
def get_metrics(request: HttpRequest) -> HttpResponse:
    """Export the figures of alarms, runs and batches in Prometheus' text format."""
    return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


api = GuardedAPI(title="Durable Objects with alarms", version="1")
api.add_router("/batcher", "batcher.api.router")
api.add_router("/reminders", "reminders.api.router")
api.add_router("", operations)
