"""Channel "webhook": one POST of JSON, signed as Standard Webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from durable_objects import outgoing, signing
from durable_objects.http_bodies import readable
from durable_objects.masking import scrub, secrets_of
from reminders.channels import Message, Refused, register
from reminders.channels.message import AboutAlert
from reminders.conf import defaults
from reminders.tables import Recipient

#: How much of an answer is kept, and how much is searched for secrets before that.
KEPT_CHARACTERS, LOOKED_THROUGH = 1_000, 20_000
TRIED_AGAIN = {408, 425, 429}
#: Goes up when something in a digest's ``data`` is renamed, removed, or means something else.
DIGEST_VERSION = 1


class WebhookFailed(Exception):
    """The receiver did not accept the message; it is tried again."""


@register("webhook")
def post(message: Message) -> str:
    """POST to the recipient's address, else to ``WEBHOOK_URL``; return the receiver's answer.

    ``webhook-id`` is the key; timestamp and signature are of this try. 2xx is delivered; 408, 425, 429, 5xx, redirects
    and no answer within ``DEADLINE`` are tried again; any other 4xx raises ``Refused``.
    ``durable_objects.receiver`` is the other side.
    """
    recipient = Recipient.find(message.person)
    own = recipient.webhook_url
    url = own or defaults.WEBHOOK_URL
    secret = recipient.webhook_secret if own else defaults.WEBHOOK_SECRET
    whom = f"person {message.person!r}" if message.person else "a reminder without a person"
    if not url or not secret:
        raise Refused(
            f"no webhook address with a secret for {whom}: enter both under Recipients in admin, or set WEBHOOK_URL "
            "and WEBHOOK_SECRET"
        )
    if not outgoing.is_address(url) or not signing.is_secret(secret):
        allowed = outgoing.ALLOWED if signing.is_secret(secret) else signing.ALLOWED
        raise Refused(f"the webhook address or secret for {whom} is invalid; allowed: {allowed}")
    body = json.dumps(payload(message), ensure_ascii=False)
    now = datetime.now(UTC)  # the receiver judges a try's age by the wall clock
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signing.sign(secret, message.key, now, body),
    }
    reply = outgoing.post(
        url,
        body.encode(),
        headers=headers,
        timeout=defaults.TIMEOUT,
        deadline=defaults.DEADLINE,
        read_bytes=LOOKED_THROUGH,
    )
    answer = scrub(readable(reply.start, reply.headers.get("Content-Type", "")), secrets_of(url, {}, secret))
    return read(reply.status, answer[:KEPT_CHARACTERS])


def payload(message: Message) -> dict[str, object]:
    """Return the body that is posted, before it is encoded."""
    kind, data = "reminder.due", _data(message)
    if message.items:
        kind = "reminder.digest"
        reminders = [
            {"key": item.key, "planned_at": item.planned_at.isoformat(), **_data(item)} for item in message.items
        ]
        data = {"version": DIGEST_VERSION, "person": message.person, "reminders": reminders}
    if message.alert is not None:
        kind, data = f"alert.{message.alert.event}", _alert_data(message, message.alert)
    return {"type": kind, "timestamp": message.planned_at.isoformat(), "data": data}


def _data(message: Message) -> dict[str, object]:
    return {
        "reminder": message.reminder,
        "person": message.person or None,
        "message": message.text,
        "late_seconds": round(message.late.total_seconds()),
        "links": dict(message.links),
    }


def _alert_data(message: Message, alert: AboutAlert) -> dict[str, object]:
    return {
        "rule": message.reminder,
        "condition": alert.condition,
        "class": alert.object_class or None,
        "alert": alert.key or None,
        "since": alert.since.isoformat(),
        "message": message.text,
        "links": dict(message.links),
    }


def read(status: int, start: str) -> str:
    """Return the receiver's answer for the record. Raises ``Refused`` or ``WebhookFailed`` unless the status is 2xx."""
    answer = f"{status} {start}".strip()
    if 200 <= status < 300:
        return answer
    if 400 <= status < 500 and status not in TRIED_AGAIN:
        raise Refused(f"the receiver answered {answer}")
    raise WebhookFailed(f"the receiver answered {answer}")
