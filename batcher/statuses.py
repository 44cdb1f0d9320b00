"""What an upstream's answer says of each item, in the forms in which people write that."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from durable_objects.bodies import readable

#: Under one of these names stands the list, or a dict by place.
LISTS = ("results", "outcomes", "responses", "statuses", "items")
#: Names of what an entry says, in small letters without "_" and "-".
NUMBERS = {"status", "statuscode", "code", "httpstatus", "httpcode"}
FLAGS = {"success", "succeeded", "ok", "accepted", "delivered"}
ERRORS = {"error", "errors"}
TOLD = NUMBERS | FLAGS | ERRORS
WORDS = dict.fromkeys(("true", "ok", "success", "successful", "succeeded", "accepted", "created", "delivered"), True)
WORDS |= dict.fromkeys(("false", "error", "failed", "failure", "rejected", "refused", "invalid"), False)

_NUMBER = re.compile(r"(?:HTTP/[\d.]+ )?([2-5]\d\d)(?!\S)")
#: How JSON of items begins: with it, what cannot be parsed was cut off, or is JSON by the line.
_JSON = re.compile(r'\ufeff?\s*(?:\{|\[\s*[\[{"\d])')
_FINE = 200


class Unreadable(Exception):
    """It speaks of the items, but not so that one could rely on it."""


@dataclass(frozen=True)
class Said:
    """What is said of one item; ``status`` is None where that is no more than that it failed."""

    status: int | None
    error: str = ""


def read(body: bytes, content_type: str, count: int, *, is_multi: bool) -> list[Said] | int | None:
    """Of each of so many items, in order; or a status of them all; None where it speaks of none.

    Raises ``Unreadable``; with ``is_multi``, a 207, also where it does not speak of each. An answer that repeats our
    own ``batcher`` has sent back what it got, and speaks of none.
    """
    answer = _parsed(body, content_type)
    if not is_multi and isinstance(answer, dict) and "batcher" in answer:
        return None
    for name, entries in _lists(answer):
        said = [_of_one(each, may_be_bare=is_multi or name not in {"", "items"}) for each in entries]
        if any(said) or is_multi:
            sure = [each for each in said if each is not None]
            if not len(sure) == len(said) == count:
                raise Unreadable
            return sure
    if is_multi:
        raise Unreadable
    return _of_all(answer)


def _parsed(body: bytes, content_type: str) -> Any:
    """The JSON; None for another kind of answer."""
    text = readable(body, content_type)
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        if _JSON.match(text):
            raise Unreadable from error
        return None


def _lists(answer: Any) -> Sequence[tuple[str, list[Any]]]:
    """The lists that may speak of the items, each with its name; "" for a bare one."""
    if isinstance(answer, list):
        return [("", answer)]
    named = {_plain(name): value for name, value in answer.items()} if isinstance(answer, dict) else {}
    found = []
    for name in LISTS:
        value = named.get(name)
        if isinstance(value, dict):
            in_order = [value[place] for place in map(str, range(len(value))) if place in value]
            # By other keys than places one cannot know which items it speaks of.
            found.append((name, in_order if len(in_order) == len(value) else [*value.values(), None]))
        elif isinstance(value, list):
            found.append((name, value))
    return found


def _of_one(entry: Any, *, may_be_bare: bool) -> Said | None:
    """What an entry says; None for nothing. Raises ``Unreadable``."""
    if not isinstance(entry, dict):
        read = _number(entry) if may_be_bare else None
        return _said([read], "") if read is not None else None
    told = {_plain(name): value for name, value in entry.items()}
    match list(told.items()):
        case [(only, dict() as inner)] if only not in TOLD:  # {"index": {"status": 201}}, as of Elasticsearch
            told = {_plain(name): value for name, value in inner.items()}
    reads = [_number(told[name]) for name in NUMBERS & told.keys()]
    reads += [_flag(told[name]) for name in FLAGS & told.keys()]
    sure = [read for read in reads if read is not None]
    if reads and not sure:
        raise Unreadable
    if ERRORS & told.keys() and not any(type(read) is int for read in sure):
        sure.append(not any(told[name] for name in ERRORS & told.keys()))
    return _said(sure, _error(told)) if sure else None


def _of_all(answer: Any) -> int | None:
    """A status that stands for all items. Raises ``Unreadable`` where it only says that something failed."""
    try:
        said = _of_one(answer, may_be_bare=False)
    except Unreadable:
        return None  # a word of its own, on itself
    if said is not None and said.status is None:
        raise Unreadable
    return said.status if said is not None else None


def _said(reads: Sequence[int | bool], error: str) -> Said:
    """The worst of what is said: an entry that contradicts itself was not taken."""
    numbers = [read for read in reads if type(read) is int]
    if bad := [number for number in numbers if not 200 <= number < 300]:
        return Said(bad[0], error)
    if False in [read for read in reads if type(read) is bool]:
        return Said(None, error)
    return Said(numbers[0] if numbers else _FINE)


def _number(value: Any) -> int | bool | None:
    if type(value) is str and (found := _NUMBER.match(value.strip())):
        return int(found[1])
    if type(value) in {int, float} and value in range(200, 600):
        return int(value)
    return _flag(value) if type(value) in {bool, str} else None


def _flag(value: Any) -> bool | None:
    if type(value) is str:
        return WORDS.get(value.strip().lower())
    return bool(value) if type(value) in {bool, int} and value in {0, 1} else None


def _error(told: dict[str, Any]) -> str:
    error = next((told[name] for name in ("error", "errors", "message", "detail", "reason") if told.get(name)), "")
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
