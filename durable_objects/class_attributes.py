"""The attributes of a class of objects: what the engine reads of them, and their check at import, since a wrong one
would only show in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple, Protocol

#: What ``alarm_backoff`` may be: a function of the number of failed runs, or delays one after the other, the last of
#: which repeats.
Backoff = Callable[[int], timedelta] | Sequence[timedelta]

#: The largest ``alarm_time_limit``: PostgreSQL's own timeouts go to 24 days.
MAX_TIME_LIMIT = timedelta(days=24)
MAX_RETRIES = 1_000_000
#: The longest delay of a retry.
MAX_RETRY_DELAY = timedelta(days=365)
MAX_CONCURRENCY = 100_000
#: Starts per second: one a day, to more than one database can count one by one.
MIN_RATE, MAX_RATE = 1 / 86_400, 10_000


class ObjectClass(Protocol):
    """A class of objects, for what stands below ``DurableObject`` and cannot import it."""

    _meta: ClassVar[Any]
    alarm_time_limit: ClassVar[timedelta]
    alarm_groups: ClassVar[bool]
    masked_keys: ClassVar[Sequence[str]]
    alarm_concurrency: ClassVar[int | None]
    alarm_rate: ClassVar[float | None]


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    allowed: str


def _is_number_of_retries(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_RETRIES


def _is_time_limit(value: Any) -> bool:
    return isinstance(value, timedelta) and timedelta(0) < value <= MAX_TIME_LIMIT


def is_retry_delay(value: object) -> bool:
    """Return whether a retry may come after this."""
    return isinstance(value, timedelta) and timedelta(0) <= value <= MAX_RETRY_DELAY


def _is_backoff(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_retry_delay, value))
    return value is None or callable(value)


def _is_fraction(value: Any) -> bool:
    return type(value) in {int, float} and 0 <= value <= 1


def _is_concurrency(value: Any) -> bool:
    return value is None or (type(value) is int and 0 < value <= MAX_CONCURRENCY)


def _is_rate(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and MIN_RATE <= value <= MAX_RATE)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(each) is str for each in value)


def _are_keys_and_models(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(each) is str or hasattr(each, "_meta") for each in value)


_RULES = {
    "alarm_max_retries": _Rule(_is_number_of_retries, f"a whole number from 0 to {MAX_RETRIES:,}"),
    "alarm_backoff": _Rule(
        _is_backoff,
        "None, a list or tuple of timedeltas from 0 to "
        f"{MAX_RETRY_DELAY.days} days, or a function of the number of failed runs that returns one",
    ),
    "alarm_jitter": _Rule(_is_fraction, "a fraction from 0 to 1"),
    "alarm_time_limit": _Rule(_is_time_limit, f"a timedelta of more than 0 and at most {MAX_TIME_LIMIT.days} days"),
    "alarm_concurrency": _Rule(_is_concurrency, f"a whole number from 1 to {MAX_CONCURRENCY:,}, or None"),
    "alarm_rate": _Rule(_is_rate, f"starts per second, a number from 1 / 86400 (one a day) to {MAX_RATE:,}, or None"),
    "alarm_groups": _Rule(lambda value: type(value) is bool, "True or False"),
    "read_ahead": _Rule(_are_keys_and_models, "a tuple of keys and models"),
    "masked_keys": _Rule(_are_texts, "a list or tuple of texts"),
}


def flaw_of(cls: type[Any]) -> str | None:
    """Return what is wrong with an attribute of this class, its own or inherited; None if nothing."""
    for name, rule in _RULES.items():
        if hasattr(cls, name) and not rule.holds(value := getattr(cls, name)):
            return f"{cls.__name__}.{name} is {value!r}; allowed: {rule.allowed}."
    limits = [name for name in ("alarm_concurrency", "alarm_rate") if getattr(cls, name, None) is not None]
    if limits and getattr(cls, "alarm_groups", False):
        return f"{cls.__name__} has alarm_groups and {limits[0]}: runs that are counted start alone. Take one of them."
    return None


def refuse_flaw(cls: type[Any]) -> None:
    """Raise ``TypeError`` for a class with an attribute that is not allowed."""
    flaw = flaw_of(cls)
    if flaw is not None:
        raise TypeError(flaw)
