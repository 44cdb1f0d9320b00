"""The messages about alerts: made with the change that they tell of, sent by reminders' channels until they arrive."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef
from django.urls import NoReverseMatch, reverse

from durable_objects import failpoints, now
from durable_objects.formatting import span
from durable_objects.handler_errors import is_failure, named
from durable_objects.logs import get_logger
from durable_objects.outgoing import TooManyCalls
from reminders import channels
from reminders.alerts.tables import Alert, AlertMessage, AlertRule
from reminders.channels import Message, Refused, TryLater
from reminders.channels.message import AboutAlert
from reminders.conf import defaults
from reminders.delivery import plain

logger = get_logger("reminders")

#: A try that has no outcome so long after the channel's own deadline was lost with its process.
LOST_AFTER_DEADLINE = timedelta(seconds=30)
FIRST_RETRY, LONGEST_RETRY, GIVEN_UP_AFTER = timedelta(seconds=10), timedelta(minutes=10), timedelta(days=1)
SOONEST_RETRY = timedelta(seconds=1)
LONGEST_TEXT = 2_000

About, Status = AlertMessage.About, AlertMessage.Status
_SUBJECT = {
    About.OPENED: "Alert",
    About.GREW: "Alert, more",
    About.STANDS: "Alert, still",
    About.RESOLVED: "Resolved",
    About.TEST: "Test of an alert",
}


def make(rule: AlertRule, alert: Alert | None, about: str, text: str, now: datetime) -> list[AlertMessage]:
    """Store a message for each channel and address of the rule, to be sent; their key says which change it tells of."""
    number = 0
    if alert is not None:
        number = alert.messages_made = alert.messages_made + 1
    key = uuid.uuid5(alert.key, str(number)) if alert is not None else uuid.uuid4()
    head = {
        About.RESOLVED: f"resolved after {span(alert.clear_since - alert.since)}"
        if alert and alert.clear_since
        else "",
        About.STANDS: f"for {span(now - alert.since)}" if alert else "",
    }.get(About(about), "")
    first = ": ".join(part for part in (f"{_SUBJECT[About(about)]}: {rule}", head) if part)
    whole = f"{first}\n{text}"
    whole = plain(whole if len(whole) <= LONGEST_TEXT else whole[: LONGEST_TEXT - 1] + "…")
    ways = [(name, address) for name in rule.channels for address in channels.addresses_of(name, rule.person)]
    return AlertMessage.objects.bulk_create(
        AlertMessage(
            rule=rule, alert=alert, key=key, about=about, text=whole, channel=name, address=address,
            made_at=now, try_at=now,
        )
        for name, address in ways
    )  # fmt: skip


def send_due(within: timedelta, of: list[AlertMessage] | None = None) -> int:
    """Send what is due (``of`` these), one after the other, for about this long; return how many were delivered.

    Any number of processes may send at once: each message is claimed before it is tried. Those of one alert arrive in
    their order.
    """
    delivered, end = 0, time.monotonic() + within.total_seconds()
    while time.monotonic() < end and (row := _claim(of)) is not None:
        delivered += _send(row)
    return delivered


def _claim(of: list[AlertMessage] | None) -> AlertMessage | None:
    """Return a message that nobody else tries until that counts as lost; None: there is none to be tried now."""
    moment = now()
    lost_at = moment + _claimed_for()
    waiting = AlertMessage.objects.filter(status=Status.PENDING)
    due = waiting.filter(try_at__lte=moment) | waiting.filter(
        try_at__gt=moment + LONGEST_RETRY + _claimed_for()
    )  # of another clock
    if of is not None:
        due = due.filter(pk__in=[row.pk for row in of])
    earlier = waiting.filter(alert=OuterRef("alert"), channel=OuterRef("channel"), address=OuterRef("address"))
    due = due.exclude(Exists(earlier.filter(id__lt=OuterRef("id"))))
    for row in due.select_related("rule", "alert").order_by("attempts", "id")[:10]:
        mine = AlertMessage.objects.filter(pk=row.pk, status=Status.PENDING, try_at=row.try_at, attempts=row.attempts)
        if mine.update(attempts=F("attempts") + 1, try_at=lost_at):
            row.attempts, row.try_at = row.attempts + 1, lost_at
            return row
    return None


def _claimed_for() -> timedelta:
    """Return how long a message is one process's to try."""
    claimed_for: timedelta = defaults.DEADLINE + LOST_AFTER_DEADLINE
    return claimed_for


def _send(row: AlertMessage) -> bool:
    """Try it once, and store what came of it; return whether it was delivered."""
    try:
        answer = channels.find(row.channel)(message_of(row))
        failpoints.reach("reminders.alert_sent")
    except Refused as refused:
        return _store(row, status=Status.REFUSED, error=plain(str(refused)))
    except (TryLater, TooManyCalls) as later:
        return _again(row, plain(str(later)), max(min(later.after, LONGEST_RETRY), SOONEST_RETRY), attempts=-1)
    except BaseException as error:  # whatever a channel raises is a failed try
        if not is_failure(error):
            raise
        return _again(row, plain(named(error)))
    return _store(
        row,
        status=Status.DELIVERED,
        delivered_at=now(),
        answer=plain(answer) if isinstance(answer, str) else "",
        error="",
    )


def _again(row: AlertMessage, error: str, after: timedelta | None = None, attempts: int = 0) -> bool:
    """Have it tried again ``after`` a while, or as its attempts say, with ``attempts`` more; or give it up."""
    moment = now()
    if moment - row.made_at > GIVEN_UP_AFTER:
        return _store(row, status=Status.FAILED, error=error)
    pause = after if after is not None else min(FIRST_RETRY * 2 ** min(row.attempts - 1, 10), LONGEST_RETRY)
    return _store(row, try_at=moment + pause, attempts=row.attempts + attempts, error=error)


def _store(row: AlertMessage, **values: object) -> bool:
    AlertMessage.objects.filter(pk=row.pk).update(**values)
    for name, value in values.items():
        setattr(row, name, value)
    if row.status != Status.DELIVERED:
        logger.warning("the alert %s was not delivered by %s: %s", row.key, row.channel, row.error)
    return row.status == Status.DELIVERED


def message_of(row: AlertMessage) -> Message:
    """Return what the channel delivers."""
    return Message(
        key=str(row.key),
        reminder=str(row.rule),
        text=row.text,
        planned_at=row.made_at,
        person=row.rule.person,
        to=row.address,
        links=_links(row.rule),
        alert=AboutAlert(
            str(row.about),
            row.rule.condition,
            row.rule.object_class,
            str(row.alert.key) if row.alert else "",
            row.alert.since if row.alert else row.made_at,
        ),
    )


def _links(rule: AlertRule) -> dict[str, str]:
    if not defaults.PUBLIC_URL:
        return {}
    try:
        path = reverse("admin:reminders_alertrule_change", args=[rule.pk])
    except NoReverseMatch:
        return {}
    return {"open": f"{defaults.PUBLIC_URL.rstrip('/')}{path}"}
