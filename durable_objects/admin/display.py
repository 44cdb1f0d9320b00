"""How things are said on the pages: what the engine's own words do not know of HTML."""

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
    """A moment both ways, as HTML."""
    return NOTHING if moment is None else _both_ways(moment, relative(moment, now))


def to_come(moment: datetime | None, now: datetime) -> SafeString | str:
    """The moment of something that has not been yet, as HTML: once it is over, it is due since then."""
    if moment is None or moment >= now:
        return when(moment, now)
    return _both_ways(moment, f"due since {span(now - moment)}")


def badge(word: str) -> SafeString:
    """A word with the colour of its meaning."""
    return format_html('<span class="do-badge do-{}">{}</span>', word, word.replace("_", " "))


def _both_ways(moment: datetime, said: str) -> SafeString:
    shape = '<time datetime="{}">{} <span class="do-aside">{}</span></time>'
    return format_html(shape, moment.isoformat(), said, absolute(moment))
