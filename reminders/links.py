"""Links that act: signed, expiring addresses in a message that snooze, end or cancel; and the calendar feed's."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core import signing
from django.urls import reverse

from reminders.conf import defaults
from reminders.tables import Plan, Recipient

#: What a link in a message does; what each is called there.
VERBS = {"snooze": "snooze", "done": "done", "cancel": "cancel"}
SALT = "reminders.links"
FEED_SALT = "reminders.feed"


class InvalidLink(Exception):
    """The address was never given out, or was changed; ``expired`` when it was good once."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__("expired" if expired else "unknown")
        self.expired = expired


@dataclass(frozen=True)
class Target:
    """What a link is about: one occurrence of one series, for this person (None: an earlier version did not say)."""

    object_id: int
    series_id: uuid.UUID
    occurrence: str
    number: int
    wall: str
    person: str | None = None

    def is_for(self, plan: Plan) -> bool:
        """Whether it was made for whom the reminder is now."""
        return plan.revision == 0 if self.person is None else plan.person == self.person


def for_message(plan: Plan) -> dict[str, str]:
    """The addresses for a message about the coming occurrence, by what they do; none without ``PUBLIC_URL``."""
    if not defaults.PUBLIC_URL:
        return {}
    token = token_for(plan)
    base = defaults.PUBLIC_URL.rstrip("/")
    return {said: f"{base}{reverse('reminders:act', args=[verb, token])}" for verb, said in VERBS.items()}


def token_for(plan: Plan) -> str:
    """What says which occurrence a link is about and for whom, signed and with the time of its making."""
    told = [plan.pk, str(plan.series_id), plan.occurrence.isoformat(), plan.number, plan.wall, plan.person]
    return signing.dumps(told, salt=SALT, compress=True)


def read(token: str, max_age: timedelta | None = None) -> Target:
    """What a token is about. Raises ``InvalidLink``."""
    told = _loads(token, SALT, max_age or defaults.LINKS_FOR)
    object_id, series_id, *rest = told
    return Target(object_id, uuid.UUID(series_id), *rest)


def feed_url(recipient: Recipient) -> str:
    """The secret address of a person's calendar, without the site's own; ``feed_version`` makes a new one."""
    token = signing.dumps([recipient.name, recipient.feed_version], salt=FEED_SALT)
    return reverse("reminders:feed", args=[token])


def read_feed(token: str) -> Recipient:
    """Whose calendar the address is. Raises ``InvalidLink``, also for one that was replaced."""
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
