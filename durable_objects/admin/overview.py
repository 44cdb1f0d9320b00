"""One page on all alarms: what needs attention, tiles that link to lists, the load ahead, lateness."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from durable_objects import doctor
from durable_objects.admin import charts
from durable_objects.admin.columns import now_of
from durable_objects.admin.display import absolute, span
from durable_objects.operations import metrics
from durable_objects.tables import Alarm

#: States in the order of the tiles, with what a tile is called there.
TILES = {
    "overdue": "Overdue",
    "due": "Due now",
    "running": "Running",
    "retrying": "Retrying",
    "dead": "Dead",
    "parked": "Parked",
    "paused": "Paused",
    "limited": "Waiting for limits",
    "hour": "Next hour",
    "day": "Next day",
}
#: States that get a colour when there are any.
BAD = {"overdue": "bad", "dead": "bad", "retrying": "warn", "parked": "warn", "paused": "warn"}


def overview(site: AdminSite, request: HttpRequest, *, fragment: bool) -> HttpResponse:
    """Show the page, or only the part that changes, which the page's script fetches every few seconds."""
    if not request.user.has_perm("durable_objects.view_alarm"):
        raise PermissionDenied
    request.current_app = site.name
    context = figures_of(site, request)
    if fragment:
        return TemplateResponse(request, "admin/durable_objects/overview_figures.html", context)
    urls = {
        "fragment_url": reverse(f"{site.name}:durable_objects_overview_figures"),
        "alarms_url": reverse(f"{site.name}:durable_objects_alarm_changelist"),
    }
    page = {**site.each_context(request), "title": "Alarms overview", "opts": Alarm._meta, **urls, **context}
    return TemplateResponse(request, "admin/durable_objects/overview.html", page)


def figures_of(site: AdminSite, request: HttpRequest) -> dict[str, Any]:
    """Read what the page shows, in a bounded number of small reads."""
    now = now_of(request)
    alarms_url = reverse(f"{site.name}:durable_objects_alarm_changelist")
    counted = metrics.counts(now, list(TILES))
    oldest = metrics.oldest_overdue(now)
    age = now - oldest.wake_at if oldest and oldest.wake_at else None
    tiles = [
        {
            "title": title,
            "figure": metrics.counted(counted[state]),
            "note": f"oldest {span(age)}" if state == "due" and age is not None else "",
            "kind": BAD.get(state, "") if counted[state] else "",
            "url": f"{alarms_url}?state={state}",
        }
        for state, title in TILES.items()
    ]
    findings = [
        {"finding": finding, "url": f"{alarms_url}?state={finding.state}" if finding.state else ""}
        for finding in doctor.glance(now)
    ]
    late = metrics.lateness(now)
    return {
        "now": absolute(now),
        "tiles": tiles,
        "findings": findings,
        "load": _load(metrics.load_ahead(now)),
        "late": late,
        "percentiles": [(name, span(getattr(late, name))) for name in ("p50", "p95", "p99")] if late else [],
        "waiting": f"{metrics.counted(counted['due'])}, the longest since {span(age)}" if age is not None else "0",
        "lateness_runs": metrics.counted(late.runs, metrics.RUNS) if late else "0",
    }


def _load(counted: list[int]) -> dict[str, Any]:
    most = max(counted)
    minutes = metrics.BAR // timedelta(minutes=1)
    heights = [
        (
            number / most if most else 0.0,
            "armed",
            f"in {at * minutes} to {(at + 1) * minutes} min: {metrics.counted(number, metrics.BAR_COUNTED_TO)}",
        )
        for at, number in enumerate(counted)
    ]
    total = (
        metrics.counted(sum(counted), metrics.BAR_COUNTED_TO) if most >= metrics.BAR_COUNTED_TO else f"{sum(counted):,}"
    )
    label = f"Alarms due in the next hour, by {minutes} minutes: {total} in all, at most "
    label += f"{metrics.counted(most, metrics.BAR_COUNTED_TO)} at a time"
    return {"chart": charts.bars(heights, label, slots=metrics.BARS, width=600, height=80), "most": label}
