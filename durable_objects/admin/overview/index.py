"""The one sentence on the first page of an admin site, above whatever template the site has for it."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.loader import get_template, select_template


class IndexTemplate:
    """Stands in for the template of a site's first page: that, with the sentence at the top of its content."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    def render(self, context: dict[str, Any], request: HttpRequest | None = None) -> str:
        """Return the page."""
        theirs = self._theirs or "admin/index.html"
        parent: Any = theirs
        if isinstance(theirs, str | list | tuple):
            parent = get_template(theirs) if isinstance(theirs, str) else select_template(theirs)
        page = get_template("admin/durable_objects/index.html")
        return page.render({**context, "index_template": getattr(parent, "template", parent)}, request)


def put_on(site: AdminSite) -> None:
    """Put the sentence on the site's first page, once."""
    theirs: Any = site.index_template
    if not isinstance(theirs, IndexTemplate):
        site.index_template = IndexTemplate(theirs)  # type: ignore[assignment]  # Django takes whatever can render
