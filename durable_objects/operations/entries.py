"""What an operator does to one entry of an object's storage: put and delete it, if it is still as it was seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from durable_objects.entries import serializer
from durable_objects.errors import DurableObjectError, ValueChanged
from durable_objects.formatting import label, masked, short
from durable_objects.logs import about, get_logger
from durable_objects.operations.actions import handle_of, in_turn
from durable_objects.tables import Object
from durable_objects.turns.handle import shown
from durable_objects.turns.turn import Turn
from durable_objects.validation import check_key

logger = get_logger(__name__)

#: The version of a key that is not there.
ABSENT = "absent"


@dataclass(frozen=True)
class Change:
    """The stored texts before and after; None where the key is not there."""

    key: str
    old: str | None
    new: str | None


def version_of(stored: str | None) -> str:
    """Return what tells a stored text from any other, to be sent with a page."""
    return ABSENT if stored is None else hashlib.sha256(stored.encode()).hexdigest()[:32]


def put(obj: Object, key: str, value: Any, *, seen: str | None = None) -> Change:
    """Store the value under the key, in a turn of the object; return what was changed.

    With ``seen``, the version of what the caller has read, raises ``ValueChanged`` if another value is there by now.
    Raises ``InvalidKey``, ``InvalidValue``, ``ClassUnknown``, and ``DurableObjectError`` for a key that its class
    masks: whoever cannot see a value is not to overwrite it.
    """
    return _change(obj, key, serializer.encode(value), seen)


def delete(obj: Object, key: str, *, seen: str | None = None) -> Change:
    """Delete the key, in a turn of the object; return what was there. Raises as ``put``."""
    return _change(obj, key, None, seen)


def _change(obj: Object, key: str, new: str | None, seen: str | None) -> Change:
    handle = handle_of(obj)
    check_key(key)
    refuse_masked(obj, key)

    def change(turn: Turn) -> Change:
        old = turn.get([key]).get(key)
        if seen is not None and version_of(old) != seen:
            raise ValueChanged(f"{_what(handle.key, key)} was changed meanwhile: {_now(old)} Nothing was written.")
        if old != new:
            turn.write({key: new})
        return Change(key, old, new)

    changed = in_turn(obj, change)
    logger.warning("%s was changed by hand", _what(handle.key, key), extra=about("entry_changed", handle.key))
    return changed


def refuse_masked(obj: Object, key: str) -> None:
    """Raise ``DurableObjectError`` for a key that the object's class masks."""
    if masked(obj)(key):
        raise DurableObjectError(
            f"{label(key)} is masked (masked_keys): a value that nobody sees is changed by code alone, in a method of "
            "the class"
        )


def _what(object_key: tuple[str, str], key: str) -> str:
    return f"{label(key)} of {shown(object_key)}"


def _now(stored: str | None) -> str:
    if stored is None:
        return "it is not there."
    return f"it is now {short(stored, 200)}."
