"""Delivers what is due by each of its channels, on record before and after. The only writer of deliveries."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import datetime, timedelta

from durable_objects import failpoints, now
from durable_objects.handler_errors import is_failure, named
from durable_objects.outgoing import TooManyCalls
from reminders import channels, links
from reminders.channels import Message, Refused, TryLater
from reminders.conf import defaults
from reminders.tables import Delivery, Plan

KEPT_CHARACTERS = 2_000
#: How long one run goes on to further channels and addresses; a run has a limit (``alarm_time_limit``).
AT_ONCE_SECONDS = 120.0
#: Old deliveries go some at a time, and not with each new one.
PRUNE_EVERY, PRUNE_AT_MOST = 10, 500


def deliver(plan: Plan, name: str) -> list[str]:
    """Deliver by each channel, to each address, that is not settled yet; return the errors of those to be tried again.

    Called without any lock. Each try is on record before it is made, so that a crash cannot hide it. What is refused
    for good is settled. Raises ``TryLater`` where none failed and one could not be tried.
    """
    message, began = message_of(plan, name, now()), time.monotonic()
    failures, untried = [], None
    for row in sorted(_rows(plan), key=lambda row: row.attempts):  # so that all get their turn, whatever fails first
        if row.is_settled:
            continue
        if time.monotonic() - began > AT_ONCE_SECONDS:
            untried = TryLater("other addresses took the time of this run")
            break
        try:
            if failure := _send(row, message):
                failures.append(failure)
        except (TryLater, TooManyCalls) as later:
            untried = TryLater(str(later), later.after)
    if untried is not None and not failures:
        raise untried
    return failures


def skip(plan: Plan) -> list[str]:
    """Record that this occurrence is not delivered since it would be too late; return no failures."""
    for row in _rows(plan):
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


def _ways(plan: Plan) -> list[tuple[str, str]]:
    return [(channel, address) for channel in plan.channels for address in channels.addresses_of(channel, plan.person)]


def _rows(plan: Plan) -> list[Delivery]:
    """Return one row for each channel and address: the one on record, else a new one."""
    there = {(row.channel, row.address): row for row in Delivery.objects.filter(key=plan.key)}
    return [there.get(way) or _new(plan, *way) for way in _ways(plan)]


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


def _send(row: Delivery, message: Message) -> str | None:
    """Try one channel and address once; return the error if that is to be tried again."""
    row.attempts += 1
    row.message = message.text
    row.save()
    if row.pk % PRUNE_EVERY == 0:
        _prune(row)
    failure = None
    try:
        answer = channels.find(row.channel)(replace(message, to=row.address))
        failpoints.reach("reminders.sent")
        row.status, row.delivered_at, row.error = Delivery.Status.DELIVERED, now(), ""
        row.answer = plain(answer) if isinstance(answer, str) else ""
    except (TryLater, TooManyCalls):
        row.attempts -= 1
        row.save(update_fields=["attempts"])
        raise
    except Refused as refused:
        row.status, row.error = Delivery.Status.REFUSED, plain(str(refused))
    except BaseException as error:  # whatever a channel raises is a failed delivery, kept with its record
        if not is_failure(error):
            raise
        failure = plain(f"{row.way}: {named(error)}")
        row.status, row.error = Delivery.Status.FAILED, failure
    row.save(update_fields=["status", "delivered_at", "error", "answer"])
    return failure


def _prune(row: Delivery) -> None:
    """Delete old deliveries, never those of this very occurrence: without that record an address would get it again."""
    rows = Delivery.objects.filter(reminder_id=row.reminder_id).exclude(key=row.key)
    kept = defaults.DELIVERIES_PER_REMINDER
    surplus = rows.order_by("-id").values_list("id", flat=True)[kept : kept + PRUNE_AT_MOST]
    rows.filter(id__in=list(surplus)).delete()
