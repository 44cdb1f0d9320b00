"""What an operation can do to all cleaners that match: stop and start them."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from cleaner.models import CleanerProgress, PeriodicCleaner
from durable_objects.operations import bulk_verbs
from durable_objects.operations.bulk_verbs import BulkVerb


def _stop(turn: Any, operation: Any) -> bool:
    cleaner: PeriodicCleaner = turn.handle
    return cleaner.stop()


def _start(turn: Any, operation: Any) -> None:
    cleaner: PeriodicCleaner = turn.handle
    cleaner.start()


def _is_stopped() -> Exists:
    return Exists(CleanerProgress.objects.filter(object=OuterRef("pk"), stopped=True))


def _that_are_stopped(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.filter(_is_stopped())


def _that_clean(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.filter(~_is_stopped())


STOP = BulkVerb(
    "stop_cleaners",
    "Stop",
    "Nothing more is deleted until they are started again. A cleanup under way ends with its chunk.",
    "Stopped",
    _stop,
    of_alarms=False,
    together=False,
    is_destructive=True,
    of=PeriodicCleaner,
    narrow=_that_clean,
)
START = BulkVerb(
    "start_cleaners",
    "Start",
    "The first cleanup of each is one interval from then.",
    "Started",
    _start,
    of_alarms=False,
    together=False,
    of=PeriodicCleaner,
    narrow=_that_are_stopped,
)

for _verb in (STOP, START):
    bulk_verbs.register(_verb)
