"""The ways in which a reminder is delivered, by name. A new one is a function and one ``register()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from durable_objects.validation import refusal, show
from reminders.channels.message import Addresses, Channel, Message, Refused, TryLater
from reminders.conf import defaults

__all__ = [
    "Addresses",
    "Channel",
    "Message",
    "Refused",
    "TryLater",
    "addresses_of",
    "check",
    "find",
    "names",
    "register",
]


_channels: dict[str, Channel] = {}
_addresses: dict[str, Addresses] = {}


def register(name: str, *, addresses: Addresses | None = None) -> Callable[[Channel], Channel]:
    """Make a function the channel of this name, in place of an earlier one.

    With ``addresses`` it is called once for each of them, as ``message.to``: one that fails is tried again alone.
    """

    def add(channel: Channel) -> Channel:
        _channels[name] = channel
        _addresses.pop(name, None)
        if addresses is not None:
            _addresses[name] = addresses
        return channel

    return add


def find(name: str) -> Channel:
    """Return the channel of this name. Raises ``LookupError`` where none is registered."""
    if name in _channels:
        return _channels[name]
    family, _, member = name.partition(":")
    if family == "apprise" and member in defaults.APPRISE:
        from reminders.channels.apprise import channel

        return channel(member, defaults.APPRISE[member])
    raise LookupError(f"no channel {name!r} is registered here; known: {', '.join(names())}")


def addresses_of(name: str, person: str) -> list[str]:
    """Return the addresses by which a channel reaches a person; one empty address where the channel has only one, or
    the person has none.
    """
    addresses = _addresses.get(name)
    return list(dict.fromkeys(addresses(person) if addresses else ())) or [""]


def names() -> list[str]:
    """Return the names of all channels, sorted."""
    return sorted([*_channels, *(f"apprise:{name}" for name in defaults.APPRISE)])


def check(wanted: Sequence[object]) -> list[str]:
    """Return the names if each is a registered channel. Raises ``InvalidInput`` otherwise, also for none at all."""
    known = names()
    if not (
        isinstance(wanted, list | tuple) and wanted and all(type(name) is str and name in known for name in wanted)
    ):
        raise refusal(f"channels is {show(wanted)}", f"a list of one or more of {', '.join(known)}")
    return list(dict.fromkeys(str(name) for name in wanted))
