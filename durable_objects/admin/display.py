"""How pages show things: the engine's own texts (``formatting``), and what needs HTML."""

from __future__ import annotations

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects.formatting import (
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
from durable_objects.operations.explain import Status, status_of

__all__ = [
    "HIDDEN",
    "NOTHING",
    "Status",
    "Value",
    "absolute",
    "badge",
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
    "to_come",
    "value",
    "when",
]

#: What the admin shows where there is nothing.
NOTHING = "-"


def when(moment: datetime | None, now: datetime) -> SafeString | str:
    """Show a moment as HTML: from now, and as a time."""
    return NOTHING if moment is None else _both_ways(moment, relative(moment, now))


def to_come(moment: datetime | None, now: datetime) -> SafeString | str:
    """Show the moment of something that is still to come, as HTML: once it is past, "due since"."""
    if moment is None or moment >= now:
        return when(moment, now)
    return _both_ways(moment, f"due since {span(now - moment)}")


def badge(word: str) -> SafeString:
    """Show a state's word in the colour of its meaning."""
    return format_html('<span class="do-badge do-{}">{}</span>', word, word.replace("_", " "))


def _both_ways(moment: datetime, text: str) -> SafeString:
    shape = '<time datetime="{}">{} <span class="do-aside">{}</span></time>'
    return format_html(shape, moment.isoformat(), text, absolute(moment))
