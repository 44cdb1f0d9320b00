"""What the engine's admin pages ask for in templates."""

from __future__ import annotations

import re
from typing import Any

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

_CODE = re.compile(r"`([^`]+)`")


@register.filter
def code(text: str) -> SafeString:
    """Escape a text, and show what stands in backticks in it as code."""
    return mark_safe(_CODE.sub(r"<code>\1</code>", conditional_escape(text)))  # noqa: S308  it was escaped before


@register.inclusion_tag("admin/durable_objects/overview/board.html", takes_context=True)
def overview(context: template.RequestContext) -> dict[str, Any]:
    """Show the overview, to who may see it."""
    from durable_objects.admin import overview as page  # the admin may not be installed where this is loaded

    request: Any = context.request
    return page.board_of(request) if page.may_see(request) else {}


@register.inclusion_tag("admin/durable_objects/overview/line.html", takes_context=True)
def overview_line(context: template.RequestContext) -> dict[str, Any]:
    """Show the one sentence, to who may see the overview."""
    from durable_objects.admin import overview as page

    request: Any = context.request
    return page.line_of(request) if page.may_see(request) else {}
