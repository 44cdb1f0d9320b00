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

from django.db.models import Count, F, Max, Min, Q, QuerySet

from durable_objects.alarms import backoff, pauses, predicates
from durable_objects.alarms.predicates import FORGOTTEN
from durable_objects.conf import engine
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


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many due alarms of some classes have a wake-up out, and how much more may be sent.

    ``consumed_to``: what was sent before then was consumed or is lost; None: no consumption is on record.
    ``has_consumer``: whether workers consume, as far as one knows. ``out``: due alarms whose wake-up may be in the
    broker; ``late``: those of them for which it was sent when they were overdue. ``waiting``: wake-ups that wait for
    their time, counted to MAX_OUT. ``unconsumed``: by class, what may have been lost.
    """

    consumed_to: datetime | None
    has_consumer: bool
    out: int
    late: int
    waiting: int
    unconsumed: dict[int, Unconsumed]

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


def look(now: datetime, kinds: Collection[int]) -> Backlog:
    """Return the backlog of these classes. Reads indexes: what is due, what waits, the last runs."""
    consumed_to, last_end = _consumed(now)
    due = predicates.due(now) & predicates.out(now) & predicates.free(now) & Q(object__kind__in=kinds)
    due &= pauses.none_of_its_own(now)
    since = Q(wake_up_for__gte=consumed_to or FORGOTTEN)
    counted = _alarms().filter(due & (since | predicates.in_transit(now))).order_by("wake_at")
    found = (
        _alarms()
        .filter(pk__in=counted.values("pk")[:MOST])
        .values("object__kind_id")
        .annotate(
            out=Count("pk"),
            late=Count("pk", filter=Q(wake_up_for__gt=F("wake_at") + LATE)),
            number=Count("pk", filter=since),
            first=Min("wake_up_for", filter=since),
            last=Max("wake_up_for", filter=since),
            fewest=Min("wake_ups_lost", filter=since),
        )
    )
    out, late, unconsumed = 0, 0, {}
    for row in found:
        out, late = out + row["out"], late + row["late"]
        if row["number"]:
            unconsumed[row["object__kind_id"]] = Unconsumed(row["number"], row["first"], row["last"], row["fewest"])
    may_be_lost = any(each.first <= now - backoff.LOST_AFTER for each in unconsumed.values())
    has_consumer = not may_be_lost or (last_end is not None and last_end > now - backoff.LOST_AFTER)
    ahead = _alarms().filter(predicates.due_within(now, engine.HORIZON) & predicates.waiting(now))
    return Backlog(consumed_to, has_consumer, out, late, ahead.values("pk")[: engine.MAX_OUT].count(), unconsumed)


def _consumed(now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return ``consumed_to`` and when the last run ended.

    A run's row has the time its wake-up was sent for; that of a rescue has not, which was sent at some time before it
    was picked up. A rescue has a lease while it runs, which shows the same before it ends.
    """
    last = AlarmRun.objects.using(engine.DATABASE).order_by("-ended_at")
    runs = list(last.values_list("wake_up_for", "picked_up_at", "ended_at")[:RUNS])
    consumed = [wake_up_for or picked_up_at for wake_up_for, picked_up_at, _ in runs]
    leased = (
        _alarms().filter(predicates.leased(now), crashed_starts__gt=0).aggregate(until=Max("leased_until"))["until"]
    )
    if leased is not None:
        consumed.append(leased - engine.LEASE)
    return min(max(consumed), now) if consumed else None, runs[0][2] if runs else None


def _alarms() -> QuerySet[Alarm]:
    return Alarm.objects.using(engine.DATABASE).order_by()
