"""What an operation can do to all reminders that match: snooze, skip, cancel them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from durable_objects.formatting import span
from durable_objects.operations import bulk_verbs
from durable_objects.operations.bulk_verbs import Argument, BulkVerb
from reminders.models import Plan, Reminder


def _by(arguments: Any) -> timedelta:
    return timedelta(seconds=arguments["by"])


def _snooze(turn: Any, operation: Any) -> None:
    reminder: Reminder = turn.handle
    reminder.snooze(_by(operation.arguments))


def _skip(turn: Any, operation: Any) -> None:
    reminder: Reminder = turn.handle
    reminder.skip()


def _cancel(turn: Any, operation: Any) -> bool:
    reminder: Reminder = turn.handle
    return reminder.cancel()


def _that_are_set(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.filter(Exists(Plan.objects.filter(object=OuterRef("pk"), state=Plan.State.SET)))


SNOOZE = BulkVerb(
    "snooze",
    "Snooze",
    "The next delivery of each is put off, counted from its time, or from then where that is past; later ones stay.",
    "Snoozed",
    _snooze,
    arguments=(Argument("by", "By", "how long the next delivery is put off: 1h 30m"),),
    of_alarms=False,
    together=False,
    of=Reminder,
    narrow=_that_are_set,
    phrase=lambda given: f"by {span(_by(given))}",
)
SKIP = BulkVerb(
    "skip",
    "Skip",
    "The next delivery of each is left out; later ones stay.",
    "Skipped",
    _skip,
    of_alarms=False,
    together=False,
    is_destructive=True,
    of=Reminder,
    narrow=_that_are_set,
)
CANCEL = BulkVerb(
    "cancel_reminders",
    "Cancel",
    "They and all their later deliveries are cancelled.",
    "Cancelled",
    _cancel,
    of_alarms=False,
    together=False,
    is_destructive=True,
    of=Reminder,
    narrow=_that_are_set,
)

for _verb in (SNOOZE, SKIP, CANCEL):
    bulk_verbs.register(_verb)
