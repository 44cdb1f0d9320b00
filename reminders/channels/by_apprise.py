"""Channels "apprise:NAME": whatever Apprise reaches by the URL of that name in ``REMINDERS["APPRISE"]``."""

from __future__ import annotations

import apprise

from reminders.channels import Channel, Message


class AppriseFailed(Exception):
    """Apprise could not deliver; why is in its own log. It is tried again."""


def channel(url: str) -> Channel:
    """The channel to this URL.

    At least once, and without a key that the other side could tell a repetition by: few of those services take one.
    """

    def notify(message: Message) -> None:
        service = apprise.Apprise()
        if not service.add(url):
            raise AppriseFailed("Apprise does not understand the URL of this name in settings.REMINDERS")
        links = "\n".join(f"{verb}: {address}" for verb, address in message.links.items())
        body = f"{message.marked}\n\n{links}".strip()
        if not service.notify(body=body or message.reminder, title=message.title):
            raise AppriseFailed("the service that Apprise was to notify did not take it")

    return notify
