"""Which span of time a panel shows: chosen by a link, which keeps what the other panels show."""

from __future__ import annotations

from collections.abc import Collection

from django.http import HttpRequest


def chosen(request: HttpRequest, panel: str, spans: Collection[str]) -> str:
    """Return the span that the address asks for; the first one where it asks for none that there is."""
    asked = request.GET.get(panel, "")
    return asked if asked in spans else next(iter(spans))


def links(request: HttpRequest, panel: str, spans: Collection[str]) -> list[dict[str, str]]:
    """Return a link for each span, as queries; that of the one that is shown has none."""
    shown, others = chosen(request, panel, spans), request.GET.copy()
    others.pop("panel", None)
    found = []
    for span in spans:
        others[panel] = span
        found.append({"span": span, "url": "" if span == shown else f"?{others.urlencode()}#do-{panel}"})
    return found
