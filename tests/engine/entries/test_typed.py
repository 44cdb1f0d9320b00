"""Values as people type them: every type that storage takes, both ways."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from durable_objects import InvalidValue
from durable_objects.entries import typed
from durable_objects.entries.serializer import encode

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("", "text", ""), ("true", "text", "true"), (" a\nb ", "text", " a\nb "),
        (12, "number", "12"), (-3.5, "number", "-3.5"), (float("nan"), "number", "NaN"),
        (True, "boolean", "true"), (None, "null", ""),
        (datetime(2031, 1, 1, 9, tzinfo=UTC), "datetime", "2031-01-01T09:00:00+00:00"),
        (datetime(2031, 1, 1, 9, tzinfo=BERLIN), "datetime", "2031-01-01T09:00:00+01:00[Europe/Berlin]"),
        (datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), "datetime", "2026-10-25T02:30:00+01:00[Europe/Berlin]"),
        (date(2031, 1, 31), "date", "2031-01-31"), (time(9, 30), "time", "09:30:00"),
        (timedelta(days=1, hours=2), "span", "1d 2h"), (Decimal("1.50"), "decimal", "1.50"),
        (UUID(int=5), "uuid", "00000000-0000-0000-0000-000000000005"), (b"\0\xff", "bytes", "AP8="),
    ],
)  # fmt: skip
def test_each_type_has_a_text_of_its_own(value: Any, kind: str, text: str) -> None:
    """What a form shows of a value is what it reads back, of exactly that type."""
    assert typed.written(encode(value)) == (kind, text)
    read = typed.read(kind, text)
    assert (type(read), encode(read)) == (type(value), encode(value))


@pytest.mark.parametrize(
    "value",
    [{"a": [1, (2, 3)]}, [1], (1, 2), {1}, timedelta(-1), 10**5000, datetime(2031, 1, 1),  # noqa: DTZ001  stored as it is
     {"at": datetime(2031, 1, 1, tzinfo=UTC)}],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_text_of_its_own_is_json(value: Any) -> None:
    """Containers, and the rare values that no type writes, are edited as their stored JSON and come back the same."""
    kind, text = typed.written(encode(value))
    assert kind == "json"
    assert encode(typed.read(kind, text)) == encode(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("number", "twelve"), ("number", "true"), ("number", '"1"'), ("boolean", "yes"), ("null", "x"), ("json", "{"),
     ("datetime", "2031-01-01T09:00:00"), ("datetime", "2031-01-01T09:00:00+01:00[Mars/Base]"),
     ("datetime", "2031-01-01T09:00:00+01:00[Europe]"),
     ("date", "31.1.2031"),
     ("time", "25:00"), ("span", "15"), ("decimal", "1,5"), ("uuid", "5"), ("bytes", "ä")],
)  # fmt: skip
def test_what_is_no_such_value_is_refused_with_an_example(kind: str, text: str) -> None:
    """The error repeats what was typed and shows what the type looks like."""
    with pytest.raises(InvalidValue, match=f"of the type {kind} looks like: "):
        typed.read(kind, text)
