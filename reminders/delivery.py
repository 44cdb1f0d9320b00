"""Delivers what is due, one reminder or several as a digest, by each of its channels, on record before and after. The
only writer of deliveries.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import F

from durable_objects import DurableObjectError, failpoints, now
from durable_objects.handler_errors import is_failure, named
from durable_objects.outgoing import TooManyCalls
from durable_objects.validation import refusal
from reminders import channels, links
from reminders.channels import Message, Refused, TryLater
from reminders.conf import defaults
from reminders.tables import Delivery, Plan

KEPT_CHARACTERS = 2_000
#: How long one run goes on to further channels and addresses; a run has a limit (``alarm_time_limit``).
AT_ONCE_SECONDS = 120.0
#: Old deliveries go some at a time, and not with each new one.
PRUNE_EVERY, PRUNE_AT_MOST = 10, 500


class DeliveryFailed(DurableObjectError):
    """A reminder, or a digest of several, could not be delivered by some channel; the alarm's retries try again."""


@dataclass
class Tried:
    """What came of one try: errors of what is to be tried again, why others could not be tried, and the reminders (by
    their keys) that are settled, and whose digest was refused for good.
    """

    failures: list[str] = field(default_factory=list)
    untried: TryLater | None = None
    settled: set[uuid.UUID] = field(default_factory=set)
    refused: set[uuid.UUID] = field(default_factory=set)


def deliver(plan: Plan, name: str) -> list[str]:
    """Deliver by each channel, to each address, that is not settled yet; return the errors of those to be tried again.

    Called without any lock. Each try is on record before it is made, so that a crash cannot hide it. What is refused
    for good is settled. Raises ``TryLater`` where none failed and one could not be tried.
    """
    message = message_of(plan, name, now())
    tried = _try([[row] for row in _rows([plan])], lambda rows: message)
    if tried.untried is not None and not tried.failures:
        raise tried.untried
    return tried.failures


def deliver_together(key: uuid.UUID, person: str, planned_at: datetime, plans: Sequence[Plan]) -> Tried:
    """Deliver these plans (with their objects) to this person under this key, as one message by each channel to each
    address, as ``deliver`` does one; return what came of it. What an address refuses as a digest is not settled.
    """
    moment = now()
    ways: dict[tuple[str, str], list[Delivery]] = {}
    items = {
        plan.key: replace(message_of(plan, plan.object.name, moment), planned_at=plan.occurrence) for plan in plans
    }
    rows = _rows(plans)
    for row in rows:
        ways.setdefault((row.channel, row.address), []).append(row)

    def digest(rows: Sequence[Delivery]) -> Message:
        mine = sorted((items[row.key] for row in rows), key=lambda item: (item.planned_at, item.reminder))
        return Message.of_digest(str(key), person, planned_at, mine)

    tried = _try(ways.values(), digest)
    tried.settled = items.keys() - {row.key for row in rows if not row.is_settled}
    return tried


def skip(plan: Plan) -> list[str]:
    """Record that this occurrence is not delivered since it would be too late; return no failures."""
    for row in _rows([plan]):
        if not row.is_settled:
            row.status, row.error = Delivery.Status.SKIPPED, f"late by more than {plan.skip_if_late}"
            row.save()
    return []


def try_out(plan: Plan, name: str) -> dict[str, str]:
    """Deliver a test now by each channel, on no record and with a key of its own; return the outcomes, by channel and
    address.
    """
    message = message_of(plan, name, plan.next_at)
    message = Message(str(uuid.uuid4()), name, f"[Test] {message.text}", message.planned_at, message.person)
    outcomes = {}
    for channel, address in _ways(plan):
        way = Delivery(channel=channel, address=address).way
        try:
            outcomes[way] = plain(str(channels.find(channel)(replace(message, to=address)) or "delivered"))
        except BaseException as error:  # whatever a channel raises is what the test is to report
            if not is_failure(error):
                raise
            outcomes[way] = plain(f"failed: {named(error)}")
    return outcomes


def again(row: Delivery) -> None:
    """Try a delivery again that failed or was refused: the same message by the same way, under the same key.

    Raises ``InvalidInput`` for any other, and ``DeliveryFailed`` when it fails again.
    """
    if row.status not in {Delivery.Status.FAILED, Delivery.Status.REFUSED}:
        raise refusal(f"{row} is {row.status}", "a delivery that failed or was refused")
    plan = Plan.objects.filter(pk=row.reminder_id).first()
    moment = now()
    message = Message(
        key=str(row.key),
        reminder=row.reminder.name,
        text=row.message,
        planned_at=row.planned_at,
        person=plan.person if plan else "",
        late=late if (late := moment - row.planned_at) >= defaults.LATE_AFTER else timedelta(0),
        links=links.for_message(plan) if plan is not None and plan.key == row.key else {},
    )
    try:
        failure = _send([row], message)
    except (TryLater, TooManyCalls) as later:
        raise DeliveryFailed(str(later)) from later
    if failure or row.status == Delivery.Status.REFUSED:
        raise DeliveryFailed(failure or f"refused: {row.error}")


