"""Which wake-ups are out, lost, or still to be sent: what the dispatcher and the bell write into alarm rows.

Neither needs an object's lock; what a turn has in hand of the same row it never overwrites (see ``alarms``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Greatest

from durable_objects import process
from durable_objects.alarms import retry
from durable_objects.alarms.slot import ARMED, FORGOTTEN
from durable_objects.conf import engine
from durable_objects.database.fields import MomentField
from durable_objects.tables import Alarm

#: From so many lost wake-ups on, the wait for the next stays the longest there is.
_MOST_LOST = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """An alarm that the dispatcher publishes a wake-up for; ``rescue``: an earlier wake-up got lost."""

    object_id: int
    kind_id: int
    wake_up_number: int
    due_at: datetime
    retries: int
    rescue: bool


def free(now: datetime) -> Q:
    """No run that has let go of its object keeps it."""
    return Q(leased_until__isnull=True) | Q(leased_until__lte=now)


def unsent(now: datetime, kinds: Collection[int]) -> QuerySet[Alarm]:
    """Armed alarms of these classes, due or due soon, that no wake-up is out for; the first due first."""
    return publishable(now, kinds).filter(wake_up_for__isnull=True).order_by("due_at")


def lost(now: datetime, kinds: Collection[int], consumed_to: datetime | None) -> QuerySet[Alarm]:
    """Those whose wake-up is lost: it is overdue, and what was sent after it was heard. The first sent first, so that
    each has its turn.
    """
    before = Q(wake_up_for__lte=FORGOTTEN)
    if consumed_to is not None:
        before |= Q(wake_up_for__lt=consumed_to)
    return publishable(now, kinds).filter(_overdue(now) & before).order_by("wake_up_for", "due_at")


def unconsumed(now: datetime, kind: int) -> QuerySet[Alarm]:
    """Due alarms of one class whose wake-up is overdue, though nobody may hear.

    Those first that were sent again least often, so that each time it is another one; and of these the last due: the
    end of the queue, if there is one.
    """
    return publishable(now, [kind]).filter(_overdue(now), due_at__lte=now).order_by("wake_ups_lost", "-due_at")


def _overdue(now: datetime) -> Q:
    """So long after its time that a wake-up counts as lost, if anybody hears: see ``retry.lost_after``."""
    overdue = Q(wake_ups_lost__gte=_MOST_LOST, wake_up_for__lte=now - retry.LOST_AFTER_AT_MOST)
    for wake_ups_lost in range(_MOST_LOST):
        overdue |= Q(wake_ups_lost=wake_ups_lost, wake_up_for__lte=now - retry.lost_after(wake_ups_lost))
    return overdue


def publishable(now: datetime, kinds: Collection[int]) -> QuerySet[Alarm]:
    """Armed alarms of these classes, due or due soon, with no run going: what the others choose from."""
    armed = Q(state=ARMED, due_at__lte=now + engine.HORIZON, object__kind__in=kinds)
    return Alarm.objects.using(engine.DATABASE).filter(armed & free(now))


def claim(now: datetime, limit: int, *of: QuerySet[Alarm]) -> list[Claim]:
    """Mark that the dispatcher sends wake-ups for so many of these alarms at most; which these are.

    Those first that have waited longest since they were due, or sent. Rows that another dispatcher has just now are
    left to it. A wake-up that was sent before is sent again under the same number: it may only be waiting in a long
    queue, and with a new number it would be turned away each time it gets to the front.
    """
    if limit <= 0:
        return []
    columns = ("object_id", "object__kind_id", "wake_up_number", "due_at", "retry_count", "wake_up_for", "leased_until")
    with transaction.atomic(using=engine.DATABASE):
        found = [
            row
            for rows in of
            for row in rows.select_for_update(skip_locked=True, of=("self",)).values_list(*columns)[:limit]
        ]
        found.sort(key=lambda row: row[5] or row[3])
        claims = []
        for object_id, kind_id, wake_up_number, due_at, retries, wake_up_for, leased_until in found[:limit]:
            rescue = wake_up_for is not None or leased_until is not None
            claims.append(Claim(object_id, kind_id, wake_up_number + (wake_up_for is None), due_at, retries, rescue))
        first = Q(wake_up_for__isnull=True)
        Alarm.objects.using(engine.DATABASE).filter(pk__in=[each.object_id for each in claims]).update(
            wake_up_number=F("wake_up_number") + Case(When(first, then=1), default=0),
            wake_ups_lost=F("wake_ups_lost") + Case(When(first, then=0), default=1),
            wake_up_for=Greatest(F("due_at"), Value(now, MomentField())),
        )
    return claims


def mark_all_lost(now: datetime, *, alone: bool) -> None:
    """What was sent before is lost, and processes that are certainly gone run nothing: a worker with a broker of its
    own has just been started. What others run goes on; if nobody tells that they are gone, their leases run out.

    ``alone``: nobody else dispatches. Otherwise some of it may be with another process's broker, and keeps its number.
    """
    rows = Alarm.objects.using(engine.DATABASE)
    leased = rows.filter(leased_until__gt=now)
    gone = [name for name in leased.order_by().values_list("leased_by", flat=True).distinct() if process.is_gone(name)]
    leased.filter(leased_by__in=gone).update(leased_until=now)
    rows.filter(wake_up_for__gt=now, due_at__gt=now).update(wake_up_for=None if alone else FORGOTTEN)
    rows.filter(wake_up_for__isnull=False, due_at__lte=now).update(wake_up_for=FORGOTTEN)


def mark_unsent(rings: Mapping[int, tuple[int, bool]]) -> None:
    """These wake-ups, by object the number and whether it was sent before, could not be sent: let the dispatcher send
    others at its next pass. One that was sent before keeps its number, since the first one may still be in the broker.
    """
    rows = Alarm.objects.using(engine.DATABASE)
    with transaction.atomic(using=engine.DATABASE):
        # One that somebody's transaction keeps is left alone: whoever set the alarm must not wait for that.
        found = rows.filter(pk__in=rings).select_for_update(skip_locked=True).values_list("pk", "wake_up_number")
        mine = [pk for pk, wake_up_number in found if wake_up_number == rings[pk][0]]
        again = [pk for pk in mine if rings[pk][1]]
        if first := [pk for pk in mine if not rings[pk][1]]:
            rows.filter(pk__in=first).update(wake_up_for=None)
        if again:
            fewer = Case(When(wake_ups_lost__gt=0, then=F("wake_ups_lost") - 1), default=0)
            rows.filter(pk__in=again, wake_up_for__isnull=False).update(wake_up_for=FORGOTTEN, wake_ups_lost=fewer)
