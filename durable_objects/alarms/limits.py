"""Limits of a class: how many of its alarms run at a time, and how many start in a second, over all workers.

A run of such a class takes a place before it starts: in a short transaction, under the lock on its class's row, it
counts the places that are taken, and takes a lease, which is its place. So a place whose worker is gone is free again
once the lease is over. Only this module writes ``ClassLimit``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
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
        return self.is_full or self.is_moving(now)

    def is_moving(self, now: datetime) -> bool:
        """Return whether it is known without a count that the limit holds them back."""
        moving = self.last_start_at is not None and self.last_start_at > now - backoff.LOST_AFTER
        return moving or self.start(now) > now


class Limited(Protocol):
    """A class, or a handle."""

    @property
    def alarm_concurrency(self) -> int | None:
        """How many of its runs may go on at a time."""

    @property
    def alarm_rate(self) -> float | None:
        """How many of them may start in a second."""


def of(model: Limited) -> Limit | None:
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
        standing = _standings([row], {kind_id: limit}, now)[kind_id]
        start = standing.start(now)
        patience = limit.patience if clock.fake is None else timedelta(0)  # to wait would not make it later
        if standing.is_full or start > now + patience:
            return None
        _rows().filter(pk=kind_id).update(next_start_at=start + limit.spacing, last_start_at=start)
    return start


def standing(kind_id: int, limit: Limit, now: datetime) -> Standing:
    """Return how a class stands against its limit, without a lock."""
    return standings({kind_id: limit}, now)[kind_id]


def standings(bounds: Mapping[int, Limit], now: datetime) -> dict[int, Standing]:
    """Return the same of several classes, by as many queries as for one."""
    there = _rows().in_bulk(bounds)
    return _standings([there.get(kind_id) or ClassLimit(kind_id=kind_id) for kind_id in bounds], bounds, now)


def limited(classes: Mapping[int, type[ObjectClass]]) -> dict[int, Limit]:
    """Return those of these classes that set limits."""
    found = {kind_id: of(model) for kind_id, model in classes.items()}
    return {kind_id: limit for kind_id, limit in found.items() if limit is not None}


def held_back(now: datetime, runnable: Mapping[int, type[ObjectClass]] | None = None) -> frozenset[int]:
    """Return the classes whose alarms wait for their limits just now. No query where no class sets any, one while no
    run of such a class has started, and no more for many classes than for one. ``runnable``: those with objects, where
    they were asked for before.
    """
    if not any(of(cast("type[ObjectClass]", model)) for model in kinds.classes()):
        return frozenset()
    rows = {row.kind_id: row for row in _rows()}
    bounds = limited(kinds.runnable() if runnable is None else runnable) if rows else {}
    its = [rows[kind] for kind in rows.keys() & bounds.keys()]
    moving = frozenset(row.kind_id for row in its if _standing(row, bounds, Counter()).is_moving(now))
    found = _standings([row for row in its if row.kind_id not in moving], bounds, now)
    return moving | {kind for kind, standing in found.items() if standing.is_full}


def _standings(rows: list[ClassLimit], bounds: Mapping[int, Limit], now: datetime) -> dict[int, Standing]:
    taken = _taken([row.kind_id for row in rows if bounds[row.kind_id].concurrency is not None], now)
    return {row.kind_id: _standing(row, bounds, taken) for row in rows}


def _standing(row: ClassLimit, bounds: Mapping[int, Limit], taken: Counter[int]) -> Standing:
    return Standing(bounds[row.kind_id], taken[row.kind_id], row.next_start_at, row.last_start_at)


def _locked(kind_id: int) -> ClassLimit:
    """Lock and return the row of a class; make it if it is missing."""
    while True:
        row = _rows().select_for_update().filter(pk=kind_id).first()
        if row is not None:
            return row
        _rows().bulk_create([ClassLimit(kind_id=kind_id)], ignore_conflicts=True)


def _taken(kind_ids: Collection[int], now: datetime) -> Counter[int]:
    """Count the places that are taken, by class: leases in force; and leases that are over while the object is still
    locked, by a run that has kept its lock for longer than a lease.
    """
    if not kind_ids:
        return Counter()
    its = Alarm.objects.using(engine.DATABASE).filter(kind__in=kind_ids, leased_until__isnull=False).order_by()
    leased, over = predicates.leased(now), predicates.left_behind(now)
    found = its.values_list("kind_id").annotate(leased=Count("pk", filter=leased), over=Count("pk", filter=over))
    taken, has_over = Counter[int](), False
    for kind_id, in_force, ended in found:
        taken[kind_id] += in_force
        has_over = has_over or ended > 0
    if has_over:
        of = dict(its.filter(over).values_list("pk", "kind_id")[:MOST_LOOKED_AT])
        locked = backend_of(clock.connection()).locked_rows(Object._meta.db_table, list(of))
        taken.update(of[key] for key in locked)
    return taken


def _rows() -> QuerySet[ClassLimit]:
    return ClassLimit.objects.using(engine.DATABASE)
