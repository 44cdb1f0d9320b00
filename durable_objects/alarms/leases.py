"""One thread per process that keeps the leases of runs that have unlocked."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from django.db import transaction

from durable_objects.alarms import sql as alarm_sql
from durable_objects.alarms.run import Run
from durable_objects.conf import engine
from durable_objects.database import clock, supported
from durable_objects.logs import get_logger

logger = get_logger(__name__)


@dataclass(slots=True)
class _Kept:
    run: Run
    renew_at: float


_lock = threading.Condition()
_kept: dict[int, _Kept] = {}
_thread: threading.Thread | None = None


def keep(run: Run) -> None:
    """Renew the run's lease until ``drop``. With a ``FakeClock`` there is nothing to renew: its time stands still."""
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
    """The run has the lock again, or has ended."""
    with _lock:
        _kept.pop(id(run), None)


def _pause() -> float:
    return float(engine.LEASE.total_seconds() / 3)


def _beat() -> None:
    while (runs := _wait_for_due()) is not None:
        with contextlib.suppress(Exception):  # told by the first renewal
            supported.leave_pool(clock.connection())
        for run in runs:
            _renew(run)
        with contextlib.suppress(Exception):
            clock.connection().close()  # it would lie idle for a third of a lease


def _wait_for_due() -> list[Run] | None:
    """The runs whose leases are to be renewed now; None after one idle lease: the next unlock starts another thread."""
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
            if conn.vendor == "postgresql":
                # A slot that somebody's long transaction keeps must not cost the other runs their leases.
                with conn.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = {int(engine.LEASE.total_seconds() * 50)}")
            renewed = alarm_sql.renew(conn, run.object_id, run.fence)
        if not renewed:
            logger.warning("object %s: the run with fence %s has lost its lease", run.object_id, run.fence)
            drop(run)
    except Exception as error:  # noqa: BLE001  whatever it was, the other runs' leases are to be renewed
        logger.warning("object %s: lease not renewed (%r), tried again", run.object_id, error)
        with contextlib.suppress(Exception):
            conn.close()