def preview(plan: Plan, name: str) -> str:
    """Return for people what is delivered now, and by which ways; without links, which act without a login."""
    message = message_of(plan, name, now())
    ways = ", ".join(Delivery(channel=channel, address=address).way for channel, address in _ways(plan))
    return f"By: {ways}\nSubject: {message.title}\n\n{message.marked}"


def message_of(plan: Plan, name: str, moment: datetime) -> Message:
    """Return the message as it is delivered at this moment."""
    late = moment - plan.next_at
    return Message(
        key=str(plan.key),
        reminder=name,
        text=plan.message,
        planned_at=plan.next_at,
        person=plan.person,
        late=late if late >= defaults.LATE_AFTER else timedelta(0),
        links=links.for_message(plan),
    )


def plain(text: str) -> str:
    """Return the text as every database can keep it, cut to what is worth keeping: no NUL, no lone surrogate."""
    return text[:KEPT_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _ways(plan: Plan, addresses_of: Callable[[str, str], list[str]] = channels.addresses_of) -> list[tuple[str, str]]:
    return [(channel, address) for channel in plan.channels for address in addresses_of(channel, plan.person)]


def _rows(plans: Sequence[Plan]) -> list[Delivery]:
    """Return one row for each plan, channel and address: the one on record, else a new one."""
    addresses_of = functools.cache(channels.addresses_of)
    on_record = Delivery.objects.filter(key__in=[plan.key for plan in plans])
    there = {(row.key, row.channel, row.address): row for row in on_record}
    rows = [there.get((plan.key, *way)) or _new(plan, *way) for plan in plans for way in _ways(plan, addresses_of)]
    texts = {plan.key: plan.message for plan in plans}
    for row in rows:
        if not row.is_settled:
            row.message = texts[row.key]
    return rows


def _new(plan: Plan, channel: str, address: str) -> Delivery:
    return Delivery(
        reminder_id=plan.pk,
        key=plan.key,
        channel=channel,
        address=address,
        message=plan.message,
        occurrence=plan.occurrence,
        planned_at=plan.next_at,
    )


def _try(groups: Iterable[Sequence[Delivery]], message_of_rows: Callable[[Sequence[Delivery]], Message]) -> Tried:
    """Send each of these groups, which are one message to one address each, as far as they are not settled."""
    tried, began = Tried(), time.monotonic()
    for group in sorted(
        groups, key=lambda group: group[0].attempts
    ):  # so that all get their turn, whatever fails first
        rows = [row for row in group if not row.is_settled]
        if not rows:
            continue
        if time.monotonic() - began > AT_ONCE_SECONDS:
            tried.untried = TryLater("other addresses took the time of this run")
            break
        try:
            if failure := _send(rows, message_of_rows(rows)):
                tried.failures.append(failure)
        except (TryLater, TooManyCalls) as later:
            tried.untried = TryLater(str(later), later.after)
        except Refused:
            tried.refused.update(row.key for row in rows)
    return tried


def _send(rows: Sequence[Delivery], message: Message) -> str | None:
    """Try one channel and address once; return the error if that is to be tried again. Raises ``Refused`` for a digest:
    what one of its reminders has brought about is not to befall the others.
    """
    channel, address = rows[0].channel, rows[0].address
    _begin(rows, message)
    failure = None
    try:
        answer = channels.find(channel)(replace(message, to=address))
        failpoints.reach("reminders.sent")
        _end(
            rows,
            status=Delivery.Status.DELIVERED,
            delivered_at=now(),
            answer=plain(answer) if isinstance(answer, str) else "",
        )
    except (TryLater, TooManyCalls):
        Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(attempts=F("attempts") - 1)
        raise
    except Refused as refused:
        if message.items:
            _end(rows, status=Delivery.Status.FAILED, error=plain(f"refused in a digest: {refused}"))
            raise
        _end(rows, status=Delivery.Status.REFUSED, error=plain(str(refused)))
    except BaseException as error:  # whatever a channel raises is a failed delivery, kept with its record
        if not is_failure(error):
            raise
        failure = plain(f"{rows[0].way}: {named(error)}")
        _end(rows, status=Delivery.Status.FAILED, error=failure)
    return failure


def _begin(rows: Sequence[Delivery], message: Message) -> None:
    """Store all of these rows, or none, as being tried once more."""
    with transaction.atomic(using=router.db_for_write(Delivery)):
        for row in rows:
            row.attempts += 1
            row.digest = uuid.UUID(message.key) if message.items else None
            row.save()
    for row in rows:
        if row.pk % PRUNE_EVERY == 0:
            _prune(row)


def _end(rows: Sequence[Delivery], **outcome: Any) -> None:
    """Store what came of all of them, at once."""
    values = {"error": "", **outcome}
    for row in rows:
        for name, value in values.items():
            setattr(row, name, value)
    Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(**values)


def _prune(row: Delivery) -> None:
    """Delete old deliveries, never those of this very occurrence: without that record an address would get it again."""
    rows = Delivery.objects.filter(reminder_id=row.reminder_id).exclude(key=row.key)
    kept = defaults.DELIVERIES_PER_REMINDER
    surplus = rows.order_by("-id").values_list("id", flat=True)[kept : kept + PRUNE_AT_MOST]
    rows.filter(id__in=list(surplus)).delete()
