"""What a class of objects says of itself: numbers and spans that are none would only show in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

#: A run may take so long at most: PostgreSQL's own limits of time go to 24 days.
LONGEST_RUN = timedelta(days=24)
MOST_RETRIES = 1_000_000


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    allowed: str


def _is_number_of_retries(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_RETRIES


def _is_time_limit(value: Any) -> bool:
    return isinstance(value, timedelta) and timedelta(0) < value <= LONGEST_RUN


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(each) is str for each in value)


def _are_keys_and_models(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(each) is str or hasattr(each, "_meta") for each in value)


_RULES = {
    "alarm_max_retries": _Rule(_is_number_of_retries, f"a whole number from 0 to {MOST_RETRIES:,}"),
    "alarm_time_limit": _Rule(_is_time_limit, f"a timedelta of more than 0 and at most {LONGEST_RUN.days} days"),
    "alarm_groups": _Rule(lambda value: type(value) is bool, "True or False"),
    "read_ahead": _Rule(_are_keys_and_models, "a tuple of keys and models"),
    "masked_keys": _Rule(_are_texts, "a list or tuple of texts"),
}


def flaw_of(cls: type[Any]) -> str | None:
    """What is wrong with what this class says, itself or by inheritance; None if nothing. It need not say all."""
    for name, rule in _RULES.items():
        if hasattr(cls, name) and not rule.holds(value := getattr(cls, name)):
            return f"{cls.__name__}.{name} is {value!r}; allowed: {rule.allowed}."
    return None


def refuse_flaw(cls: type[Any]) -> None:
    """Raise ``TypeError`` for a class that says what it may not."""
    flaw = flaw_of(cls)
    if flaw is not None:
        raise TypeError(flaw)
