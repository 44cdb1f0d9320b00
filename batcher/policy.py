"""What a batcher goes by: its own settings over the project's, and the rules for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

import httpx

from batcher.conf import defaults
from durable_objects import InvalidInput
from durable_objects.names import show, text_flaw

SET_BY_US = {"content-type", "content-length", "idempotency-key", "transfer-encoding", "host", "connection"}


class Changes(TypedDict, total=False):
    """What ``configure()`` takes. None puts a setting back to the project's (``settings.BATCHER``)."""

    upstream_url: str | None
    headers: dict[str, str] | None
    window: timedelta | None
    max_items: int | None
    max_bytes: int | None
    max_retries: int | None
    give_up_after: timedelta | None


@dataclass(frozen=True)
class Policy:
    """The settings in force for one batcher. ``upstream_url`` is empty where batches are only logged."""

    upstream_url: str
    headers: Mapping[str, str]
    window: timedelta
    max_items: int
    max_bytes: int
    max_retries: int
    give_up_after: timedelta

    @classmethod
    def over_defaults(cls, own: Mapping[str, Any]) -> Policy:
        """The project's settings, with those of ``own`` that are not None in their place."""
        return cls(**{name: getattr(defaults, name.upper()) if own.get(name) is None else own[name] for name in RULES})


@dataclass(frozen=True)
class Rule:
    """What a setting may be: in words, and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


class InvalidSetting(InvalidInput):
    """A setting of a batcher was refused and none was changed. Pass what `allowed` describes."""


def check(changes: Mapping[str, Any]) -> None:
    """Raise ``InvalidSetting`` for the first change that breaks its rule, naming the value and what is allowed."""
    for name, value in changes.items():
        if name not in RULES:
            raise refusal(f"a batcher has no setting {show(name)}", f"one of {', '.join(RULES)}")
        if value is not None and not RULES[name].holds(value):
            raise refusal(f"{name} is {show(value)}", RULES[name].allowed)


def refusal(problem: str, allowed: str) -> InvalidSetting:
    """The error for a refused setting."""
    error = InvalidSetting(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error


def _is_url(value: Any) -> bool:
    if value == "" and type(value) is str:
        return True
    try:
        url = httpx.URL(value)
    except (httpx.InvalidURL, TypeError, ValueError):
        return False
    return type(value) is str and url.scheme in {"http", "https"} and bool(url.host) and text_flaw(value) is None


def _are_headers(value: Any) -> bool:
    return type(value) is dict and all(_is_header(name, text) for name, text in value.items())


def _is_header(name: Any, text: Any) -> bool:
    if type(name) is not str or type(text) is not str or name.lower() in SET_BY_US:
        return False
    named = bool(name) and name.isascii() and all(letter.isalnum() or letter in "!#$%&'*+-.^_`|~" for letter in name)
    return named and text.isascii() and (text.isprintable() or not text) and text == text.strip()


def _is_span(least: timedelta, most: timedelta) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, timedelta) and least <= value <= most


def _is_number(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


RULES = {
    "upstream_url": Rule('the text of an http or https address, or "" to log batches only', _is_url),
    "headers": Rule(
        "a dict of header names to printable ASCII text, without Content-Type, Idempotency-Key and others set by us",
        _are_headers,
    ),
    "window": Rule("a timedelta from 0 to 1 day", _is_span(timedelta(0), timedelta(days=1))),
    "max_items": Rule("a whole number from 1 to 100,000", _is_number(1, 100_000)),
    "max_bytes": Rule("a whole number from 1 to 100,000,000", _is_number(1, 100_000_000)),
    "max_retries": Rule("a whole number from 0 to 20", _is_number(0, 20)),
    "give_up_after": Rule("a timedelta from 0 to 365 days", _is_span(timedelta(0), timedelta(days=365))),
}
