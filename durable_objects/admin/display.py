"""How pages show things: the engine's own texts (``formatting``), and what needs HTML."""

from __future__ import annotations

from datetime import UTC, datetime

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
    "in_both_zones",
    "is_known",
    "label",
    "masked",
    "relative",
    "short",
    "short_id",
    "since",
    "size",
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


def in_both_zones(moment: datetime) -> str:
    """Write a moment in the current time zone, and in UTC if that is another."""
    here, there = absolute(moment), f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return here if here == there else f"{here} ({there})"


def since(what: str, moment: datetime, now: datetime) -> SafeString:
    """Show since when something is as it is, as HTML: ``died 3h ago``."""
    return _both_ways(moment, f"{what} {relative(moment, now)}")


def size(number: int) -> str:
    """Show a size in bytes, which no line breaks."""
    return f"{number:,}\u00a0B"


def short_id(value: object) -> SafeString:
    """Show an id by its first 8 characters; the whole of it when pointed at."""
    return format_html('<span title="{0}" class="do-id">{1}</span>', value, str(value)[:8])


def badge(word: str) -> SafeString:
    """Show a state's word in the colour of its meaning."""
    return format_html('<span class="do-badge do-{}">{}</span>', word, word.replace("_", " "))


def _both_ways(moment: datetime, text: str) -> SafeString:
    shape = '<time datetime="{}">{} <span class="do-aside">{}</span></time>'
    return format_html(shape, moment.isoformat(), text, absolute(moment))
