"""Which wake-ups are out and not consumed, and how many more may be sent, so that the broker is not flooded and no
alarm is forgotten.

A queue is first in, first out: when a wake-up is consumed, all that were sent before it and are not consumed are lost.
What was sent after the last that was consumed may still be in the broker, however long that takes, and is not sent
again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from durable_objects.alarms import backoff, pauses, predicates
from durable_objects.alarms.predicates import FORGOTTEN
from durable_objects.alarms.queries import grouped, moments_of
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.fields import MomentField, by
from durable_objects.tables import Alarm, AlarmRun

#: The last consumed wake-up is looked for among this many of the runs that ended last.
RUNS = 100

#: A pass sends at least this fraction of MAX_OUT before they are due, however many are out.
SHARE = 10

#: Up to ``FEW`` unconsumed wake-ups of a class are each sent again up to ``TIMES`` times; of more, and after that, only
#: one is sent, as a probe.
FEW, TIMES = 10, 5

#: No look reads more alarms than this; the first due.
MOST = 100_000

#: What was sent this long after it was due was sent by a dispatcher that is behind.
LATE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Unconsumed:
    """Wake-ups of one class, sent since the last that is known to have been consumed: how many, when the first and the
    last of them were sent, and the smallest ``wake_ups_lost`` among them.
    """

    number: int
    first: datetime
    last: datetime
    wake_ups_lost: int

    @property
    def is_small(self) -> bool:
        """Whether they are so few, and so new, that each is sent again when it counts as lost."""
        return self.number <= FEW and self.wake_ups_lost < TIMES

    @property
    def next_probe(self) -> datetime:
        """When one of many is sent again: the pauses double, from 10 s to five minutes."""
        pause = min(max(self.last - self.first, backoff.lost_after(self.wake_ups_lost)), backoff.LOST_AFTER_AT_MOST)
        return self.last + pause


@dataclass(frozen=True)
class Backlog:
    """How many due alarms of some classes have a wake-up out, and how much more may be sent.

    ``consumed_to``: what was sent before then was consumed or is lost; None: no consumption is on record.
    ``has_consumer``: whether workers consume, as far as one knows. ``out``: due alarms whose wake-up may be in the
    broker; ``late``: those of them for which it was sent when they were overdue. ``unconsumed``: by class, what may
    have been lost.
    """

    now: datetime
    consumed_to: datetime | None
    has_consumer: bool
    out: int
    late: int
    unconsumed: dict[int, Unconsumed]

    @cached_property
    def waiting(self) -> int:
        """The wake-ups that wait for their time, counted to MAX_OUT. A query of its own, for what is not due yet."""
        ahead = _alarms().filter(predicates.due_within(self.now, engine.HORIZON) & predicates.waiting(self.now))
        return ahead.values("pk")[: engine.MAX_OUT].count()

    @property
    def capacity(self) -> int:
        """How many more may be sent for alarms that are due.

        What only waits for its time takes no capacity, and what was sent in time neither, which calls do: one message
        for each alarm, without a limit. All of it does while there is no consumer.
        """
        return int(max(engine.MAX_OUT - (self.late if self.has_consumer else self.out), 0))

    @property
    def capacity_early(self) -> int:
        """How many more may be sent before they are due."""
        return int(max(engine.MAX_OUT - self.waiting - self.out, 0))

    @property
    def share(self) -> int:
        """How many a pass may send before they are due though there is no capacity: none without a consumer."""
        return int(max(engine.MAX_OUT // SHARE, 1)) if self.has_consumer else 0


def look(now: datetime, kinds: Collection[int] | QuerySet[Any]) -> Backlog:
    """Return the backlog of these classes, which may be a query for them. Reads indexes: what is due, the last runs."""
    consumed_to, last_end = _consumed(now)
    due = predicates.due(now) & predicates.out(now) & predicates.free(now) & Q(kind__in=kinds)
    due &= pauses.none_of_its_own(now)
    since = Q(wake_up_for__gte=consumed_to or FORGOTTEN)
    out, late, unconsumed = 0, 0, {}
    for kind_id, number_out, number_late, number, *seen in _counted(due & (since | predicates.in_transit(now)), since):
        out, late = out + number_out, late + number_late
        if number:
            first, last, fewest = seen
            unconsumed[kind_id] = Unconsumed(number, clock.from_database(first), clock.from_database(last), fewest)
    may_be_lost = any(each.first <= now - backoff.LOST_AFTER for each in unconsumed.values())
    has_consumer = not may_be_lost or (last_end is not None and last_end > now - backoff.LOST_AFTER)
    return Backlog(now, consumed_to, has_consumer, out, late, unconsumed)


def _counted(out: Q, since: Q) -> list[tuple[int, int, int, int, Any, Any, int]]:
    """Return, by class, of the first due of these alarms: how many, how many were sent late, how many ``since``; of the
    last ones when the first and the last were sent, and the smallest ``wake_ups_lost``.

    One read of the table: joined with itself it would be planned for each pair of its partitions.
    """
    sent_late = Q(wake_up_for__gt=F("wake_at") + LATE)
    rows = (
        _alarms()
        .filter(out)
        .order_by(by("wake_at"))
        .annotate(
            sent_late=Case(When(sent_late, then=1)),
            sent=Case(When(since, then=F("wake_up_for"))),
            lost=Case(When(since, then=F("wake_ups_lost"))),
        )
    )
    columns = "COUNT(*), COUNT(sent_late), COUNT(sent), MIN(sent), MAX(sent), MIN(lost)"
    return grouped(rows.values_list("kind_id", "sent_late", "sent", "lost")[:MOST], columns, "kind_id")


def _consumed(now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return ``consumed_to`` and when the last run ended.

    A run's row has the time its wake-up was sent for; that of a rescue has not, which was sent at some time before it
    was picked up. A rescue has a lease while it runs, which shows the same before it ends.
    """
    last = AlarmRun.objects.using(engine.DATABASE).order_by(by("-ended_at"))
    runs = last.values_list(Coalesce("wake_up_for", "picked_up_at"), "ended_at")[:RUNS]
    rescued = _alarms().filter(predicates.leased(now), crashed_starts__gt=0).order_by(by("-leased_until"))
    leased = rescued.values_list("leased_until", Value(None, MomentField()))[:1]
    found = moments_of(runs, leased)
    consumed = [at if end is not None else at - engine.LEASE for at, end in found if at is not None]
    ends = [end for _, end in found if end is not None]
    return min(max(consumed), now) if consumed else None, max(ends, default=None)


def _alarms() -> QuerySet[Alarm]:
    return Alarm.objects.using(engine.DATABASE).order_by()
