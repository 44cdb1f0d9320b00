"""The result of each item in an upstream's answer, in the forms in which people write that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from durable_objects.http_bodies import readable

#: The names of the list of results, or of a dict by place.
LISTS = ("results", "outcomes", "responses", "statuses", "items")
#: The names of an answer within the answer, or of a list about the items or something else.
WRAPPERS = ("data", "body", "result", "response", "payload", "content", "records", "entries", "d", "meta", "summary")
#: How deep answers within answers are searched.
DEPTH = 4
#: Names of what an entry says, in lower case without "_" and "-".
NUMBERS = {
    "status", "statuscode", "code", "httpstatus", "httpcode", "httpstatuscode", "responsecode", "responsestatus",
    "responsestatuscode",
}  # fmt: skip
FLAGS = {"success", "succeeded", "successful", "ok", "accepted", "delivered"}
#: The names under which an entry may nest its result.
WITHIN = {"status", "response", "result", "body"}
#: Under these a word that is not known says nothing.
STATES = {"state", "result", "outcome"}
WORDS = {
    "true",
    "ok",
    "success",
    "successful",
    "succeeded",
    "accepted",
    "created",
    "delivered",
    "done",
    "completed",
    "yes",
}
NOTHING = {"", "0", "none", "null", "false", "ok", "success"}

#: Words that say that something failed, by their beginnings, and names of what did.
_BAD_WORD = re.compile(
    r"fail|err(?:or|_|$)|reject|refus|invalid|unsuccess|partial|denied|declined|abort|exception|unprocessable|conflict|"
    r"unavailable|unauthori|forbidden|throttl|time(?:d |-)?out|dropped|bounced|(?:false|no|nok|ko|bad)$|(?:not|bad) "
)
_COMPLAINT = re.compile(r"fail|reject|error|exception|refus|invalid|unprocess|dropped|declined|bounced")
#: What some servers write before JSON, so that it cannot run as a script.
_GUARD = re.compile(r"\ufeff?\s*(?:\)\]\}'?,?|while\(1\);|for\(;;\);)?\s*")
_NUMBER = re.compile(r"(?:HTTP/[\d.]+ )?([2-5]\d\d)(?!\S)")
#: How JSON of items begins: if such a body cannot be parsed, it was cut off or is JSON lines.
_JSON = re.compile(r'\ufeff?\s*(?:\{|\[\s*[\[{"\d])')
_FINE = 200


class Unreadable(Exception):
    """The answer is about the items, but cannot be relied on."""


@dataclass(frozen=True)
class ItemResult:
    """The result of one item; ``status`` is None where it is only known that it failed."""

    status: int | None
    error: str = ""


def read(body: bytes, content_type: str, count: int, *, is_multi: bool) -> list[ItemResult] | int | None:
    """Return the results of all ``count`` items in order, or one status for all; None where the answer has neither.

    Raises ``Unreadable``; with ``is_multi``, a 207, also where an item is missing. An answer that repeats our own
    ``batcher`` is an echo of the request, and has none.
    """
    answer = _parsed(body, content_type)
    levels = list(_levels(answer, may_repeat_us=not is_multi))
    for name, entries in (found for level in levels for found in _lists(level)):
        results = [_of_one(each, may_be_bare=is_multi or name != "items") for each in entries]
        if any(results) or is_multi:
            sure = [each for each in results if each is not None]
            if not len(sure) == len(results) == count:
                raise Unreadable
            if all(_is_good(each.status) for each in sure) and _of_all(levels) not in {None, _FINE}:
                raise Unreadable  # the status of all of them contradicts each of theirs
            return sure
        if name not in WRAPPERS and len(entries) != count:
            raise Unreadable
    if is_multi:
        raise Unreadable
    return _of_all(levels)


def _parsed(body: bytes, content_type: str) -> Any:
    """Parse the JSON; None for another kind of answer."""
    text = _GUARD.sub("", readable(body, content_type), count=1)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        says_json = "json" in content_type and text.strip() and not _flag(text)
        if says_json or _JSON.match(text):
            raise Unreadable from error
        return None


def _opened(value: Any) -> Any:
    """Parse JSON text within JSON; return any other value as it is."""
    if type(value) is str and value.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _levels(answer: Any, *, may_repeat_us: bool, depth: int = DEPTH) -> Iterator[Any]:
    """Yield the answer, and the answers within it."""
    answer = _opened(answer)
    if not isinstance(answer, dict):
        yield answer
    elif not (may_repeat_us and "batcher" in answer):
        yield answer
        inner = [_opened(value) for name, value in answer.items() if depth and _plain(name) in {*WRAPPERS, *LISTS}]
        for value in inner:
            if isinstance(value, dict):
                yield from _levels(value, may_repeat_us=may_repeat_us, depth=depth - 1)


def _lists(level: Any) -> Sequence[tuple[str, list[Any]]]:
    """Return the lists that may be about the items, each with its name; "" for a bare one."""
    if isinstance(level, list):
        return [("", level)]
    named = {_plain(name): _opened(value) for name, value in level.items()} if isinstance(level, dict) else {}
    found = []
    for name in (*LISTS, *WRAPPERS):
        value = named.get(name)
        if isinstance(value, dict) and name in LISTS and not ({*map(_plain, value)} & {*LISTS, *WRAPPERS}):
            in_order = [value[place] for place in map(str, range(len(value))) if place in value]
            # By other keys than places one cannot know which items are meant.
            if len(in_order) == len(value):
                found.append((name, in_order))
            elif any(_of_one(each, may_be_bare=True) for each in value.values()):
                raise Unreadable
        elif isinstance(value, list):
            found.append((name, value))
    return found


def _of_one(entry: Any, *, may_be_bare: bool) -> ItemResult | None:
    """Read the result that an entry names; None for none. Raises ``Unreadable``."""
    entry = _opened(entry)
    if not isinstance(entry, dict):
        read = _number(entry) if may_be_bare else None
        return _worst([read], "") if read is not None else None
    fields = [(_plain(name), _opened(value)) for name, value in entry.items()]
    for name, value in fields[:]:
        # {"id": 7, "response": {"status": 201}}, or {"index": {"status": 201}}, as of Elasticsearch
        if isinstance(value, dict) and (name in WITHIN or (len(fields) == 1 and not _COMPLAINT.search(name))):
            fields.remove((name, value))
            fields += [(_plain(inner), _opened(part)) for inner, part in value.items()]
    reads = [_number(value) for name, value in fields if name in NUMBERS]
    reads += [_flag(value) for name, value in fields if name in FLAGS]
    sure = [read for read in reads if read is not None]
    states = [_flag(value) for name, value in fields if name in STATES and type(value) in {str, bool}]
    sure += [read for read in states if read is not None]
    complaints = [_is_something(value) for name, value in fields if _COMPLAINT.search(name)]
    if reads and not sure and not any(complaints):
        raise Unreadable
    if complaints and (any(complaints) or not sure):
        sure.append(not any(complaints))
    return _worst(sure, _error(dict(reversed(fields)))) if sure else None


def _of_all(levels: Sequence[Any]) -> int | None:
    """Return a status that stands for all items. Raises ``Unreadable`` where it only says that something failed."""
    statuses = []
    for level in levels:
        try:
            result = _of_one(level, may_be_bare=False) if isinstance(level, dict) else None
        except Unreadable:
            continue  # a word of its own, on itself
        if (type(level) in {str, bool} and _flag(level) is False) or (result is not None and result.status is None):
            raise Unreadable
        statuses += [result.status] if result is not None and result.status is not None else []
    return next((status for status in statuses if not _is_good(status)), _FINE if statuses else None)


def _worst(reads: Sequence[int | bool], error: str) -> ItemResult:
    """Return the worst of what an entry says: one that contradicts itself was not accepted."""
    numbers = [read for read in reads if type(read) is int]
    if bad := [number for number in numbers if not _is_good(number)]:
        return ItemResult(bad[0], error)
    if False in [read for read in reads if type(read) is bool]:
        return ItemResult(None, error)
    return ItemResult(numbers[0] if numbers else _FINE)


def _is_good(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _number(value: Any) -> int | bool | None:
    if type(value) is str and (found := _NUMBER.match(value.strip())):
        return int(found[1])
    if type(value) in {int, float} and value in range(200, 600):
        return int(value)
    return _flag(value) if type(value) in {bool, str} else None


def _flag(value: Any) -> bool | None:
    if type(value) is str:
        word = value.strip().lower()
        return False if _BAD_WORD.match(word) else True if word in WORDS else None
    return bool(value) if type(value) in {bool, int} and value in {0, 1} else None


def _is_something(value: Any) -> bool:
    """Return whether a count, list, text or flag of errors says that there was one."""
    if isinstance(value, list):
        return any(each not in (None, "", [], {}) and each is not False for each in value)  # 0 is a place
    if isinstance(value, dict):
        return any(value.values())
    return value.strip().lower() not in NOTHING if type(value) is str else bool(value)


def _error(fields: dict[str, Any]) -> str:
    error = next((fields[name] for name in ("error", "errors", "message", "detail", "reason") if fields.get(name)), "")
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
