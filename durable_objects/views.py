"""What probes and monitoring ask over HTTP: health, liveness, readiness, metrics. ``durable_objects.urls`` has them.

Anybody may ask whether it is well; figures are for who has ``MONITORING_TOKEN``.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from durable_objects.conf import engine
from durable_objects.database.messages import message_for
from durable_objects.errors import ObjectBusy
from durable_objects.health import readiness, report
from durable_objects.logs import get_logger

logger = get_logger(__name__)

View = Callable[[HttpRequest], HttpResponse]


def probe(view: View) -> View:
    """Let a view be read without a login, a cache or a transaction, whatever the project asks of its other views."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return login_not_required(never_cache(require_safe(view)))


@probe
def live(request: HttpRequest) -> HttpResponse:
    """Answer 200: the process does. Asks no database, so that a restart is never the answer to one that is away."""
    return JsonResponse({"status": "ok"})


@probe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 while this process can serve; 503 while the database is away, takes no writes or lacks migrations, or
    a setting of the engine is refused.
    """
    return _answer(readiness())


@probe
def health(request: HttpRequest) -> HttpResponse:
    """Answer 200 while alarms run in time; 503 when one is late, or the database does not answer or lacks tables.

    With the token the figures and the cause as well; of a setting that is refused the cause to everybody.
    """
    found = report()
    is_open = found["status"] == "misconfigured" or _has_token(request)  # then nobody can have a token
    return _answer(found if is_open else {"status": found["status"]})


@probe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer all figures in Prometheus' text format, with the token.

    401 without it, 403 where no token is set, 501 where prometheus-client is not installed, 503 when the database does
    not answer or a setting of the engine is refused.
    """
    if flaw := engine.flaw():
        return _refusal(503, flaw)
    if not engine.MONITORING_TOKEN:
        return _refusal(403, 'nobody may read the metrics: DURABLE_OBJECTS["MONITORING_TOKEN"] is not set')
    if not _has_token(request):
        refused = _refusal(401, "the metrics need the header Authorization: Bearer <MONITORING_TOKEN>")
        refused["WWW-Authenticate"] = "Bearer"
        return refused
    try:
        from durable_objects import prometheus
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        advice = "install django-durable-objects[metrics]"
        return _refusal(501, f"the metrics need the package prometheus-client: {advice}")
    try:
        return HttpResponse(prometheus.exposition(), content_type=prometheus.CONTENT_TYPE)
    except (Error, ObjectBusy) as error:
        logger.warning("asked for metrics: %s", message_for(error) if isinstance(error, Error) else error)
        return _refusal(503, "the database does not answer just now, or refuses: the log has its words")


def _has_token(request: HttpRequest) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = str(engine.MONITORING_TOKEN)
    return bool(token) and scheme.lower() == "bearer" and constant_time_compare(given.strip(), token)


def _answer(found: dict[str, Any]) -> HttpResponse:
    well = found["status"] == "ok"
    return JsonResponse(found, status=HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)


def _refusal(status: int, text: str) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
