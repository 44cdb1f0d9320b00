"""The alarm slot: read, arm, disarm, settle, write. Only this room and ``claims`` write alarm rows.

The verbs change a ``Slot`` in memory, which remembers the columns that changed; ``storing`` puts just these into the
database, so that what the dispatcher (``wake_up_for``) and the heartbeat (``leased_until``) write beside a turn
is never overwritten with something older.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import process
from durable_objects.alarms import retry
from durable_objects.alarms.run import RequestedAlarm
from durable_objects.alarms.slot import ARMED, DEAD, FORGOTTEN, IDLE, Slot
from durable_objects.conf import engine
from durable_objects.database import clock, round_trip
from durable_objects.database.errors import own_statements
from durable_objects.database.round_trip import Row, Statement
from durable_objects.tables import Alarm, Object

_TABLE = Alarm._meta.db_table
_OBJECTS = Object._meta.db_table
_TIMES = {"scheduled_at", "due_at", "leased_until", "wake_up_for"}
_COLUMNS = [f.name for f in Alarm._meta.concrete_fields if f.name != "object"]
#: How a column's value is read that the driver may have given as text; all others are whole numbers.
_READ: dict[str, Callable[[Any], Any]] = dict.fromkeys(_TIMES, clock.from_database) | {
    f.name: str for f in Alarm._meta.concrete_fields if isinstance(f, models.CharField | models.TextField)
}


def look(conn: BaseDatabaseWrapper, where: str, params: Sequence[Any]) -> Statement:
    """The statement that reads the slots of these objects, the database's now, and their kinds and names.

    Never joined to the lock.
    """
    expression, now = clock.now_sql(conn)
    columns = ", ".join(clock.selected(conn, f"slot.{name}") if name in _TIMES else f"slot.{name}" for name in _COLUMNS)
    both = f"{_OBJECTS} LEFT JOIN {_TABLE} slot ON slot.object_id = id"
    return f"SELECT id, {expression}, {columns}, kind_id, name FROM {both} WHERE {where}", [*now, *params]


def slot_of(row: Row) -> tuple[Slot, datetime]:
    """The slot in a row that ``look`` gave, as it was then, and the database's now."""
    slot = Slot(int(row[0]))
    if row[2] is not None:
        slot.stored = True
        for name, value in zip(_COLUMNS, row[2:-2], strict=True):
            if value is not None:
                setattr(slot, name, _READ.get(name, int)(value))
    return slot, clock.from_database(row[1])


def storing(conn: BaseDatabaseWrapper, slots: Iterable[Slot]) -> Iterator[Statement]:
    """The statements that store what turns changed: one for all slots of which the same columns changed.

    Needs the objects' locks.
    """
    by_columns: dict[tuple[str, ...], list[Slot]] = {}
    for slot in slots:
        if slot.changed:
            by_columns.setdefault(tuple(sorted(slot.changed)), []).append(slot)
            slot.stored, slot.changed = True, set()
    for changed, group in by_columns.items():
        values = []
        for slot in group:
            values.append(slot.object_id)
            for name in _COLUMNS:
                value = getattr(slot, name)
                values.append(clock.to_database(conn, value) if name in _TIMES else value)
        marks = ", ".join([f"({', '.join(['%s'] * (len(_COLUMNS) + 1))})"] * len(group))
        assignments = ", ".join(f"{name} = excluded.{name}" for name in changed)
        insert = f"INSERT INTO {_TABLE} (object_id, {', '.join(_COLUMNS)}) VALUES {marks}"
        yield f"{insert} ON CONFLICT (object_id) DO UPDATE SET {assignments}", values


def arm(slot: Slot, at: datetime) -> None:
    """Set the alarm. One that stands for that very time already, untried and not running, is left alone (DO-12)."""
    same = slot.state == ARMED and slot.scheduled_at == slot.due_at == at and slot.leased_until is None
    if same:
        return
    slot.set(state=ARMED, scheduled_at=at, due_at=at, retry_count=0, crashed_starts=0, wake_ups_lost=0, last_error="")
    slot.set(generation=slot.generation + 1)
    if slot.wake_up_for is not None and slot.wake_up_for > at:
        slot.set(wake_up_for=None)  # it comes too late for this time: who cannot ring leaves it to the dispatcher


def disarm(slot: Slot) -> None:
    """Take the alarm away: nothing is set afterwards, a dead one is forgotten.

    Also where nothing is set it counts against a run that is unlocked, which may have asked for an alarm before.
    """
    if slot.state != IDLE or slot.leased_until is not None:
        slot.set(
            state=IDLE, scheduled_at=None, due_at=None, retry_count=0, crashed_starts=0, wake_ups_lost=0, last_error=""
        )
        slot.set(generation=slot.generation + 1, wake_up_for=None)


def grant(slot: Slot, requested: RequestedAlarm) -> None:
    """Do what was asked of the alarm."""
    if requested.at is None:
        disarm(slot)
    else:
        arm(slot, requested.at)


