"""How things are said on the pages: what the engine's own words do not know of HTML."""

from __future__ import annotations

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.explain import Status, status_of
from durable_objects.wording import (
    HIDDEN,
    Value,
    absolute,
    class_name,
    class_of,
    gist,
    is_known,
    label,
    masked,
    relative,
    short,
    span,
    value,
)

__all__ = [
    "HIDDEN",
    "NOTHING",
    "Status",
    "Value",
    "absolute",
    "class_name",
    "class_of",
    "gist",
    "is_known",
    "label",
    "masked",
    "relative",
    "short",
    "span",
    "status_of",
    "value",
    "when",
]

#: What the admin shows where there is nothing.
NOTHING = "-"


def when(moment: datetime | None, now: datetime) -> SafeString | str:
    """A moment both ways, as HTML."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time datetime="{}">{} <span class="do-aside">{}</span></time>',
        moment.isoformat(),
        relative(moment, now),
        absolute(moment),
    )
