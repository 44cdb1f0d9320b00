"""Which wake-ups of classes with limits are sent, and for when: as many as have a place, the longest due first.

Each alarm that a call sets has a wake-up of its own, as ever. One that finds no place is left to what is here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import Error
from django.db.models import QuerySet

from durable_objects.alarms import limits, predicates
from durable_objects.alarms.limits import Limit, Standing
from durable_objects.class_attributes import ObjectClass
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import backlog, claims, publisher
from durable_objects.errors import ObjectBusy
from durable_objects.logs import get_logger
from durable_objects.tables import Alarm

logger = get_logger(__name__)


def claim(now: datetime, of: dict[int, type[ObjectClass]]) -> list[publisher.WakeUp]:
    """Claim wake-ups of these classes for the time of two passes: each for the moment at which its run may start."""
    bounds = limits.limited(of)
    if not bounds:
        return []
    until = now + 2 * engine.DISPATCH_EVERY
    has_consumer = backlog.look(now, bounds).has_consumer
    claimed: list[publisher.WakeUp] = []
    for kind_id, limit in bounds.items():
        standing = limits.standing(kind_id, limit, now)
        out = _out(kind_id, now, until, in_transit=has_consumer)
        number = min(_free(standing, out, now, until), engine.MAX_OUT)
        rows = claims.publishable(now, [kind_id]).filter(wake_at__lte=until).order_by("wake_at")
        unsent, late = rows.filter(predicates.unsent()), rows.filter(predicates.late(now))
        first = standing.start(now) + out * limit.spacing
        if not has_consumer:  # those that are lost are among those that are out
            claimed += _wake_ups(now, out + number, now, limit, of[kind_id], late)
        claimed += _wake_ups(now, number, first, limit, of[kind_id], unsent, *([late] if has_consumer else []))
    return claimed


def send_next(kind_id: int, model: type[ObjectClass]) -> None:
    """Send the wake-up of the alarm of this class that is due for longest, now that a run of it has ended.

    Best effort, and never raises for the database or the broker: the next pass sends what is not sent here.
    """
    limit = limits.of(model)
    if limit is None or limit.concurrency is None or not publisher.can_publish():
        return
    try:
        now = clock.now()
        standing = limits.standing(kind_id, limit, now)
        if standing.is_full:
            return
        due = claims.unsent(now, [kind_id]).filter(wake_at__lte=now)
        publisher.publish(_wake_ups(now, 1, standing.start(now), limit, model, due), publisher.Budget())
    except (Error, ObjectBusy) as error:
        logger.info("the next alarm of %s is left to the dispatcher's pass (%r)", model._meta.label, error)


def _free(standing: Standing, out: int, now: datetime, until: datetime) -> int:
    """Return how many more may be sent until then: of starts in this time, and of places that are free now."""
    limit, numbers = standing.limit, []
    if limit.concurrency is not None:
        numbers.append(limit.concurrency - standing.taken - out)
    if limit.rate is not None and (span := until - standing.start(now)) >= timedelta(0):
        numbers.append(span // limit.spacing + 1 - out)
    elif limit.rate is not None:
        numbers.append(0)
    return max(min(numbers), 0)


def _out(kind_id: int, now: datetime, until: datetime, *, in_transit: bool) -> int:
    """Count the wake-ups of a class that will have come until then: where nobody consumes any, those that are lost
    count as well, so that the broker is not flooded.
    """
    soon = Alarm.objects.using(engine.DATABASE).filter(wake_at__lte=until)  # by the index
    of_kind = soon.filter(object__kind=kind_id, wake_up_for__lte=until)
    rows = of_kind.filter(predicates.in_transit(now) if in_transit else ~predicates.forgotten())
    return rows.filter(predicates.free(now)).order_by().count()


def _wake_ups(
    now: datetime, number: int, first: datetime, limit: Limit, model: type[ObjectClass], *of: QuerySet[Alarm]
) -> list[publisher.WakeUp]:
    claimed = claims.claim(now, number, *of, start=lambda at: first + at * limit.spacing)
    return [publisher.wake_up(each, model.alarm_time_limit, rescue=each.rescue) for each in claimed]
