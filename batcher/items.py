"""What an item may be: any JSON value."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from durable_objects import InvalidValue
from durable_objects.validation import show

ALLOWED = "any JSON value: None, bool, int, finite float, text, lists and dicts with text keys of these"
"""The form of an item, for messages."""

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

JSON_TYPES = {type(None), bool, int, float, str, list, dict}


@dataclass(frozen=True)
class Item:
    """A checked item: the value, and its JSON text as it is posted."""

    value: Any
    text: str

    @property
    def size(self) -> int:
        """The bytes that it takes in a batch, its comma included."""
        return len(self.text.encode()) + 1

    @classmethod
    def of(cls, value: object) -> Item:
        """Check a value. Raises ``InvalidValue`` with what is wrong and what is allowed."""
        try:
            text = _dumps(value)
            text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise refused_item(f"an item cannot be written as JSON: {error}") from None
        pending: list[Any] = [value]
        for part in pending:  # grows while it is walked; json.dumps has seen that it ends
            if type(part) not in JSON_TYPES:
                raise refused_item(f"an item contains {show(part)}, a {type(part).__name__}")
            if isinstance(part, dict):
                if foreign := [key for key in part if type(key) is not str]:
                    raise refused_item(f"an item contains a dict with the key {show(foreign[0])}, which is not text")
                pending.extend(part.values())
            elif isinstance(part, list):
                pending.extend(part)
        return cls(value, text)


def checked(items: Iterable[object]) -> list[Item]:
    """Check several items. Raises ``InvalidValue`` also for text, bytes, dicts and what is not iterable."""
    if isinstance(items, (str, bytes, dict)) or not isinstance(items, Iterable):
        raise refused_item(f"add_items() takes a list of items, got a {type(items).__name__}")
    return [Item.of(item) for item in items]


def refused_item(problem: str, allowed: str = ALLOWED) -> InvalidValue:
    """Build the error for an item that is refused."""
    error = InvalidValue(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error
