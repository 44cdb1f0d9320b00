"""What a channel delivers, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from durable_objects import escaping
from durable_objects.formatting import number_of


@dataclass(frozen=True)
class AboutAlert:
    """What a message about an alert is about: ``event`` is *opened*, *grew*, *stands*, *resolved* or *test*; ``key`` is
    the same in all messages about one alert; ``since`` is from when on the condition holds (aware UTC).
    """

    event: str
    condition: str
    object_class: str
    key: str
    since: datetime


@dataclass(frozen=True)
class Message:
    """What a channel delivers. ``key`` is the same on every retry of one occurrence, so that a receiver can tell a
    repeated delivery; ``planned_at`` is when the occurrence was to be delivered (aware UTC), ``late`` how long ago that
    is (zero when it is hardly), ``person`` whom it is for ("": nobody in particular), ``links`` are addresses that
    act on the reminder, by what they do (none where the site's own address is not set), and ``to`` is the one address
    that this delivery goes to, where the channel tells its addresses apart.

    A digest has its reminders as ``items``, each with its own key (the one that it would have by itself), its time in
    the series as ``planned_at``, and its links; ``text`` lists them, ``reminder`` is empty.

    One about an alert has ``alert``, and the rule in words as ``reminder``.
    """

    key: str
    reminder: str
    text: str
    planned_at: datetime
    person: str = ""
    late: timedelta = timedelta(0)
    links: Mapping[str, str] = field(default_factory=dict)
    to: str = ""
    items: tuple[Message, ...] = ()
    alert: AboutAlert | None = None

    @classmethod
    def of_digest(cls, key: str, person: str, planned_at: datetime, items: Sequence[Message]) -> Message:
        """Return the message that these are the items of."""
        text = "\n".join([f"{_count(items)}:", *(f"- {item.marked}" for item in items)])
        return cls(key=key, reminder="", text=text, planned_at=planned_at, person=person, items=tuple(items))

    @property
    def marked(self) -> str:
        """The text, marked if it is late."""
        return f"{self.text} (late by {_span(self.late)})" if self.late else self.text

    @property
    def title(self) -> str:
        """The first line, for a subject: no line breaks, nothing that steers a terminal, not too long."""
        text = self.marked.strip() or self.reminder
        if self.items:
            text = f"{_count(self.items)}: {'; '.join(item.title for item in self.items)}"
        line = escaping.one_line(" ".join(text.splitlines()[0].split()))
        return line if len(line) <= 120 else line[:119] + "…"

    @property
    def with_links(self) -> str:
        """The text, marked if it is late, and below it the addresses that act on it, as plain text."""
        if self.items:
            return "\n\n".join([f"{_count(self.items)}:", *(f"- {item.with_links}" for item in self.items)])
        links = "\n".join(f"{verb}: {address}" for verb, address in self.links.items())
        return f"{self.marked}\n\n{links}".strip() or self.reminder


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


def _count(items: Sequence[Message]) -> str:
    return number_of(len(items), "reminder")


def _span(late: timedelta) -> str:
    minutes = round(late.total_seconds() / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
