"""Texts for people: spans of time, moments, names, errors, stored values."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import NamedTuple
from uuid import UUID

from django.contrib.contenttypes.models import ContentType
from django.utils import timezone

from durable_objects import kinds
from durable_objects.alarms.error_groups import headline
from durable_objects.entries import serializer
from durable_objects.errors import InvalidValue
from durable_objects.escaping import visible
from durable_objects.kinds import content_types
from durable_objects.tables import Object

#: What stands for a value that is not to be shown.
HIDDEN = "••••••"
#: Types whose ``str()`` reads better than their ``repr()``; the type is shown beside it.
_WRITTEN_PLAINLY = (date, time, timedelta, Decimal, UUID)
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def span(length: timedelta) -> str:
    """Write a span of time in its two largest units: ``2h 5m``, ``250ms``. A minus sign is left out.

    ``durations.write`` writes all of it.
    """
    seconds = abs(length.total_seconds())
    if 0 < seconds < 1:
        return f"{1000 * seconds:.3g}ms"
    if seconds < 10:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def relative(moment: datetime, now: datetime) -> str:
    """Write ``in 5m``, ``5m ago`` or ``now``."""
    if moment == now:
        return "now"
    return f"in {span(moment - now)}" if moment > now else f"{span(now - moment)} ago"


def absolute(moment: datetime, timespec: str = "seconds") -> str:
    """Write the moment in the current time zone, and name the zone."""
    try:
        local = timezone.localtime(moment)
    except OverflowError:  # the last hours of 9999, in a zone to the east: written in UTC
        local = moment
    return f"{local.replace(tzinfo=None).isoformat(' ', timespec)} {local:%Z}"


def label(name: str) -> str:
    """Write a name so that it can be seen: one with invisible characters is quoted and escaped."""
    return name if name.isprintable() and name == name.strip() else visible(json.dumps(name))


def number_of(number: int, one: str, several: str = "") -> str:
    """Write how many there are: ``1 item``, ``2,000 items``; ``several`` where that is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def short(text: str, limit: int = 60) -> str:
    """Return the text; of one longer than ``limit`` its beginning and an ellipsis, cut behind a word if one ends in
    the second half.
    """
    if len(text) <= limit:
        return text
    words, _, rest = text[: limit + 1].rpartition(" ")
    return (words if words and 2 * len(rest) <= limit else text[:limit]).rstrip() + "…"


def class_of(row: Object) -> str:
    """Name the class of an object, also one that this code does not have. Content types are cached by Django."""
    return class_name(content_types().get_for_id(row.kind_id))


def class_name(kind: ContentType) -> str:
    """Return the class's label; for one that this code does not have, the content type's, and say so."""
    model = kinds.class_of(kind)
    return f"{kind.app_label}.{kind.model} (unknown here)" if model is None else str(model._meta.label)


def is_known(row: Object) -> bool:
    """Return whether this code has the object's class; an object without is *parked* and left alone."""
    return kinds.class_of(content_types().get_for_id(row.kind_id)) is not None


def gist(error: str) -> str:
    """Return the line of an error that says most; of one longer than 200 characters its beginning and an ellipsis."""
    return short(headline(error), 199)


def is_traceback(error: str) -> bool:
    """Return whether the text is of an error that was raised, or the end of one; a reason that was given is not."""
    return 'File "' in error


class Value(NamedTuple):
    """A stored value for people to read. ``cut``: ``text`` is the beginning of its JSON, and ``kind`` is a guess."""

    kind: str
    text: str
    cut: bool


def value(start: str, limit: int) -> Value:
    """Decode a stored text; of one longer than ``limit`` show the first ``limit`` characters, undecoded."""
    if len(start) > limit:
        return Value(_kind_of(start), start[:limit], cut=True)
    try:
        decoded = serializer.decode(start)
        plain = isinstance(decoded, _WRITTEN_PLAINLY)
        text = str(decoded) if plain else json.dumps(decoded, ensure_ascii=False, indent=2, default=_as_json)
        return Value(type(decoded).__name__, text, cut=False)
    except InvalidValue:
        return Value("unreadable", start, cut=False)
    except ValueError:  # an int of more digits than Python writes out
        return Value(_kind_of(start), start, cut=False)


def _as_json(value: object) -> object:
    """Return what JSON lacks as people read it: dates as text, sets as lists, bytes as Python writes them."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return str(value) if isinstance(value, _WRITTEN_PLAINLY) else repr(value)


def _kind_of(text: str) -> str:
    box = '{"$type":"'
    if text.startswith(box):
        return text[len(box) :].partition('"')[0]
    return {"{": "dict", "[": "list", '"': "str"}.get(text[:1], "int")


def masked(row: Object) -> Callable[[str], bool]:
    """Return a test for keys to hide: the class's ``masked_keys``; every key where this code lacks the class."""
    model = kinds.class_of(content_types().get_for_id(row.kind_id))
    patterns = model.masked_keys if model is not None else ["*"]
    return lambda key: any(fnmatchcase(key, pattern) for pattern in patterns)
