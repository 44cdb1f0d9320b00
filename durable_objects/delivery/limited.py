"""Which wake-ups of classes with limits are sent, and for when: as many as have a place, the longest due first.

Each alarm that a call sets has a wake-up of its own, as ever. One that finds no place is left to what is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import Error
from django.db.models import Count, Exists, OuterRef, QuerySet

from durable_objects import kinds
from durable_objects.alarms import limits, predicates
from durable_objects.alarms.limits import Limit, Standing
from durable_objects.class_attributes import ObjectClass
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.fields import by
from durable_objects.delivery import backlog, claims, publisher
from durable_objects.errors import ObjectBusy
from durable_objects.logs import get_logger
from durable_objects.tables import Alarm

logger = get_logger(__name__)


def claim(now: datetime, of: dict[int, type[ObjectClass]]) -> list[publisher.WakeUp]:
    """Claim wake-ups of these classes for the time of two passes: each for the moment at which its run may start.

    One query where none of them has anything to send; three more, and some for each that has a place for an alarm.
    """
    until, bounds = now + 2 * engine.DISPATCH_EVERY, limits.limited(of)
    bounds = {kind_id: bounds[kind_id] for kind_id in _to_be_sent(bounds, now, until)} if bounds else {}
    if not bounds:
        return []
    has_consumer = backlog.look(now, bounds).has_consumer
    standings = limits.standings(bounds, now)
    counted = _out(bounds, now, until, in_transit=has_consumer)
    claimed: list[publisher.WakeUp] = []
    for kind_id, limit in bounds.items():
        standing, out = standings[kind_id], counted[kind_id]
        number = min(_free(standing, out, now, until), engine.MAX_OUT)
        if not number and has_consumer:
            continue
        rows = claims.publishable(now, [kind_id]).filter(wake_at__lte=until).order_by(by("wake_at"))
        unsent, late = rows.filter(predicates.unsent()), rows.filter(predicates.late(now))
        first = standing.start(now) + out * limit.spacing
        if not has_consumer:  # those that are lost are among those that are out
            claimed += _wake_ups(now, out + number, now, limit, of[kind_id], late)
        claimed += _wake_ups(now, number, first, limit, of[kind_id], unsent, *([late] if has_consumer else []))
    return claimed


def _to_be_sent(of_kinds: Collection[int], now: datetime, until: datetime) -> list[int]:
    """Return those of these classes that have alarms which are due by then, with no wake-up out or a late one."""
    its = claims.publishable(now, of_kinds).filter(kind=OuterRef("pk"), wake_at__lte=until)
    some = its.filter(predicates.unsent() | predicates.late(now)).order_by()
    return list(kinds.content_types().filter(pk__in=of_kinds).filter(Exists(some)).values_list("pk", flat=True))


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


def _out(of_kinds: Collection[int], now: datetime, until: datetime, *, in_transit: bool) -> Counter[int]:
    """Count, by class, the wake-ups that will have come until then: where nobody consumes any, those that are lost
    count as well, so that the broker is not flooded.
    """
    soon = Alarm.objects.using(engine.DATABASE).filter(wake_at__lte=until)  # by the index
    of_kind = soon.filter(kind__in=of_kinds, wake_up_for__lte=until)
    rows = of_kind.filter(predicates.in_transit(now) if in_transit else ~predicates.forgotten())
    counted = rows.filter(predicates.free(now)).order_by().values_list("kind_id").annotate(number=Count("pk"))
    return Counter(dict(counted))


def _wake_ups(
    now: datetime, number: int, first: datetime, limit: Limit, model: type[ObjectClass], *of: QuerySet[Alarm]
) -> list[publisher.WakeUp]:
    claimed = claims.claim(now, number, *of, start=lambda at: first + at * limit.spacing)
    return [publisher.wake_up(each, model, each.kind_id, rescue=each.rescue) for each in claimed]
