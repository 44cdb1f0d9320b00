"""Limits of a class: how many of its alarms run at a time, and how many start in a second, over all workers.

A run of such a class takes a place before it starts: in a short transaction, under the lock on its class's row, it
counts the places that are taken, and takes a lease, which is its place. So a place whose worker is gone is free again
once the lease is over. Only this module writes ``ClassLimit``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, cast

from django.db.models import Count, QuerySet

from durable_objects import kinds
from durable_objects.alarms import backoff, predicates
from durable_objects.class_attributes import ObjectClass
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.database.errors import own_statements
from durable_objects.tables import Alarm, ClassLimit, Object

#: A wake-up waits for its start itself, in a thread of its worker, for as long as from one start to the next, within
#: these bounds: so that about one of a class does at a time, and none comes too late for its start.
SHORTEST_WAIT, LONGEST_WAIT = timedelta(seconds=0.05), timedelta(seconds=1)

#: Places whose lease is over are looked at one by one, to see whether their runs still go on: no more than these.
MOST_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What a class sets: at most ``concurrency`` runs at a time, and ``rate`` starts a second. One may be None."""

    concurrency: int | None
    rate: float | None

    @property
    def spacing(self) -> timedelta:
        """The time from one start to the next."""
        return timedelta(seconds=1 / self.rate) if self.rate else timedelta(0)

    @property
    def patience(self) -> timedelta:
        """How long a wake-up waits for its start itself."""
        return min(max(self.spacing, SHORTEST_WAIT), LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a class stands against its limit: places that are taken, when the next run may start, and the last began."""

    limit: Limit
    taken: int
    next_start_at: datetime | None
    last_start_at: datetime | None

    @property
    def is_full(self) -> bool:
        """Whether as many run as may."""
        return self.limit.concurrency is not None and self.taken >= self.limit.concurrency

    def start(self, now: datetime) -> datetime:
        """Return when the next run may start, as far as the rate goes."""
        return max(now, self.next_start_at or now)

    def holds_back(self, now: datetime) -> bool:
        """Return whether it is the limit that alarms of this class wait for: it is reached, or they run one by one."""
        moving = self.last_start_at is not None and self.last_start_at > now - backoff.LOST_AFTER
        return self.is_full or moving or self.start(now) > now


class _Limited(Protocol):
    """A class, or a handle."""

    @property
    def alarm_concurrency(self) -> int | None: ...
    @property
    def alarm_rate(self) -> float | None: ...


def of(model: _Limited) -> Limit | None:
    """Return the limit of a class, or of a handle's class; None if it sets none."""
    if model.alarm_concurrency is None and model.alarm_rate is None:
        return None
    return Limit(model.alarm_concurrency, model.alarm_rate)


def take_place(kind_id: int, limit: Limit, clock_now: Callable[[], datetime]) -> datetime | None:
    """Return when a run of the class may start, at most ``limit.patience`` from now; None if it has to wait.

    To be called in the transaction that takes its lease, with the object locked: until that commits, no other run of
    the class takes a place.
    """
    with own_statements(clock.connection()):
        row, now = _locked(kind_id), clock_now()  # in this order: it may have waited for the lock
        taken = _taken(kind_id, now) if limit.concurrency is not None else 0
        standing = Standing(limit, taken, row.next_start_at, row.last_start_at)
        start = standing.start(now)
        patience = limit.patience if clock.fake is None else timedelta(0)  # to wait would not make it later
        if standing.is_full or start > now + patience:
            return None
        _rows().filter(pk=kind_id).update(next_start_at=start + limit.spacing, last_start_at=start)
    return start


def standing(kind_id: int, limit: Limit, now: datetime) -> Standing:
    """Return how a class stands against its limit, without a lock."""
    return _standing(_rows().filter(pk=kind_id).first() or ClassLimit(kind_id=kind_id), limit, now)


def limited(classes: Mapping[int, type[ObjectClass]]) -> dict[int, Limit]:
    """Return those of these classes that set limits."""
    found = {kind_id: of(model) for kind_id, model in classes.items()}
    return {kind_id: limit for kind_id, limit in found.items() if limit is not None}


def held_back(now: datetime) -> frozenset[int]:
    """Return the classes whose alarms wait for their limits just now. No query where no class sets any, and one while
    no run of such a class has started.
    """
    if not any(of(cast("type[ObjectClass]", model)) for model in kinds.classes()):
        return frozenset()
    rows = {row.kind_id: row for row in _rows()}
    bounds = limited(kinds.runnable()) if rows else {}
    found = [kind for kind in rows.keys() & bounds.keys() if _standing(rows[kind], bounds[kind], now).holds_back(now)]
    return frozenset(found)


def _standing(row: ClassLimit, limit: Limit, now: datetime) -> Standing:
    taken = _taken(row.kind_id, now) if limit.concurrency is not None else 0
    return Standing(limit, taken, row.next_start_at, row.last_start_at)


def _locked(kind_id: int) -> ClassLimit:
    """Lock and return the row of a class; make it if it is missing."""
    while True:
        row = _rows().select_for_update().filter(pk=kind_id).first()
        if row is not None:
            return row
        _rows().bulk_create([ClassLimit(kind_id=kind_id)], ignore_conflicts=True)


def _taken(kind_id: int, now: datetime) -> int:
    """Count the places that are taken: leases in force; and leases that are over while the object is still locked, by
    a run that has kept its lock for longer than a lease.
    """
    its = Alarm.objects.using(engine.DATABASE).filter(object__kind=kind_id, leased_until__isnull=False).order_by()
    leased, over = predicates.leased(now), predicates.left_behind(now)
    found = its.aggregate(leased=Count("pk", filter=leased), over=Count("pk", filter=over))
    taken: int = found["leased"]
    if found["over"]:
        keys = list(its.filter(over).values_list("pk", flat=True)[:MOST_LOOKED_AT])
        taken += backend_of(clock.connection()).locked_rows(Object._meta.db_table, keys)
    return taken


def _rows() -> QuerySet[ClassLimit]:
    return ClassLimit.objects.using(engine.DATABASE)
