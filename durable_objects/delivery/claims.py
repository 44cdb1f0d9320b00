"""Which wake-ups are out, lost, or unsent: what the dispatcher and the publisher read of alarm rows and write there.

Neither needs an object's lock: a turn never overwrites what they write (see ``alarms.slot``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from durable_objects import kinds, process
from durable_objects.alarms import pauses, predicates
from durable_objects.alarms.predicates import FORGOTTEN
from durable_objects.alarms.queries import grouped
from durable_objects.class_attributes import ObjectClass
from durable_objects.conf import engine
from durable_objects.database import clock, round_trip
from durable_objects.database.backends import backend_of
from durable_objects.database.fields import by
from durable_objects.tables import Alarm

#: ``look`` reads no more alarms than this.
MOST = 10_000
#: Rows that one statement marks.
ROWS = 1_000

_MARK_SENT = (
    f"UPDATE {Alarm._meta.db_table} SET wake_up_for = column2, "
    "wake_up_number = wake_up_number + CASE WHEN wake_up_for IS NULL THEN 1 ELSE 0 END, "
    "wake_ups_lost = wake_ups_lost + CASE WHEN wake_up_for IS NULL THEN 0 ELSE 1 END"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """An alarm that the dispatcher publishes a wake-up for; ``rescue``: an earlier wake-up got lost."""

    object_id: int
    kind_id: int
    wake_up_number: int
    wake_at: datetime
    retry_count: int
    rescue: bool


def sent(now: datetime) -> QuerySet[ContentType]:
    """Return, not read yet, the classes whose wake-ups are sent: those that can be run, and are not paused."""
    return kinds.of_runnable().filter(pauses.not_paused(now))


def sent_kinds(now: datetime) -> dict[int, type[ObjectClass]]:
    """Return the classes of ``sent``. One query."""
    return kinds.runnable_of(sent(now))


def any_due_soon(now: datetime) -> bool:
    """Return whether there is anything to choose from: the rest of a pass costs many times as much as this look."""
    return Alarm.objects.using(engine.DATABASE).filter(predicates.due_soon(now)).exists()


def unsent(now: datetime, of_kinds: Collection[int]) -> QuerySet[Alarm]:
    """Return armed alarms of these classes, due or due soon, that no wake-up is out for; the first due first."""
    return publishable(now, of_kinds).filter(predicates.unsent()).order_by(by("wake_at"))


def lost(now: datetime, of_kinds: Collection[int], consumed_to: datetime | None) -> QuerySet[Alarm]:
    """Return those whose wake-up is lost; the first sent first, so that each has its turn."""
    its = publishable(now, of_kinds).filter(predicates.lost(now, consumed_to))
    return its.order_by(by("wake_up_for"), by("wake_at"))


def unconsumed(now: datetime, kind: int) -> QuerySet[Alarm]:
    """Return due alarms of one class whose wake-up is late, though there may be no consumer.

    Those first that were sent again least often, so that each time it is another one; and of these the last due: the
    end of the queue, if there is one.
    """
    late = publishable(now, [kind]).filter(predicates.due(now), predicates.late(now))
    return late.order_by("wake_ups_lost", by("-wake_at"))


def publishable(now: datetime, of_kinds: Collection[int]) -> QuerySet[Alarm]:
    """Return armed alarms of these classes, due or due soon, not paused by themselves, with no run going: what the
    others choose from.
    """
    its = Q(kind__in=of_kinds) & pauses.none_of_its_own(now)
    return Alarm.objects.using(engine.DATABASE).filter(predicates.due_soon(now), its, predicates.free(now))


class There(NamedTuple):
    """Classes with alarms that are to be sent, since no wake-up is out for them, or one that is late: alarms that are
    due, and (``ahead``) that are due soon.
    """

    unsent: Collection[int]
    late: Collection[int]
    unsent_ahead: Collection[int]
    late_ahead: Collection[int]


def look(now: datetime, of_kinds: Collection[int]) -> There:
    """Return which of these classes have any; all, where there are more than ``MOST`` alarms to look at.

    Usually little is due soon, and one read of it costs less than each of the queries that would find nothing.
    """
    due, is_unsent, is_late = predicates.due(now), predicates.unsent(), predicates.late(now)
    conditions = (due & is_unsent, due & is_late, is_unsent, is_late)
    which = Case(*[When(each, then=Value(place)) for place, each in enumerate(conditions)])
    rows = publishable(now, of_kinds).order_by().annotate(which=which).values_list("kind_id", "which")[:MOST]
    found = grouped(rows, "COUNT(*)", "kind_id, which")
    if sum(number for *_, number in found) >= MOST:
        return There(*[of_kinds] * len(conditions))
    return There(*[{kind_id for kind_id, which, _ in found if which == place} for place in range(len(conditions))])


def claim(
    now: datetime, limit: int, *of: QuerySet[Alarm], start: Callable[[int], datetime] | None = None
) -> list[Claim]:
    """Mark wake-ups for at most ``limit`` of these alarms as sent, and return them for the dispatcher to send.

    Those first that have waited longest since they were due, or sent. Skip rows that another dispatcher has locked
    (SKIP LOCKED). A wake-up that was sent before is sent again under the same number: it may only be waiting in a long
    queue, and with a new number it would be dropped each time it gets to the front. ``start``: the first, second …
    of them is not to arrive before this time.
    """
    if limit <= 0:
        return []
    columns = (
        "object_id",
        "kind_id",
        "wake_up_number",
        "wake_at",
        "retry_count",
        "wake_up_for",
        "leased_until",
    )
    with transaction.atomic(using=engine.DATABASE):
        found = [
            row
            for rows in of
            for row in rows.select_for_update(skip_locked=True, of=("self",)).values_list(*columns)[:limit]
        ]
        found.sort(key=lambda row: row[5] or row[3])
        claims = []
        for object_id, kind_id, wake_up_number, wake_at, retry_count, wake_up_for, leased_until in found[:limit]:
            rescue = wake_up_for is not None or leased_until is not None
            number = wake_up_number + (wake_up_for is None)
            claims.append(Claim(object_id, kind_id, number, wake_at, retry_count, rescue))
        if start is not None:
            claims = [replace(each, wake_at=max(each.wake_at, now, start(at))) for at, each in enumerate(claims)]
        _mark_sent(now, claims)
    return claims


def _mark_sent(now: datetime, claims: list[Claim]) -> None:
    """Store that these wake-ups are sent, each for its time, or now. Not by Django: that writes a condition per row."""
    conn = clock.connection()
    row = f"(CAST(%s AS bigint), {backend_of(conn).moment_parameter})"
    statements: list[round_trip.Statement] = []
    for first in range(0, len(claims), ROWS):
        some = claims[first : first + ROWS]
        values = [value for each in some for value in (each.object_id, clock.to_database(conn, max(each.wake_at, now)))]
        statements.append(
            (f"{_MARK_SENT} FROM (VALUES {', '.join([row] * len(some))}) sent WHERE object_id = column1", values)
        )
    round_trip.send(conn, statements)


def mark_all_lost(now: datetime, *, alone: bool) -> None:
    """Mark all wake-ups as lost, and end the leases of processes that are certainly gone: a worker with a broker of its
    own has just been started. Other processes' runs go on; if such a process is gone after all, its leases expire.

    ``alone``: no other process dispatches. Otherwise some wake-ups may be in another process's broker, and keep their
    number.
    """
    rows = Alarm.objects.using(engine.DATABASE)
    leased = rows.filter(predicates.leased(now))
    gone = [name for name in leased.order_by().values_list("leased_by", flat=True).distinct() if process.is_gone(name)]
    leased.filter(leased_by__in=gone).update(leased_until=now)
    rows.filter(wake_up_for__gt=now, wake_at__gt=now).update(wake_up_for=None if alone else FORGOTTEN)
    rows.filter(wake_up_for__isnull=False, wake_at__lte=now).update(wake_up_for=FORGOTTEN)


def mark_unsent(failed: Mapping[int, tuple[int, bool]]) -> None:
    """Mark wake-ups that could not be sent, so that the dispatcher sends others at its next pass.

    ``failed``: by object, the wake-up's number and whether it was sent before. One that was keeps its number, since the
    first one may still be in the broker.
    """
    rows = Alarm.objects.using(engine.DATABASE)
    with transaction.atomic(using=engine.DATABASE):
        # One that another transaction has locked is skipped: whoever set the alarm must not wait for that.
        found = rows.filter(pk__in=failed).select_for_update(skip_locked=True).values_list("pk", "wake_up_number")
        mine = [pk for pk, wake_up_number in found if wake_up_number == failed[pk][0]]
        again = [pk for pk in mine if failed[pk][1]]
        if first := [pk for pk in mine if not failed[pk][1]]:
            rows.filter(pk__in=first).update(wake_up_for=None)
        if again:
            fewer = Case(When(wake_ups_lost__gt=0, then=F("wake_ups_lost") - 1), default=0)
            rows.filter(pk__in=again, wake_up_for__isnull=False).update(wake_up_for=FORGOTTEN, wake_ups_lost=fewer)
