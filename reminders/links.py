"""Signed, expiring addresses: those in a message that snooze, end or cancel a reminder; and the calendar feed's."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core import signing
from django.urls import reverse

from reminders.conf import defaults
from reminders.tables import Plan, Recipient

#: What a link in a message does, and its name there.
VERBS = {"snooze": "snooze", "done": "done", "cancel": "cancel"}
SALT = "reminders.links"
FEED_SALT = "reminders.feed"


class InvalidLink(Exception):
    """The address was never issued, or was changed; ``expired`` when it was valid once."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__("expired" if expired else "unknown")
        self.expired = expired


@dataclass(frozen=True)
class Target:
    """What a link is about: one occurrence of one series, for this person (None: made by a version without persons)."""

    object_id: int
    series_id: uuid.UUID
    occurrence: str
    number: int
    wall_time: str
    person: str | None = None

    def is_for(self, plan: Plan) -> bool:
        """Return whether the link was made for the person whom the reminder is for now."""
        return plan.revision == 0 if self.person is None else plan.person == self.person


def for_message(plan: Plan) -> dict[str, str]:
    """Return the addresses for a message about the coming occurrence, by what they do; none without ``PUBLIC_URL``."""
    if not defaults.PUBLIC_URL:
        return {}
    token = token_for(plan)
    base = defaults.PUBLIC_URL.rstrip("/")
    return {name: f"{base}{reverse('reminders:act', args=[verb, token])}" for verb, name in VERBS.items()}


def token_for(plan: Plan) -> str:
    """Return a signed, dated token that names the occurrence and the person that a link is for."""
    content = [plan.pk, str(plan.series_id), plan.occurrence.isoformat(), plan.number, plan.wall_time, plan.person]
    return signing.dumps(content, salt=SALT, compress=True)


def read(token: str, max_age: timedelta | None = None) -> Target:
    """Return what a token is about. Raises ``InvalidLink``."""
    object_id, series_id, *rest = _loads(token, SALT, max_age or defaults.LINKS_FOR)
    return Target(object_id, uuid.UUID(series_id), *rest)


def feed_url(recipient: Recipient) -> str:
    """Return the path of a person's secret calendar address; another ``feed_version`` makes another."""
    token = signing.dumps([recipient.name, recipient.feed_version], salt=FEED_SALT)
    return reverse("reminders:feed", args=[token])


def read_feed(token: str) -> Recipient:
    """Return whose calendar the address is. Raises ``InvalidLink``, also for one that was replaced."""
    name, version = _loads(token, FEED_SALT, None)
    found = Recipient.objects.filter(name=name, feed_version=version).first()
    if found is None:
        raise InvalidLink(expired=True)
    return found


def _loads(token: str, salt: str, max_age: timedelta | None) -> Any:
    try:
        return signing.loads(token, salt=salt, max_age=max_age)
    except signing.SignatureExpired:
        raise InvalidLink(expired=True) from None
    except signing.BadSignature:
        raise InvalidLink(expired=False) from None
