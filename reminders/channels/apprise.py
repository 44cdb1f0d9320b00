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
from reminders.channels.message import Channel, Message
from reminders.conf import defaults

MASK = "••••••"
#: Shorter parts of a URL reveal nothing, and would be masked everywhere.
_LEAST = 4


class AppriseFailed(Exception):
    """Apprise could not deliver; the text has its last log message. It is tried again."""


def channel(name: str, url: str) -> Channel:
    """Return the channel to this URL.

    At least once, and without a key that the other side could tell a repetition by: few of those services take one. It
    goes as plain text, follows no redirect, and is over after ``DEADLINE`` as a whole.
    """

    def notify(message: Message) -> None:
        body = message.with_links
        services = services_of(url)  # loads modules, which must not be cut off in the middle

        def work(call: Call[None]) -> None:
            with _kept_secret(url) as warnings:
                if not services.notify(body, message.title, body_format=apprise.NotifyFormat.TEXT):
                    raise AppriseFailed(f"not delivered: {warnings[-1] if warnings else 'Apprise does not say why'}")

        outgoing.bounded(f"apprise:{name}", defaults.DEADLINE, work)

    return notify


def services_of(url: str) -> apprise.Apprise:
    """Return the one service that this URL is of. Raises ``AppriseFailed``, without the URL."""
    with _kept_secret(url):
        # A time limit of its own would leave threads behind that ignore our masking and our deadline.
        asset = apprise.AppriseAsset(http_redirects=False, async_mode=False, service_timeout=0)
        services = apprise.Apprise(asset=asset)
        if not services.add(url) or len(services) != 1:
            raise AppriseFailed("the URL in settings.REMINDERS is not that of exactly one service of Apprise")
    for service in services:
        service.redirects = False  # whatever the URL says
        each_step = min(defaults.TIMEOUT, defaults.DEADLINE).total_seconds()
        service.socket_connect_timeout = service.socket_read_timeout = each_step
    return services


class _Scrub(logging.Filter):
    """Masks the parts of the URL in what any library logs while it is used."""

    def filter(self, record: logging.LogRecord) -> bool:
        masking = _masking.get()
        if masking is not None:
            parts, warnings = masking
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
            record.msg, record.args, record.exc_info = parts.sub(MASK, record.getMessage()), (), None
            record.exc_text = parts.sub(MASK, trace) if trace else None
            if record.levelno >= logging.WARNING:
                warnings.append(record.msg)
        return True


_masking: ContextVar[tuple[re.Pattern[str], list[str]] | None] = ContextVar("masking", default=None)
for _name in ("apprise", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_Scrub())


@contextmanager
def _kept_secret(url: str) -> Iterator[list[str]]:
    """Mask every part of the URL in what is logged in this block; yield the warnings that were logged there."""
    _, _, rest = url.partition("://")
    pieces = {part for piece in re.split(r"[/:@?&=#,;\s]+", rest) for part in (piece, unquote(piece))}
    parts = sorted((re.escape(part) for part in pieces if len(part) >= _LEAST), key=len, reverse=True)
    warnings: list[str] = []
    token = _masking.set((re.compile("|".join(parts) or r"(?!)"), warnings))
    try:
        yield warnings
    finally:
        _masking.reset(token)
