"""The ways in which a reminder is delivered, by name. A new one is a function and one ``register()``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from durable_objects import InvalidInput
from durable_objects.names import show

logger = logging.getLogger("reminders")


@dataclass(frozen=True)
class Message:
    """What a channel delivers. ``key`` is the same on every retry of one occurrence, so that a receiver can tell a
    repeated delivery; ``planned_at`` is when the occurrence was to be delivered (aware UTC).
    """

    key: str
    reminder: str
    text: str
    planned_at: datetime


Channel = Callable[[Message], None]
"""Delivers a message; returning means delivered, raising means that it is to be tried again."""

_channels: dict[str, Channel] = {}


def register(name: str) -> Callable[[Channel], Channel]:
    """Make a function the channel of this name, in place of an earlier one."""

    def add(channel: Channel) -> Channel:
        _channels[name] = channel
        return channel

    return add


def find(name: str) -> Channel:
    """The channel of this name. Raises ``LookupError`` where this code has none."""
    if name not in _channels:
        raise LookupError(f"no channel {name!r} is registered here; known: {', '.join(sorted(_channels))}")
    return _channels[name]


def check(names: Sequence[object]) -> list[str]:
    """Return the names if each is a registered channel. Raises ``InvalidInput`` otherwise, also for none at all."""
    allowed = f"a list of one or more of {', '.join(sorted(_channels))}"
    if not (
        isinstance(names, list | tuple) and names and all(type(name) is str and name in _channels for name in names)
    ):
        error = InvalidInput(f"channels is {show(names)}. Allowed: {allowed}.")
        error.allowed = allowed
        raise error
    return list(dict.fromkeys(str(name) for name in names))


@register("log")
def log(message: Message) -> None:
    """Write the reminder to the log, as in the seed."""
    logger.info("REMINDER: %s", message.text, extra={"reminder": message.reminder, "key": message.key})
