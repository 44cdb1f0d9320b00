"""The alarm slot: read, arm, disarm, settle, write. The only room that writes alarm rows.

The verbs change a ``Slot`` in memory, which remembers the columns that changed; ``write`` puts just these into the
database, so that what the dispatcher (``rung_at``) and the heartbeat (``leased_until``) write beside a turn is never
overwritten with something older.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q, QuerySet

from durable_objects import clock, retry
from durable_objects.conf import engine
from durable_objects.rows import Alarm
from durable_objects.run import Wish
from durable_objects.slot import ARMED, DEAD, IDLE, Slot

_TABLE = Alarm._meta.db_table
_TIMES = {"scheduled_at", "due_at", "leased_until", "rung_at"}
_COLUMNS = [f.name for f in Alarm._meta.concrete_fields if f.name != "object"]
#: From so many lost wake-ups on, the wait for the next stays the longest there is.
_MOST_RERINGS = 5


def read(conn: BaseDatabaseWrapper, object_id: int) -> tuple[Slot, datetime]:
    """The slot as it is now, and the database's now. A statement of its own: never joined to the lock."""
    expression, params = clock.now_sql(conn)
    columns = ", ".join(f"slot.{name}" for name in _COLUMNS)
    with conn.cursor() as cursor:
        cursor.execute(
            f"SELECT {expression}, {columns} FROM (SELECT 1) one LEFT JOIN {_TABLE} slot ON slot.object_id = %s",
            [*params, object_id],
        )
        now, *row = cursor.fetchone()
    slot = Slot(object_id)
    if row[0] is not None:
        slot.stored = True
        for name, value in zip(_COLUMNS, row, strict=True):
            setattr(slot, name, clock.from_database(value) if name in _TIMES and value is not None else value)
    return slot, clock.from_database(now)


def write(conn: BaseDatabaseWrapper, slot: Slot) -> None:
    """Store what the turn changed: one statement, or none. Needs the object's lock."""
    if not slot.changed:
        return
    names = _COLUMNS if not slot.stored else sorted(slot.changed)
    values = [getattr(slot, name) for name in names]
    params = [clock.to_database(conn, v) if n in _TIMES else v for n, v in zip(names, values, strict=True)]
    with conn.cursor() as cursor:
        if slot.stored:
            assignments = ", ".join(f"{name} = %s" for name in names)
            cursor.execute(f"UPDATE {_TABLE} SET {assignments} WHERE object_id = %s", [*params, slot.object_id])
        else:
            marks = ", ".join(["%s"] * (len(names) + 1))
            cursor.execute(
                f"INSERT INTO {_TABLE} (object_id, {', '.join(names)}) VALUES ({marks})", [slot.object_id, *params]
            )
    slot.stored = True
    slot.changed = set()


def arm(slot: Slot, at: datetime) -> None:
    """Set the alarm. One that stands for that very time already, untried and not running, is left alone (DO-12)."""
    same = slot.state == ARMED and slot.scheduled_at == slot.due_at == at and slot.leased_until is None
    if same:
        return
    slot.set(state=ARMED, scheduled_at=at, due_at=at, retry_count=0, starts=0, rerings=0, last_error="")
    slot.set(generation=slot.generation + 1)


def disarm(slot: Slot) -> None:
    """Take the alarm away: nothing is set afterwards, a dead one is forgotten.

    Also where nothing is set it counts against a run that is unlocked, which may have asked for an alarm before.
    """
    if slot.state != IDLE or slot.leased_until is not None:
        slot.set(state=IDLE, scheduled_at=None, due_at=None, retry_count=0, starts=0, rerings=0, last_error="")
        slot.set(generation=slot.generation + 1, rung_at=None)


def grant(slot: Slot, wish: Wish) -> None:
    """Do what was asked of the alarm."""
    if wish.at is None:
        disarm(slot)
    else:
        arm(slot, wish.at)


def revive(slot: Slot, now: datetime) -> None:
    """Arm a dead alarm again, due now, with all its retries; the time that was asked for stays."""
    slot.set(state=ARMED, due_at=now, retry_count=0, starts=0, rerings=0, rung_at=None)
    slot.set(generation=slot.generation + 1)


