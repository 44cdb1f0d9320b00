"""Channels "apprise:NAME": whatever Apprise reaches by the URL of that name in ``REMINDERS["APPRISE"]``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote

import apprise

from durable_objects import outgoing
from durable_objects.outgoing import Call
from reminders.channels import Channel, Message
from reminders.conf import defaults

MASK = "••••••"
#: Parts of a URL that are shorter say nothing, and would be found everywhere.
_LEAST = 4


class AppriseFailed(Exception):
    """Apprise could not deliver; what it said last is in the text. It is tried again."""


def channel(name: str, url: str) -> Channel:
    """The channel to this URL.

    At least once, and without a key that the other side could tell a repetition by: few of those services take one. It
    goes as plain text, follows no redirect, and is over after ``DEADLINE`` as a whole.
    """

    def notify(message: Message) -> None:
        links = "\n".join(f"{verb}: {address}" for verb, address in message.links.items())
        body = f"{message.marked}\n\n{links}".strip() or message.reminder
        services = services_of(url)  # loads modules, which must not be cut off in the middle

        def work(call: Call[None]) -> None:
            with _kept_secret(url) as said:
                if not services.notify(body, message.title, body_format=apprise.NotifyFormat.TEXT):
                    raise AppriseFailed(f"not taken: {said[-1] if said else 'Apprise does not say why'}")

        outgoing.bounded(f"apprise:{name}", defaults.DEADLINE, work)

    return notify


def services_of(url: str) -> apprise.Apprise:
    """The one service that this URL is of. Raises ``AppriseFailed``, without the URL."""
    with _kept_secret(url):
        # A time limit of its own would leave threads behind in which nothing of ours holds.
        asset = apprise.AppriseAsset(http_redirects=False, async_mode=False, service_timeout=0)
        services = apprise.Apprise(asset=asset)
        if not services.add(url) or len(services) != 1:
            raise AppriseFailed("Apprise does not understand its URL in settings.REMINDERS as that of one service")
    for service in services:
        service.redirects = False  # whatever the URL says
        each_step = min(defaults.TIMEOUT, defaults.DEADLINE).total_seconds()
        service.socket_connect_timeout = service.socket_read_timeout = each_step
    return services


class _Scrub(logging.Filter):
    """Takes the parts of the URL out of what is logged while it is used, by whatever library."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = _told.get()
        if told is not None:
            parts, said = told
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
            record.msg, record.args, record.exc_info = parts.sub(MASK, record.getMessage()), (), None
            record.exc_text = parts.sub(MASK, trace) if trace else None
            if record.levelno >= logging.WARNING:
                said.append(record.msg)
        return True


_told: ContextVar[tuple[re.Pattern[str], list[str]] | None] = ContextVar("told", default=None)
for _name in ("apprise", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_Scrub())


@contextmanager
def _kept_secret(url: str) -> Iterator[list[str]]:
    """No part of the URL gets into a log in this block; what is warned of there."""
    _, _, rest = url.partition("://")
    pieces = {part for piece in re.split(r"[/:@?&=#,;\s]+", rest) for part in (piece, unquote(piece))}
    parts = sorted((re.escape(part) for part in pieces if len(part) >= _LEAST), key=len, reverse=True)
    said: list[str] = []
    token = _told.set((re.compile("|".join(parts) or r"(?!)"), said))
    try:
        yield said
    finally:
        _told.reset(token)
