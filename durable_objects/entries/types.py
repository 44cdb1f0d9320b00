"""How the types that JSON lacks are written as JSON: each in a *box*, an object with a `$type` and a `value`.

    {"$type": "datetime", "value": "2026-10-25T02:30:00+01:00", "ms": 1792891800000, "zone": "Europe/Berlin", "fold": 1}
        `ms`: milliseconds since the epoch, rounded down; of an aware datetime only; the field to compare in SQL.
        `zone`: of a ZoneInfo only. `fold`: only if 1. `offset`: microseconds; only if not whole seconds.
    {"$type": "time", "value": "02:30:00"}     zone and fold likewise
    {"$type": "date", "value": "2026-10-25"}
    {"$type": "timedelta", "value": 1500000}   microseconds
    {"$type": "decimal", "value": "1.50"}      also "NaN", "sNaN", "-Infinity", "-0"
    {"$type": "uuid", "value": "…"}
    {"$type": "bytes", "value": "…"}           base64
    {"$type": "tuple", "value": […]}           likewise set and frozenset, those sorted by their items' encoded text
    {"$type": "float", "value": "nan"}         likewise inf and -inf; every other float is plain JSON
    {"$type": "int", "value": "0x…"}           only beyond 2,048 bits, since Python may refuse to read that many digits

An aware datetime keeps its wall time, and its ZoneInfo by name. Any other tzinfo becomes the fixed offset it had at
that moment: a `datetime.timezone`, without a name; UTC comes back as `timezone.utc`.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import isfinite
from types import NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from durable_objects.validation import show, text_flaw

MAX_PLAIN_INT = 2**2048  # 617 digits; Python's limit on digits (sys.set_int_max_str_digits) is never below 640

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """What is wrong with a part of a value, as text that follows its place; `serializer.encode` adds the place."""


def box(name: str, value: object) -> dict[str, object]:
    """Return the JSON object that stands for `value`."""
    return {"$type": name, "value": value}


def _write_text(value: str) -> str:
    if flaw := text_flaw(value):
        raise Refused(flaw)
    return value


def _write_int(value: int) -> object:
    return value if -MAX_PLAIN_INT < value < MAX_PLAIN_INT else box("int", hex(value))


def _write_float(value: float) -> object:
    return value if isfinite(value) else box("float", repr(value))


def _write_moment(value: datetime | time) -> dict[str, object]:
    boxed = box(type(value).__name__, value.isoformat())
    offset, zone = value.utcoffset(), _zone_name(value.tzinfo)
    if isinstance(value, datetime) and offset is not None:
        boxed["ms"] = (value - _EPOCH) // timedelta(milliseconds=1)
    if zone:
        boxed["zone"] = zone
    elif value.tzinfo is not None and offset is None:
        raise Refused(f"has a tzinfo that gives no offset, {show(value.tzinfo)}: use a ZoneInfo or datetime.timezone")
    elif offset is not None and offset % timedelta(seconds=1):  # Python reads less than a second as none at all
        boxed["offset"] = offset // timedelta(microseconds=1)
    if value.fold:
        boxed["fold"] = 1
    return boxed


def _zone_name(tzinfo: object) -> str | None:
    """Return the name that gives this zone back when it is read; None for what has no such name."""
    if type(tzinfo) is not ZoneInfo or not tzinfo.key:
        return None
    try:
        return ZoneInfo(tzinfo.key).key
    except (LookupError, ValueError, OSError):  # made from a file, under a name of its own
        return None


def _read_moment(kind: type[datetime] | type[time]) -> Callable[[dict[str, Any]], datetime | time]:
    def read(boxed: dict[str, Any]) -> datetime | time:
        moment = kind.fromisoformat(boxed["value"]).replace(fold=boxed.get("fold", 0))
        if "zone" in boxed:
            return moment.replace(tzinfo=ZoneInfo(boxed["zone"]))
        if "offset" in boxed:
            return moment.replace(tzinfo=timezone(timedelta(microseconds=boxed["offset"])))
        return moment

    return read


def stood_for(value: object) -> object:
    """Return the plain date or datetime that a frozen clock's stands for; any other value as it is.

    Such a class takes every plain one for its own, which no other subclass does.
    """
    kind = type(value)
    if not isinstance(value, date) or not isinstance(_EPOCH, kind) or kind in WRITERS:
        return value
    if isinstance(value, datetime):
        return type(_EPOCH).combine(value.date(), value.timetz())
    return _EPOCH.date().replace(value.year, value.month, value.day)


WRITERS: dict[type, Callable[[Any], object]] = {
    NoneType: lambda value: value,
    bool: lambda value: value,
    str: _write_text,
    int: _write_int,
    float: _write_float,
    datetime: _write_moment,
    time: _write_moment,
    date: lambda value: box("date", value.isoformat()),
    timedelta: lambda value: box("timedelta", value // timedelta(microseconds=1)),
    Decimal: lambda value: box("decimal", str(value)),
    UUID: lambda value: box("uuid", str(value)),
    bytes: lambda value: box("bytes", b64encode(value).decode()),
}
"""By exact type, what makes JSON of a value that holds no other values. May raise Refused."""

READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "int": lambda boxed: int(boxed["value"], 16),
    "float": lambda boxed: float(boxed["value"]),
    "datetime": _read_moment(datetime),
    "time": _read_moment(time),
    "date": lambda boxed: date.fromisoformat(boxed["value"]),
    "timedelta": lambda boxed: timedelta(microseconds=boxed["value"]),
    "decimal": lambda boxed: Decimal(boxed["value"]),
    "uuid": lambda boxed: UUID(boxed["value"]),
    "bytes": lambda boxed: b64decode(boxed["value"], validate=True),
    "tuple": lambda boxed: tuple(boxed["value"]),
    "set": lambda boxed: set(boxed["value"]),
    "frozenset": lambda boxed: frozenset(boxed["value"]),
}
"""By `$type`, what opens a box whose inner boxes are open. For a box that we did not write it may raise anything."""
