"""What may be stored: the checks of names and keys, and values as JSON text that gives back exactly the same types.

None, bool, int, finite float, str, list and dict are plain JSON, so that SQL reads a stored value as it is:
`value::jsonb ->> 'timestamp'` (PostgreSQL), `json_extract(value, '$.timestamp')` (SQLite). Every other type is a box
(format: `entries.types`) and so has its place in SQL too: of {"timestamp": an aware datetime}, the text is
`'$.timestamp.value'` and the milliseconds since the epoch are `'$.timestamp.ms'`.

A dict of the user's with a key `$type` is never taken for a box: that key is written `$$type` (and `$$type` as
`$$$type`, and so on). The text never holds NaN or Infinity as bare words, nor a NUL, so `::jsonb` accepts all of it.
"""

import json
import re
from types import NoneType
from typing import Any

from durable_objects.entries.types import MAX_PLAIN_INT, READERS, WRITERS, Refused, box, stood_for
from durable_objects.errors import InvalidValue
from durable_objects.validation import check_key, check_name, foreign, show, text_flaw, utf8_size

__all__ = ["MAX_LEVELS", "MAX_VALUE_BYTES", "check_key", "check_name", "decode", "encode"]

MAX_VALUE_BYTES = 2_000_000
MAX_LEVELS = 200

_MAX_ITEMS = MAX_VALUE_BYTES // 2  # an item takes at least two bytes, its comma included
_AS_THEY_ARE = {str, bool, NoneType}
_CONTAINERS = {dict, list, tuple, set, frozenset}
_IN_SET = object()  # the step to an item of a set, which has neither index nor key
_MARK = re.compile(r"\$+type")

_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
_loads = json.JSONDecoder().decode


def encode(value: object) -> str:
    """Return the JSON text that `decode` turns back into an equal value of exactly the same types, to the last item.

    Sets of the same items give the same text. Dicts keep the order of their keys. Raises InvalidValue, naming the place
    inside the value, for any type not listed in `InvalidValue.allowed`, a subclass of one, a dict key that is not text,
    a NUL or lone surrogate in text, a value inside itself, more than 200 levels, more than 2,000,000 bytes of UTF-8.
    """
    try:
        text = _encode_plain(value) or _encode_carefully(value)
    except RecursionError:
        raise InvalidValue(
            "value is nested deeper than the rest of the call stack; store it from a shallower call."
        ) from None
    if (size := utf8_size(text)) > MAX_VALUE_BYTES:
        raise InvalidValue(
            f"value is {size:,} bytes encoded; the limit is {MAX_VALUE_BYTES:,}. Spread it over several keys, or keep "
            "it in a file and store its name."
        )
    return text


def decode(text: str) -> Any:
    """Return a fresh copy of the value that `encode` made this text from. Raises InvalidValue for any other text."""
    try:
        value = _loads(text)
        return _unpack(value) if '$type"' in text and type(value) in (dict, list) else value
    except Exception as error:  # text that we did not write can fail in any way
        raise InvalidValue(
            f"The stored text {show(text)} cannot be read ({type(error).__name__}: {error}). It was changed by other "
            "hands, written by a newer version, or names a time zone that is unknown here (install tzdata)."
        ) from error


def _encode_plain(value: object) -> str | None:
    """Return plain JSON, the quick way for nearly every value; None for any other, also for what is to be refused."""
    if not _is_plain(value):
        return None
    text = _dumps(value)
    # Asked of the text, which is quicker than of each part; text that only looks so takes the careful way for nothing.
    suspect = '$type"' in text or "\\u0000" in text or text_flaw(text)
    return None if suspect else text


def _encode_carefully(value: object) -> str:
    packing = _Packing()
    try:
        return _dumps(packing.pack(value))
    except Refused as refused:
        raise InvalidValue(f"{packing.place()} {refused}. Allowed: {InvalidValue.allowed}.") from None


def _is_plain(value: object) -> bool:
    """Return whether `value` is JSON types only, in few enough containers to be neither too deep nor inside itself."""
    containers = 0
    parts: list[Any] = [value]
    for part in parts:  # grows while it is walked
        kind = type(part)
        if kind in _AS_THEY_ARE:
            continue
        if kind is int or kind is float:
            if not -MAX_PLAIN_INT < part < MAX_PLAIN_INT:  # never so of NaN and the infinities
                return False
            continue
        if kind is dict:
            for key in part:
                if type(key) is not str:
                    return False
        elif kind is not list:
            return False
        containers += 1
        if containers > MAX_LEVELS or len(parts) + len(part) > _MAX_ITEMS:
            return False
        parts += part if kind is list else part.values()
    return True


class _Packing:
    """The careful way: makes plain JSON and boxes of one value, and knows the place inside it where it stands."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.inside: set[int] = set()
        self.items = 0

    def place(self) -> str:
        """Write the place as Python would: `value["a"][3]`; an item of a set is `{…}`."""
        steps = ["{…}" if step is _IN_SET else f"[{show(step)}]" for step in self.steps]
        return "value" + "".join(steps if len(steps) <= 20 else [*steps[:10], "…", *steps[-10:]])

    def pack(self, value: Any) -> Any:
        """Return `value` as plain JSON and boxes; one frame per level. Raises Refused, and then still stands there."""
        kind = type(value)
        if kind not in WRITERS and kind not in _CONTAINERS:
            value = stood_for(value)
            kind = type(value)
        if kind in WRITERS:
            return WRITERS[kind](value)
        self._enter(value)
        packed: Any
        if kind is dict:
            packed = {}
            for key, item in value.items():
                self.steps[-1] = key
                _check_dict_key(key)
                packed["$" + key if _MARK.fullmatch(key) else key] = self.pack(item)
        else:
            packed = []
            for index, item in enumerate(value):
                self.steps[-1] = index if kind is list or kind is tuple else _IN_SET
                packed.append(self.pack(item))
            if kind is set or kind is frozenset:
                packed.sort(key=_dumps)
            if kind is not list:
                packed = box(kind.__name__, packed)
        self.steps.pop()
        self.inside.remove(id(value))
        return packed

    def _enter(self, value: Any) -> None:
        if type(value) not in _CONTAINERS:
            raise Refused(f"{foreign(value, _CONTAINERS.union(WRITERS))}: {show(value)}")
        if id(value) in self.inside:
            raise Refused("contains itself")
        if len(self.inside) == MAX_LEVELS:
            raise Refused(f"is nested deeper than {MAX_LEVELS} levels")
        self.items += len(value)
        if self.items > _MAX_ITEMS:  # ends a small value, too, that refers to its parts again and again
            raise Refused(f"makes it more than {_MAX_ITEMS:,} items, so over {MAX_VALUE_BYTES:,} bytes encoded")
        self.inside.add(id(value))
        self.steps.append(None)


def _check_dict_key(key: object) -> None:
    flaw = text_flaw(key) if type(key) is str else foreign(key, {str})
    if flaw:
        raise Refused(f"is under a dict key that {flaw}")


def _unpack(value: Any) -> Any:
    """Open the boxes of a freshly parsed list or dict, in place, innermost first; one frame per level."""
    for place, item in enumerate(value) if type(value) is list else value.items():
        if type(item) is dict or type(item) is list:
            value[place] = _unpack(item)
    if type(value) is list:
        return value
    if "$type" in value:
        return READERS[value["$type"]](value)
    if any(map(_MARK.fullmatch, value)):
        return {key[1:] if _MARK.fullmatch(key) else key: item for key, item in value.items()}
    return value
