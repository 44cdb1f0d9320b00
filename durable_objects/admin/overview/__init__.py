"""The engine's first page: whether alarms run in time, what keeps them from it, and what can be done.

A panel is a module: what it reads, for a template of its name. ``board`` has what they share.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.safestring import SafeString

from durable_objects.admin.display import absolute
from durable_objects.admin.overview import ahead, dead, late, people, process_list, runs, sentence, tiles
from durable_objects.admin.overview.board import Board, Panel
from durable_objects.admin.overview.spans import links

#: In the order of the page.
PANELS = [
    Panel("sentence", "", 5, sentence.read),
    Panel("late", "Due, and waiting", 5, late.read),
    Panel("tiles", "", 5, tiles.read),
    Panel("runs", "Runs", 60, runs.read),
    Panel("ahead", "Due ahead", 60, ahead.read),
    Panel("dead", "Dead alarms by error", 60, dead.read),
    Panel("processes", "Processes", 60, process_list.read),
    Panel("people", "What people do", 60, people.read),
]
#: How often the page may be refreshed, in seconds; 0: not at all. The choice is kept in this cookie.
PACES = (2, 5, 15, 60, 0)
USUAL_PACE = 5
COOKIE = "durable_objects_refresh"


def may_see(request: HttpRequest) -> bool:
    """Return whether the user may see the overview: who may view alarms."""
    return request.user.has_perm("durable_objects.view_alarm")


def board_of(request: HttpRequest) -> dict[str, Any]:
    """Return what the template of the page needs: all panels, as they are now."""
    board = Board(request)
    return {
        "panels": [_rendered(panel, board) for panel in PANELS],
        "now": absolute(board.now),
        "fragment_url": board.url("durable_objects_overview_panels"),
        "paces": PACES,
        "pace": _pace(request),
    }


def line_of(request: HttpRequest) -> dict[str, Any]:
    """Return the one sentence, and the address of the page, for the first page of an admin site."""
    board = Board(request)
    return {"statement": sentence.statements(board)[0], "url": board.url("app_list", "durable_objects")}


def urls(site: AdminSite) -> list[Any]:
    """Return the addresses: of the page, which is the engine's first one, and of its panels."""

    def page(request: HttpRequest) -> HttpResponse:
        _check(request)
        return HttpResponseRedirect(reverse("admin:app_list", args=["durable_objects"], current_app=site.name))

    def panels(request: HttpRequest) -> HttpResponse:
        _check(request)
        request.current_app = site.name
        board, asked = Board(request, site), set(request.GET.getlist("panel"))
        chosen = [_rendered(panel, board) for panel in PANELS if panel.name in asked]
        return HttpResponse(render_to_string("admin/durable_objects/overview/panels.html", {"panels": chosen}, request))

    return [
        path("overview/", site.admin_view(page), name="durable_objects_overview"),
        path("overview/panels/", site.admin_view(panels), name="durable_objects_overview_panels"),
    ]


def _check(request: HttpRequest) -> None:
    if not may_see(request):
        raise PermissionDenied


def _rendered(panel: Panel, board: Board) -> dict[str, str | int | SafeString | list[dict[str, str]]]:
    context = panel.read(board)
    html = render_to_string(f"admin/durable_objects/overview/{panel.name}.html", context, board.request)
    spans = links(board.request, panel.name, context["spans"]) if "spans" in context else []
    return {"name": panel.name, "title": panel.title, "seconds": panel.seconds, "spans": spans, "html": html}


def _pace(request: HttpRequest) -> int:
    given = request.COOKIES.get(COOKIE, "")
    return next((pace for pace in PACES if given == str(pace)), USUAL_PACE)
