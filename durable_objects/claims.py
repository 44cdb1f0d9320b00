"""Which wake-ups are out, lost, or still to be sent: what the dispatcher and the bell write into alarm rows.

Neither needs an object's lock; what a turn has in hand of the same row it never overwrites (see ``alarms``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Greatest

from durable_objects import retry
from durable_objects.conf import engine
from durable_objects.moments import MomentField
from durable_objects.rows import Alarm
from durable_objects.slot import ARMED

#: From so many lost wake-ups on, the wait for the next stays the longest there is.
_MOST_RERINGS = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """An alarm that the dispatcher rings for, under the number ``ring``; ``rescue``: an earlier wake-up got lost."""

    object_id: int
    kind_id: int
    ring: int
    due_at: datetime
    retries: int
    rescue: bool


def unheard(now: datetime, kinds: Collection[int]) -> QuerySet[Alarm]:
    """Armed alarms of these kinds that are due soon, with no wake-up out and no run going, overdue first."""
    lost = Q(rung_at__isnull=True)
    for rerings in range(_MOST_RERINGS):
        lost |= Q(rerings=rerings, rung_at__lte=now - retry.lost_after(rerings))
    lost |= Q(rerings__gte=_MOST_RERINGS, rung_at__lte=now - retry.LOST_AFTER_AT_MOST)
    free = Q(leased_until__isnull=True) | Q(leased_until__lte=now)
    soon = Q(state=ARMED, due_at__lte=now + engine.HORIZON, object__kind__in=kinds)
    return Alarm.objects.using(engine.DATABASE).filter(soon & lost & free).order_by("due_at")


def count_out(now: datetime) -> int:
    """How many alarms have a wake-up out that counts."""
    out = Q(state=ARMED, due_at__lte=now + engine.HORIZON, rung_at__gt=now - retry.LOST_AFTER)
    return Alarm.objects.using(engine.DATABASE).filter(out).count()


def claim(now: datetime, kinds: Collection[int], limit: int) -> list[Claim]:
    """Mark that the dispatcher rings for so many alarms at most, overdue first; which these are.

    Rows that another dispatcher has just now are left to it. A wake-up that was sent before and counts as lost is sent
    again under the same number: it may only be waiting in a long queue, and with a new number it would be turned away
    each time it gets to the front.
    """
    columns = ("object_id", "object__kind_id", "ring", "due_at", "retry_count", "rung_at", "leased_until")
    with transaction.atomic(using=engine.DATABASE):
        locked = unheard(now, kinds).select_for_update(skip_locked=True, of=("self",))
        claims = []
        for object_id, kind_id, ring, due_at, retries, rung_at, leased_until in locked.values_list(*columns)[:limit]:
            rescue = rung_at is not None or leased_until is not None
            claims.append(Claim(object_id, kind_id, ring + (rung_at is None), due_at, retries, rescue))
        first = Q(rung_at__isnull=True)
        Alarm.objects.using(engine.DATABASE).filter(pk__in=[each.object_id for each in claims]).update(
            ring=F("ring") + Case(When(first, then=1), default=0),
            rerings=F("rerings") + Case(When(first, then=0), default=1),
            rung_at=Greatest(F("due_at"), Value(now, MomentField())),
        )
    return claims


def forget_all_rung(now: datetime) -> None:
    """Nothing is out any more and nobody runs: the only worker, with its broker, has just been started."""
    rows = Alarm.objects.using(engine.DATABASE)
    rows.filter(leased_until__gt=now).update(leased_until=now)
    rows.filter(rung_at__gt=now, due_at__gt=now).update(rung_at=None)
    rows.filter(rung_at__isnull=False, due_at__lte=now).update(rung_at=now - retry.LOST_AFTER_AT_MOST)


def forget_ring(object_id: int, ring: int) -> None:
    """The wake-up could not be sent: let the dispatcher send another at its next pass."""
    rows = Alarm.objects.using(engine.DATABASE).filter(object_id=object_id, ring=ring)
    with transaction.atomic(using=engine.DATABASE):
        # One that somebody's transaction keeps is left alone: whoever set the alarm must not wait for that.
        if rows.select_for_update(skip_locked=True).values_list("pk").first():
            rows.update(rung_at=None)
