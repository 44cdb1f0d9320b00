"""Leases of runs that have unlocked: the statements that take over, renew and give back, and the heartbeat.

The heartbeat is one thread per process, which renews the leases of the runs that are unlocked.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms.run import Run
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import clock, round_trip, supported
from durable_objects.database.backends import backend_of
from durable_objects.database.errors import own_statements
from durable_objects.logs import about, get_logger
from durable_objects.tables import Alarm

logger = get_logger(__name__)

_TABLE = Alarm._meta.db_table


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
    """Renew the lease of the run with this fence; False when it is no longer that run's."""
    until = clock.to_database(conn, clock.now() + engine.LEASE)
    with conn.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_TABLE} SET leased_until = %s WHERE object_id = %s AND fence = %s AND leased_until IS NOT NULL",
            [until, object_id, fence],
        )
        return bool(cursor.rowcount == 1)


def give_back(conn: BaseDatabaseWrapper, object_id: int, fence: int) -> None:
    """End the lease of a run that is put off, and do not count its start. Needs no lock: the fence is compared."""
    sql = (
        f"UPDATE {_TABLE} SET leased_until = NULL, leased_generation = NULL, "
        "crashed_starts = CASE WHEN crashed_starts > 0 THEN crashed_starts - 1 ELSE 0 END "
        "WHERE object_id = %s AND fence = %s AND leased_until IS NOT NULL"
    )
    round_trip.send(conn, [(sql, [object_id, fence])])


@dataclass(slots=True)
class _Kept:
    run: Run
    renew_at: float


_lock = threading.Condition()
_kept: dict[int, _Kept] = {}
_thread: threading.Thread | None = None


def keep(run: Run) -> None:
    """Renew the run's lease until ``drop``. Does nothing with a ``FakeClock``, whose time stands still."""
    global _thread
    if clock.fake is not None or clock.connection().in_atomic_block:
        return
    with _lock:
        _kept[id(run)] = _Kept(run, clock.monotonic() + _pause())
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_beat, name="durable-objects-heartbeat", daemon=True)
            _thread.start()
        _lock.notify()


def drop(run: Run) -> None:
    """Stop renewing: the run has the lock again, or has ended."""
    with _lock:
        _kept.pop(id(run), None)


def _pause() -> float:
    return float(engine.LEASE.total_seconds() / 3)


def _beat() -> None:
    while (runs := _wait_for_due()) is not None:
        with contextlib.suppress(Exception):  # the first renewal reports it
            supported.leave_pool(clock.connection())
        for run in runs:
            _renew(run)
        with contextlib.suppress(Exception):
            clock.connection().close()  # it would be idle for a third of a lease


def _wait_for_due() -> list[Run] | None:
    """Wait for, and return, the runs whose leases are to be renewed now.

    None after an idle time of ``LEASE``: the thread ends, and the next unlock starts another one.
    """
    global _thread
    idle_since = clock.monotonic()
    with _lock:
        while True:
            now = clock.monotonic()
            if not _kept:
                patience = idle_since + engine.LEASE.total_seconds() - now
                if patience <= 0:
                    _thread = None
                    return None
                _lock.wait(patience)
                continue
            idle_since = now
            due = [kept for kept in _kept.values() if kept.renew_at <= now]
            for kept in due:
                kept.renew_at = now + _pause()
            if due:
                return [kept.run for kept in due]
            _lock.wait(min(kept.renew_at for kept in _kept.values()) - now)


def _renew(run: Run) -> None:
    conn = clock.connection()
    try:
        with transaction.atomic(using=conn.alias):
            # A slot that another long transaction has locked must not cost the other runs their leases.
            round_trip.send(conn, backend_of(conn).limit_lock_wait(engine.LEASE / 20))
            renewed = renew(conn, run.object_id, run.fence)
        if not renewed:
            extra = about("lease_lost", object_id=run.object_id)
            logger.warning("object %s: the run with fence %s has lost its lease", run.object_id, run.fence, extra=extra)
            drop(run)
    except Exception as error:  # noqa: BLE001  whatever it was, the other runs' leases have to be renewed
        logger.warning("object %s: lease not renewed (%r), tried again", run.object_id, error)
        with contextlib.suppress(Exception):
            conn.close()
