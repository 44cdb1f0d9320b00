"""A batcher's settings: its own over the project's, and the rules for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict

from batcher.conf import defaults
from batcher.errors import refusal
from batcher.secrets import SECRET
from durable_objects import outgoing, signing
from durable_objects.masking import MASK, masked_url, secrets_of
from durable_objects.validation import show

SET_BY_US = {
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host", "idempotency-key",
    "transfer-encoding", "webhook-id", "webhook-signature", "webhook-timestamp",
}  # fmt: skip


class Changes(TypedDict, total=False):
    """What ``configure()`` takes. None puts a setting back to the project's (``settings.BATCHER``)."""

    upstream_url: str | None
    headers: dict[str, str] | None
    gzip: bool | None
    secret: str | None
    window: timedelta | None
    quiet: timedelta | None
    max_items: int | None
    max_bytes: int | None
    max_queued: int | None
    max_retries: int | None
    give_up_after: timedelta | None
    bisect: bool | None


@dataclass(frozen=True)
class Policy:
    """The settings in force for one batcher. ``upstream_url`` is empty where batches are only logged."""

    upstream_url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    gzip: bool
    secret: str = field(repr=False)
    window: timedelta
    quiet: timedelta
    max_items: int
    max_bytes: int
    max_queued: int
    max_retries: int
    give_up_after: timedelta
    bisect: bool

    @classmethod
    def of_project(cls) -> Policy:
        """Return the project's settings, made once: every item asks for them where a batcher has none of its own."""
        global _of_project
        if _of_project is None or _of_project[0] is not defaults.values():  # else read again, after a test's change
            _of_project = defaults.values(), cls.over_defaults({})
        return _of_project[1]

    @classmethod
    def over_defaults(cls, own: Mapping[str, Any]) -> Policy:
        """Return the project's settings, overridden by those of ``own`` that are not None."""
        project = defaults.values()
        return cls(**{name: project[name.upper()] if own.get(name) is None else own[name] for name in RULES})

    @property
    def secrets(self) -> list[str]:
        """The texts that must never be shown, neither in a log nor in a stored answer."""
        return secrets_of(self.upstream_url, self.headers, self.secret)


#: What the project's policy was made from, and the policy.
_of_project: tuple[Mapping[str, Any], Policy] | None = None


@dataclass(frozen=True)
class Rule:
    """What a setting may be: as a text, and as a test."""

    allowed: str
    accepts: Callable[[Any], bool]


def check(changes: Mapping[str, Any]) -> None:
    """Raise ``InvalidSetting`` for the first change that breaks its rule, naming the value and what is allowed.

    The value of a secret setting is not named.
    """
    for name, value in changes.items():
        if name not in RULES:
            raise refusal(f"a batcher has no setting {show(name)}", f"one of {', '.join(RULES)}")
        if value is not None and not RULES[name].accepts(value):
            raise refusal(f"{name} is {_shown(name, value)}", RULES[name].allowed)


def is_header(name: Any, text: Any) -> bool:
    """Return whether a batcher may be configured to send this header."""
    if type(name) is not str or type(text) is not str or name.lower() in SET_BY_US:
        return False
    named = bool(name) and name.isascii() and all(letter.isalnum() or letter in "!#$%&'*+-.^_`|~" for letter in name)
    return named and text.isascii() and (text.isprintable() or not text) and text == text.strip()


def _shown(name: str, value: Any) -> str:
    if name == "headers" and isinstance(value, dict):
        wrong = [header for header, text in value.items() if not is_header(header, text)]
        return f"a dict with the header {show(wrong[0])}: {MASK}" if wrong else MASK
    if name in SECRET:
        return f"{MASK} (a {type(value).__name__}, not shown)"
    if name == "upstream_url":
        return show(masked_url(value)) if type(value) is str else f"{MASK} (a {type(value).__name__})"
    return show(value)


def _is_url(value: Any) -> bool:
    return outgoing.is_address(value) or (type(value) is str and not value)


def _are_headers(value: Any) -> bool:
    return type(value) is dict and all(is_header(name, text) for name, text in value.items())


def _is_secret(value: Any) -> bool:
    return signing.is_secret(value) or (type(value) is str and not value)


def _is_span(least: timedelta, most: timedelta) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, timedelta) and least <= value <= most


def _is_number(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_yes_or_no(value: Any) -> bool:
    return type(value) is bool


DAY = timedelta(days=1)
RULES = {
    "upstream_url": Rule(f'{outgoing.ALLOWED}, or "" to log batches only', _is_url),
    "headers": Rule(
        "a dict of header names to printable ASCII text, without Content-Type, Idempotency-Key and others set by us",
        _are_headers,
    ),
    "gzip": Rule("True or False", _is_yes_or_no),
    "secret": Rule(f'{signing.ALLOWED}, or "" for no signature', _is_secret),
    "window": Rule("a timedelta from 0 to 1 day", _is_span(timedelta(0), DAY)),
    "quiet": Rule("a timedelta from 0 (off) to 1 day", _is_span(timedelta(0), DAY)),
    "max_items": Rule("a whole number from 1 to 100,000", _is_number(1, 100_000)),
    "max_bytes": Rule("a whole number from 1 to 100,000,000", _is_number(1, 100_000_000)),
    "max_queued": Rule("a whole number from 0 (any number) to 2,000,000,000", _is_number(0, 2_000_000_000)),
    "max_retries": Rule("a whole number from 0 to 20", _is_number(0, 20)),
    "give_up_after": Rule("a timedelta from 0 to 365 days", _is_span(timedelta(0), 365 * DAY)),
    "bisect": Rule("True or False", _is_yes_or_no),
}
