"""Pause and resume: everything, a class or one object; and wait until nothing of it runs any more, for a deploy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.contrib.contenttypes.models import ContentType

from durable_objects.alarms import pauses, predicates
from durable_objects.alarms.pauses import Paused, Target
from durable_objects.alarms.queries import count
from durable_objects.conf import engine
from durable_objects.database import clock, connection
from durable_objects.database.backends import backend_of
from durable_objects.errors import DurableObjectError, InvalidInput
from durable_objects.formatting import absolute, relative
from durable_objects.kinds import label_of
from durable_objects.logs import about, get_logger
from durable_objects.models import DurableObject
from durable_objects.tables import Alarm, Object, Pause
from durable_objects.turns import lock
from durable_objects.turns.handle import shown
from durable_objects.validation import show, text_flaw

logger = get_logger(__name__)

#: What can be paused: everything, a class (also one that this code does not have), an object.
What = type[DurableObject] | ContentType | Object | None

#: How often ``drain`` looks.
SECONDS_BETWEEN_LOOKS = 0.25
#: Characters of ``by`` that are kept.
LONGEST_BY = 150


@dataclass(frozen=True, slots=True)
class Running:
    """What still runs: transactions that run alarms, and runs in ``unlocked()``. What a worker that is gone has left
    behind does not run.
    """

    locked: int
    unlocked: int
    left_behind: int

    @property
    def number(self) -> int:
        """How many run."""
        return self.locked + self.unlocked


def pause(what: What, *, reason: str = "", by: str = "", until: datetime | timedelta | None = None) -> None:
    """Let no run of this start from now on until ``resume``, or until that time by the database's clock.

    ``what``: a class, an object, or None for everything. Runs that have started go on: ``drain`` waits for them. Alarms
    keep their times, can be set and changed as always, and run after the pause. A pause that stands is replaced. Inside
    of a transaction it begins with the commit. Raises ``InvalidInput`` for a time that is not to come, and
    ``DurableObjectError`` for an object that was never used.
    """
    target, now = target_of(what), clock.now()
    end = _end(until, now)
    for name, text in {"reason": reason, "by": by}.items():
        if flaw := text_flaw(text):
            raise InvalidInput(f"the {name} of a pause, {show(text)}, {flaw}")
    pauses.put(target, now, reason=reason.strip(), by=by.strip()[:LONGEST_BY], until=end)
    logger.warning("%s is paused", name_of(target), extra=about("paused", scope=target.scope))


def resume(what: What, *, stood_at: datetime | None = None) -> bool:
    """End the pause of exactly this; return whether there was one. What waits runs from the dispatcher's next pass on.

    An object stays paused while its class or everything is. ``stood_at``: only a pause that was made by then, not one
    that has replaced it since.
    """
    target = target_of(what)
    lifted = pauses.lift(target, clock.now(), stood_at=stood_at)
    if lifted:
        logger.warning("%s is resumed", name_of(target), extra=about("resumed", scope=target.scope))
    return lifted


def in_force() -> Paused:
    """Return what is paused now; its ``holds(object_id, kind_id)`` says whether an object is. One query."""
    return pauses.paused(clock.now())


def running(what: What) -> Running:
    """Return what runs of this now. After ``pause`` a 0 is final: nothing starts until ``resume``."""
    target, backend = target_of(what), backend_of(clock.connection())
    # Transactions first, leases then: a run that ends the one with the other is seen at least once.
    locked = backend.runs(target.kind_id)
    if target.object_id is not None:
        locked = len(backend.locked_rows(Object._meta.db_table, [target.object_id])) if locked else 0
    now, rows = clock.now(), Alarm.objects.using(engine.DATABASE).order_by()
    if target.object_id is not None:
        rows = rows.filter(pk=target.object_id)
    elif target.kind_id is not None:
        rows = rows.filter(kind=target.kind_id)
    unlocked = count(rows.filter(predicates.leased(now)))
    return Running(locked, unlocked, count(rows.filter(predicates.left_behind(now))))


def drain(
    what: What, within: timedelta, waiting: Callable[[Running, timedelta], None] = lambda running, left: None
) -> bool:
    """Wait until nothing of this runs, for at most ``within``; return whether that came. ``waiting`` is called at each
    look with what still runs and the time that is left.

    Raises ``DurableObjectError`` where this is not paused: new runs would start all the time. And inside of a
    transaction, with which the pause itself may be undone.
    """
    target = target_of(what)
    if connection.joins_transaction(clock.connection()):
        raise DurableObjectError("drain() inside a transaction: a pause counts for others once that is committed")
    end = clock.monotonic() + within.total_seconds()
    while True:
        if not covering(target):
            raise DurableObjectError(f"{name_of(target)} is not paused: new runs start all the time. Pause it first")
        found, left = running(what), timedelta(seconds=max(0.0, end - clock.monotonic()))
        if found.number == 0:
            return True
        if not left:
            return False
        waiting(found, left)
        time.sleep(min(SECONDS_BETWEEN_LOOKS, left.total_seconds()))


def target_of(what: What) -> Target:
    """Return what is to be paused by its keys. Raises ``DurableObjectError`` for an object that was never used."""
    if what is None:
        return Target()
    if isinstance(what, ContentType):
        return Target(what.pk)
    if isinstance(what, type):
        return Target(what.kind_pk())
    object_id = what.pk
    if object_id is None and isinstance(what, DurableObject):
        object_id = lock.find(clock.connection(), what.kind_pk(), what.name)
        if object_id is None:
            raise DurableObjectError(f"{shown(what.key)} was never used: it has no alarm to pause. Pause its class")
        return Target(what.kind_pk(), object_id)
    return Target(what.kind_id, object_id)


def name_of(target: Target) -> str:
    """Return how messages name it: everything, the class, or the object."""
    if target.object_id is not None:
        row = Object.objects.using(engine.DATABASE).filter(pk=target.object_id).first()
        return f"object {target.object_id}" if row is None else shown((label_of(row.kind_id), row.name))
    return "everything" if target.kind_id is None else label_of(target.kind_id)


def covering(target: Target) -> list[Pause]:
    """Return the pauses that hold all of this, the widest first."""
    now = clock.now()
    if target.object_id is not None and target.kind_id is not None:
        return pauses.of_object(target.object_id, target.kind_id, now)
    found = pauses.in_force(now).exclude(scope=Pause.Scope.OBJECT)
    return [each for each in found if each.kind_id in {None, target.kind_id}]


def sentence(pause: Pause, now: datetime) -> str:
    """Say what is paused since when, by whom, until when and why."""
    what = name_of(Target(pause.kind_id, pause.object_id))
    by = f" by {pause.by}" if pause.by else ""
    until = f", until {absolute(pause.until)} ({relative(pause.until, now)})" if pause.until else ""
    why = f": {pause.reason}" if pause.reason else ""
    return f"Paused since {absolute(pause.since)}{by}{until} ({what}){why}".rstrip(".") + "."


def _end(until: datetime | timedelta | None, now: datetime) -> datetime | None:
    if until is None:
        return None
    try:
        end = now + until if isinstance(until, timedelta) else until
        if end.utcoffset() is not None and end > now:
            return end.astimezone(UTC)
    except (AttributeError, OverflowError, TypeError):
        pass
    raise InvalidInput(f"until is {until!r}: give a time to come, as an aware datetime or a timedelta of more than 0")
