"""The HTTP interface: where each app's routes are, and the site's own."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Status

from durable_objects import health, prometheus
from durable_objects.http.api import GuardedAPI
from durable_objects.http.routers import ScopedRouter

operations = ScopedRouter(
    "metrics",
    tags=["operations"],
    reads="read /metrics",
    description="Monitoring: `/metrics` needs the scope `metrics:read`, the probes no token.",
)

HEALTHY = {
    "status": "ok",
    "cause": None,
    "armed": 3,
    "dead": 0,
    "overdue": 0,
    "parked": 0,
    "oldest_overdue_seconds": 0.0,
    "late_after_seconds": 30.0,
}
SCRAPE = {"schema": {"type": "string"}, "example": 'durable_objects_alarms{state="overdue"} 0.0\n'}
Answer = Status[dict[str, Any]]


def _probe(example: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a route that is open to all and answers 200 or 503."""
    content = {"application/json": {"example": example}}
    return {
        "auth": None,
        "response": {200: dict[str, Any], 503: dict[str, Any]},
        "openapi_extra": {"responses": {200: {"content": content}}},
    }


@operations.get("/health", url_name="health", **_probe(HEALTHY))
def get_health(request: HttpRequest) -> Answer:
    """Report the state of alarms: 200 while they run in time; 503 when one is late, or the database does not answer."""
    return _answer(health.report())


@operations.get("/ready", **_probe({"status": "ok"}))
def get_ready(request: HttpRequest) -> Answer:
    """Report whether this process can serve: 503 while the database does not answer or lacks migrations."""
    return _answer(health.readiness())


@operations.get("/live", **_probe({"status": "ok"}))
def get_live(request: HttpRequest) -> Answer:
    """Answer 200: the process does. Asks no database."""
    return Status(HTTPStatus.OK, {"status": "ok"})


@operations.get(
    "/metrics",
    openapi_extra={"responses": {200: {"content": {"text/plain": SCRAPE}}}},
)
def get_metrics(request: HttpRequest) -> HttpResponse:
    """Export the figures of alarms, runs and batches in Prometheus' text format."""
    return HttpResponse(prometheus.exposition(), content_type=prometheus.CONTENT_TYPE)


def _answer(found: dict[str, Any]) -> Answer:
    return Status(HTTPStatus.OK if found["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE, found)


api = GuardedAPI(title="Durable Objects with alarms", version="1")
api.add_router("/batcher", "batcher.api.router")
api.add_router("/reminders", "reminders.api.router")
api.add_router("", operations)