def revive(slot: Slot, now: datetime) -> None:
    """Arm a dead alarm again, due now, with all its retries; the time that was asked for stays."""
    slot.set(state=ARMED, due_at=now, retry_count=0, crashed_starts=0, wake_ups_lost=0, wake_up_for=None)
    slot.set(generation=slot.generation + 1)


def hasten(slot: Slot, now: datetime) -> None:
    """Let the armed alarm run now; its count and the time that was asked for stay.

    One that is due keeps its due time, and the number of the wake-up that is out for it: that may be about to arrive.
    """
    is_out = slot.wake_up_for is not None and slot.wake_up_for <= now
    if slot.due_at is not None and slot.due_at <= now and is_out:
        slot.ring_again = True
        slot.set(wake_up_for=FORGOTTEN)  # who cannot publish leaves it to the dispatcher
    else:
        slot.set(due_at=min(slot.due_at or now, now), wake_up_for=None)


def lease(slot: Slot, now: datetime, generation: int) -> None:
    """Keep the object for a run that lets go of the lock: nobody else runs it until the lease is over.

    ``generation`` is that of the alarm it runs, which is not pending; one that others have set since is.
    Its wake-up has arrived, so none is out: if the run dies, the dispatcher rings as soon as the lease is over.
    """
    slot.set(fence=slot.fence + 1, leased_until=now + engine.LEASE, leased_generation=generation)
    slot.set(wake_up_for=None, wake_ups_lost=0, leased_by=process.name())


def release(slot: Slot) -> None:
    """The run has ended: what stands in the slot may run."""
    slot.set(crashed_starts=0, wake_ups_lost=0, wake_up_for=None)
    if slot.leased_until is not None:
        slot.set(leased_until=None, leased_generation=None)


def retry_later(slot: Slot, now: datetime, error: str) -> timedelta:
    """Count a failed run. The retry comes with the same ring, since Celery sends the same message again."""
    delay = retry.retry_delay(slot.retry_count + 1)
    slot.set(retry_count=slot.retry_count + 1, due_at=now + delay, wake_up_for=now + delay, last_error=error)
    return delay


def die(slot: Slot, error: str) -> None:
    """The last allowed run failed: kept as a dead row, to be looked at and revived."""
    slot.set(state=DEAD, due_at=None, wake_up_for=None, last_error=error)


def needs_wake_up(slot: Slot, now: datetime) -> bool:
    """Whether one has to go out for this alarm: not when it is not soon, leased, or when one is out.

    Nor when one got lost: the dispatcher knows whether anybody hears. Otherwise calls could fill the broker.
    """
    if slot.state != ARMED or slot.due_at is None or slot.due_at > now + engine.HORIZON or slot.is_leased(now):
        return False
    return slot.wake_up_for is None or slot.wake_up_for > max(slot.due_at, now) or slot.ring_again


def mark_rung(slot: Slot, now: datetime) -> None:
    """Mark that a wake-up goes out for this alarm."""
    slot.set(wake_up_number=slot.wake_up_number + (not slot.ring_again), wake_up_for=max(slot.due_at or now, now))
    slot.ring_again = False


def take_over(conn: BaseDatabaseWrapper, slot: Slot, now: datetime) -> bool:
    """Fence the run whose lease is over. One conditional statement: False when its heartbeat was quicker."""
    with own_statements(conn), conn.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_TABLE} SET fence = fence + 1, leased_until = NULL, leased_generation = NULL "
            "WHERE object_id = %s AND fence = %s AND leased_until <= %s",
            [slot.object_id, slot.fence, clock.to_database(conn, now)],
        )
        taken = bool(cursor.rowcount == 1)
    if taken:
        slot.fence, slot.leased_until, slot.leased_generation = slot.fence + 1, None, None
    return taken


def renew(conn: BaseDatabaseWrapper, object_id: int, fence: int) -> bool:
    """Keep the lease of the run with this fence; False when it is no longer that run's."""
    until = clock.to_database(conn, clock.now() + engine.LEASE)
    with conn.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_TABLE} SET leased_until = %s WHERE object_id = %s AND fence = %s AND leased_until IS NOT NULL",
            [until, object_id, fence],
        )
        return bool(cursor.rowcount == 1)


def give_back(conn: BaseDatabaseWrapper, object_id: int, fence: int) -> None:
    """A run that is put off gives its lease back, and its start is not counted. Needs no lock: the fence tells."""
    sql = (
        f"UPDATE {_TABLE} SET leased_until = NULL, leased_generation = NULL, "
        "crashed_starts = CASE WHEN crashed_starts > 0 THEN crashed_starts - 1 ELSE 0 END "
        "WHERE object_id = %s AND fence = %s AND leased_until IS NOT NULL"
    )
    round_trip.send(conn, [(sql, [object_id, fence])])
