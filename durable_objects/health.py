"""Whether alarms run in time, and whether this process can serve: what probes and monitoring ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.migrations.executor import MigrationExecutor

from durable_objects import doctor
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.database.connection import SECONDS_TO_ANSWER, answered
from durable_objects.database.messages import lacks_tables, message_for
from durable_objects.errors import ObjectBusy
from durable_objects.logs import get_logger
from durable_objects.operations.metrics import counts

logger = get_logger(__name__)

#: Whether every migration was applied when this process last looked: its code knows no more of them later.
_migrated = False


def report() -> dict[str, Any]:
    """Return the state of all alarms by the database's clock, in a few small reads however many there are.

    ``status`` is ``"ok"``; ``"late"`` when the oldest overdue alarm is overdue by more than ``doctor.LATE_AFTER``, and
    then ``cause`` says why, as the doctor does; or, without figures, ``"database_away"``, ``"not_migrated"`` or
    ``"misconfigured"``, of which ``cause`` says what the setting has to be. An alarm whose run is under way (a lease in
    force) is not overdue. ``armed``, ``overdue``, ``dead``, ``parked`` and ``paused`` count alarms to 10,000 each,
    ``oldest_overdue_seconds`` is 0 when none is. Those of a class that this process does not know are parked; neither
    these nor paused ones are late. Names no object and no host.
    """
    return _asked(_report)


def _report() -> dict[str, Any]:
    moment = clock.now()
    late = doctor.late(moment)
    counted = counts(moment, ["armed", "dead", "due", "parked", "paused"])
    return {
        "status": "late" if late.cause else "ok",
        "cause": late.cause,
        "armed": counted["armed"],
        "dead": counted["dead"],
        "overdue": counted["due"],
        "parked": counted["parked"],
        "paused": counted["paused"],
        "oldest_overdue_seconds": round(late.by.total_seconds(), 3),
        "late_after_seconds": doctor.LATE_AFTER.total_seconds(),
    }


def readiness() -> dict[str, Any]:
    """Return whether this process can serve: ``status`` is ``"ok"``, ``"migrations_missing"``, ``"read_only"`` (a
    standby of PostgreSQL), ``"database_away"`` or ``"misconfigured"``, and then ``cause`` says what the setting has to
    be.

    The migrations are those of all installed apps, in the engine's database; once they are all applied they are not
    looked at again. Late alarms do not count: sending requests to another process would make none of them run.
    """
    return _asked(_readiness)


def _readiness() -> dict[str, Any]:
    global _migrated
    conn = clock.connection()
    with conn.cursor() as cursor:
        cursor.execute("SELECT 1")
    if backend_of(conn).is_read_only():
        return {"status": "read_only"}
    if not _migrated:
        executor = MigrationExecutor(conn)
        _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return {"status": "ok" if _migrated else "migrations_missing"}


def _asked(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``read`` answers, or why it cannot, within a few seconds."""
    try:
        return answered(read, SECONDS_TO_ANSWER)
    except ImproperlyConfigured as error:
        logger.error("asked for health: %s", error)
        return {"status": "misconfigured", "cause": str(error)}
    except (Error, ObjectBusy) as error:
        logger.warning("asked for health: %s", message_for(error) if isinstance(error, Error) else error)
        unmigrated = isinstance(error, Error) and lacks_tables(error)
        return {"status": "not_migrated" if unmigrated else "database_away"}
