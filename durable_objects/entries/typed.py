"""Values of entries as people type them: a type and a text, for every type that storage takes."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from durable_objects import durations
from durable_objects.entries import serializer
from durable_objects.errors import InvalidInput, InvalidValue
from durable_objects.recurrence.zones import find_zone
from durable_objects.validation import show

_IN_ZONE = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True)
class Type:
    """What people choose: a title, what its text looks like, and both ways between text and value."""

    title: str
    looks: str
    read: Callable[[str], Any]
    write: Callable[[Any], str] = str


def _json(text: str) -> Any:
    return serializer.decode(text)


def _number(text: str) -> int | float:
    value = serializer.decode(text.strip())
    if type(value) not in {int, float}:
        raise ValueError("no number")
    return value  # type: ignore[no-any-return]  # checked above


def _moment(text: str) -> datetime:
    found = _IN_ZONE.fullmatch(text.strip())
    moment = datetime.fromisoformat(found[1] if found else text.strip())
    if moment.utcoffset() is None:
        raise ValueError("no offset")
    if found is None:
        return moment
    zone = find_zone(found[2])
    if zone is None:
        raise ValueError("no zone")
    return moment.astimezone(zone)


def _write_moment(value: datetime) -> str:
    zone = f"[{value.tzinfo.key}]" if isinstance(value.tzinfo, ZoneInfo) else ""
    return value.isoformat() + zone


def _nothing(text: str) -> None:
    if text.strip():
        raise ValueError("not empty")


TYPES = {
    "text": Type("Text", "any text", str),
    "number": Type("Number", "12, -3.5, 1e9", _number, json.dumps),
    "boolean": Type("True or false", "true, false", lambda text: {"true": True, "false": False}[text.strip().lower()],
                    json.dumps),
    "null": Type("Nothing (null)", "an empty text", _nothing, lambda value: ""),
    "json": Type("JSON", '{"a": [1, true, null]}; other types as `objects show --json` writes them', _json),
    "datetime": Type("Date and time", "2031-01-31T09:30:00+01:00, 2031-01-31T09:30:00+01:00[Europe/Berlin]", _moment,
                     _write_moment),
    "date": Type("Date", "2031-01-31", lambda text: date.fromisoformat(text.strip()), date.isoformat),
    "time": Type("Time of day", "09:30:00", lambda text: time.fromisoformat(text.strip()), time.isoformat),
    "span": Type("Span of time", "15m, 1h 30m, 2d", durations.parse, durations.write),
    "decimal": Type("Decimal", "12.50", lambda text: Decimal(text.strip())),
    "uuid": Type("UUID", "0f0f0f0f-…", lambda text: UUID(text.strip())),
    "bytes": Type("Bytes", "base64", lambda text: b64decode(text.strip(), validate=True),
                  lambda value: b64encode(value).decode()),
}  # fmt: skip
"""By the name that forms and commands use."""

_OF: dict[type, str] = {
    str: "text", int: "number", float: "number", bool: "boolean", type(None): "null", datetime: "datetime",
    date: "date", time: "time", timedelta: "span", Decimal: "decimal", UUID: "uuid", bytes: "bytes",
}  # fmt: skip


def read(kind: str, text: str) -> Any:
    """Return the value that the text names as one of ``TYPES``. Raises ``InvalidValue``, saying what it looks like."""
    try:
        return TYPES[kind].read(text)
    except (ValueError, LookupError, ArithmeticError, InvalidOperation, binascii.Error, InvalidInput) as error:
        why = f" ({error})" if kind == "json" else ""
        raise InvalidValue(
            f"{show(text)} is not what a value of the type {kind} looks like: {TYPES[kind].looks}{why}"
        ) from error


def written(stored: str) -> tuple[str, str]:
    """Return type and text of a stored value, which ``read`` turns into the same value; JSON where no other does."""
    value = serializer.decode(stored)
    kind = _OF.get(type(value), "json")
    if kind != "json":
        try:
            text = TYPES[kind].write(value)
            if serializer.encode(read(kind, text)) == stored:
                return kind, text
        except (InvalidValue, ValueError):
            pass
    return "json", pretty(stored)


def pretty(stored: str) -> str:
    """Return the stored JSON, indented. Raises ``ValueError`` for what is no JSON."""
    return json.dumps(json.loads(stored), ensure_ascii=False, indent=2)
