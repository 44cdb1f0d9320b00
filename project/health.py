"""Whether alarms run in time: the one figure that tells a living system from one whose processes merely exist."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Min, Q

from durable_objects import now
from durable_objects.rows import Alarm

#: An alarm that is overdue by more than this is late: a lost wake-up is rung again within 10 s, a busy object waited
#: for a few seconds; what takes longer has nobody to run it.
LATE_AFTER = timedelta(seconds=30)


def figures() -> dict[str, Any]:
    """The state of all alarms by the database's clock, in one query besides the clock's.

    ``status`` is ``"ok"``, or ``"late"`` when the oldest overdue alarm is overdue by more than ``LATE_AFTER``. One
    whose run is under way (a living lease) is not overdue. ``armed``, ``overdue`` and ``dead`` count alarms,
    ``oldest_overdue_seconds`` is 0 when none is. Raises what the database raises.
    """
    moment = now()
    running = Q(leased_until__gt=moment)
    overdue = Q(state="armed", due_at__lte=moment) & ~running
    counted = Alarm.objects.filter(state__in=["armed", "dead"]).aggregate(
        armed=Count("pk", filter=Q(state="armed")),
        dead=Count("pk", filter=Q(state="dead")),
        overdue=Count("pk", filter=overdue),
        oldest=Min("due_at", filter=overdue),
    )
    oldest = counted.pop("oldest")
    lateness = moment - oldest if oldest else timedelta()
    return {
        "status": "late" if lateness > LATE_AFTER else "ok",
        **counted,
        "oldest_overdue_seconds": round(lateness.total_seconds(), 3),
        "late_after_seconds": LATE_AFTER.total_seconds(),
    }