def hasten(slot: Slot, now: datetime) -> None:
    """Let the armed alarm run now; its count and the time that was asked for stay."""
    slot.set(due_at=now, rung_at=None)


def lease(slot: Slot, now: datetime) -> None:
    """Keep the object for a run that lets go of the lock: nobody else runs it until the lease is over.

    Its wake-up has arrived, so none is out: if the run dies, the dispatcher rings as soon as the lease is over.
    """
    slot.set(fence=slot.fence + 1, leased_until=now + engine.LEASE, leased_generation=slot.generation)
    slot.set(rung_at=None, rerings=0)


def release(slot: Slot) -> None:
    """The run has ended: what stands in the slot may run."""
    slot.set(starts=0, rerings=0, rung_at=None)
    if slot.leased_until is not None:
        slot.set(leased_until=None, leased_generation=None)


def retry_later(slot: Slot, now: datetime, error: str) -> timedelta:
    """Count a failed run. The retry comes with the same ring, since Celery sends the same message again."""
    delay = retry.retry_delay(slot.retry_count + 1)
    slot.set(retry_count=slot.retry_count + 1, due_at=now + delay, rung_at=now + delay, last_error=error)
    return delay


def die(slot: Slot, error: str) -> None:
    """The last allowed run failed: kept as a dead row, to be looked at and revived."""
    slot.set(state=DEAD, due_at=None, rung_at=None, last_error=error)


def mark_rung(slot: Slot, now: datetime) -> bool:
    """Mark that a wake-up goes out for this alarm; False when none is needed: not soon, leased, or one is out."""
    if slot.state != ARMED or slot.due_at is None or slot.due_at > now + engine.HORIZON or slot.is_leased(now):
        return False
    when = max(slot.due_at, now)
    if slot.rung_at is not None and slot.rung_at <= when and slot.is_out(now):
        return False
    slot.set(ring=slot.ring + 1, rung_at=when)
    return True


def take_over(conn: BaseDatabaseWrapper, slot: Slot, now: datetime) -> bool:
    """Fence the run whose lease is over. One conditional statement: False when its heartbeat was quicker."""
    with conn.cursor() as cursor:
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


def mark_all_rung(rows: Collection[Alarm], now: datetime) -> None:
    """Mark that the dispatcher rings for these rows, which it has locked.

    A wake-up that was sent before and counts as lost is sent again under the same number: it may only be waiting in a
    long queue, and with a new number it would be turned away each time it gets to the front.
    """
    for row in rows:
        if row.rung_at is None:
            row.ring += 1
        else:
            row.rerings += 1
        row.rung_at = max(row.due_at or now, now)
    Alarm.objects.using(engine.DATABASE).bulk_update(rows, ["ring", "rung_at", "rerings"])


def forget_all_rung(now: datetime) -> None:
    """Nothing is out any more and nobody runs: the only worker, with its broker, has just been started."""
    rows = Alarm.objects.using(engine.DATABASE)
    rows.filter(leased_until__gt=now).update(leased_until=now)
    rows.filter(rung_at__gt=now, due_at__gt=now).update(rung_at=None)
    rows.filter(rung_at__isnull=False, due_at__lte=now).update(rung_at=now - retry.LOST_AFTER_AT_MOST)


def give_back(conn: BaseDatabaseWrapper, object_id: int, fence: int) -> None:
    """A run that is put off gives its lease back, and its start is not counted. Needs no lock: the fence tells."""
    with conn.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_TABLE} SET leased_until = NULL, leased_generation = NULL, "
            "starts = CASE WHEN starts > 0 THEN starts - 1 ELSE 0 END "
            "WHERE object_id = %s AND fence = %s AND leased_until IS NOT NULL",
            [object_id, fence],
        )


def forget_ring(object_id: int, ring: int) -> None:
    """The wake-up could not be sent: let the dispatcher send another at its next pass."""
    rows = Alarm.objects.using(engine.DATABASE).filter(object_id=object_id, ring=ring)
    with transaction.atomic(using=engine.DATABASE):
        # One that somebody's transaction keeps is left alone: whoever set the alarm must not wait for that.
        if rows.select_for_update(skip_locked=True).values_list("pk").first():
            rows.update(rung_at=None)
