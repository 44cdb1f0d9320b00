"""One thread per process that keeps the leases of runs that have unlocked."""

from __future__ import annotations

import logging
import threading
import time

from django.db import Error

from durable_objects import alarms, clock
from durable_objects.conf import engine
from durable_objects.run import Run

logger = logging.getLogger(__name__)

_lock = threading.Condition()
_runs: dict[int, Run] = {}
_thread: threading.Thread | None = None


def keep(run: Run) -> None:
    """Renew the run's lease until ``drop``. With a ``FakeClock`` there is nothing to renew: its time stands still."""
    global _thread
    if clock.fake is not None or clock.connection().in_atomic_block:
        return
    with _lock:
        _runs[id(run)] = run
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_beat, name="durable-objects-heartbeat", daemon=True)
            _thread.start()
        _lock.notify()


def drop(run: Run) -> None:
    """The run has the lock again, or has ended."""
    with _lock:
        _runs.pop(id(run), None)


def _beat() -> None:
    while True:
        with _lock:
            # Idle for one lease: the thread ends, the next unlock starts another.
            if not _runs and not _lock.wait_for(lambda: bool(_runs), timeout=engine.LEASE.total_seconds()):
                global _thread
                _thread = None
                break
        time.sleep(engine.LEASE.total_seconds() / 3)
        with _lock:
            runs = list(_runs.values())
        for run in runs:
            _renew(run)
    clock.connection().close()


def _renew(run: Run) -> None:
    conn = clock.connection()
    try:
        if not alarms.renew(conn, run.object_id, run.fence):
            logger.warning("object %s: the run with fence %s has lost its lease", run.object_id, run.fence)
            drop(run)
    except Error as error:
        logger.warning("object %s: lease not renewed (%r), tried again", run.object_id, error)
        conn.close()
