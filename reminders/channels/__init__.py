"""The ways in which a reminder is delivered, by name. A new one is a function and one ``register()``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from durable_objects import escaping
from durable_objects.validation import show
from reminders.conf import defaults
from reminders.errors import refusal


@dataclass(frozen=True)
class Message:
    """What a channel delivers. ``key`` is the same on every retry of one occurrence, so that a receiver can tell a
    repeated delivery; ``planned_at`` is when the occurrence was to be delivered (aware UTC), ``late`` how long ago that
    is (zero when it is hardly), ``person`` whom it is for ("": nobody in particular), ``links`` are addresses that
    act on the reminder, by what they do (none where the site's own address is not set), and ``to`` is the one address
    that this delivery goes to, where the channel tells its addresses apart.
    """

    key: str
    reminder: str
    text: str
    planned_at: datetime
    person: str = ""
    late: timedelta = timedelta(0)
    links: Mapping[str, str] = field(default_factory=dict)
    to: str = ""

    @property
    def marked(self) -> str:
        """The text, marked if it is late."""
        return f"{self.text} (late by {_span(self.late)})" if self.late else self.text

    @property
    def title(self) -> str:
        """The first line, for a subject: no line breaks, nothing that steers a terminal, not too long."""
        line = escaping.one_line(" ".join((self.marked.strip() or self.reminder).splitlines()[0].split()))
        return line if len(line) <= 120 else line[:119] + "…"


Channel = Callable[[Message], object]
"""Delivers a message; returning means delivered (text is kept as the answer), raising that it is to be tried again."""

Addresses = Callable[[str], Sequence[str]]
"""The addresses of a person ("": of nobody in particular), each of which gets a delivery with an outcome of its own."""


class Refused(Exception):
    """Raised by a channel: the other side refused this message, and would again. It is not tried again."""


class TryLater(Exception):
    """Raised by a channel: it cannot be tried now, and was not. ``after`` is when it is worth looking again.

    ``durable_objects.outgoing.TooManyCalls`` does as well.
    """

    def __init__(self, text: str = "", after: timedelta = timedelta(seconds=5)) -> None:
        super().__init__(text)
        self.after = after


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


def _span(late: timedelta) -> str:
    minutes = round(late.total_seconds() / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
