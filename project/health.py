"""The figures behind ``/health``: whether alarms run in time."""

from __future__ import annotations

from typing import Any

from durable_objects import doctor, now
from durable_objects.operations.metrics import counts


def figures() -> dict[str, Any]:
    """Return the state of all alarms by the database's clock, in a few small reads however many there are.

    ``status`` is ``"ok"``, or ``"late"`` when the oldest overdue alarm is overdue by more than ``doctor.LATE_AFTER``;
    then ``cause`` says why, as the doctor does. One whose run is under way (a lease in force) is not overdue.
    ``armed``, ``overdue``, ``dead`` and ``parked`` count alarms to 10,000 each, ``oldest_overdue_seconds`` is 0 when
    none is. Those of a class that this process does not know are parked, and not late.
    Raises what the database raises.
    """
    moment = now()
    late = doctor.late(moment)
    counted = counts(moment, ["armed", "dead", "due", "parked"])
    return {
        "status": "late" if late.cause else "ok",
        "cause": late.cause,
        "armed": counted["armed"],
        "dead": counted["dead"],
        "overdue": counted["due"],
        "parked": counted["parked"],
        "oldest_overdue_seconds": round(late.by.total_seconds(), 3),
        "late_after_seconds": doctor.LATE_AFTER.total_seconds(),
    }
