"""What an update of tzdata does to reminders: finds those whose moment has changed, and renames zones."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime

from django.db.models import Q

from durable_objects.models import as_handle
from durable_objects.recurrence.zones import find_zone
from reminders.models import Reminder
from reminders.recurrence import check_zone
from reminders.tables import Plan, Recipient

#: Rows that are read in one query.
PAGE = 2_000


def astray(moment: datetime) -> Iterator[Plan | None]:
    """Yield all that is set for after this moment, in the order of its making: a plan (with its reminder as ``object``)
    whose wall time is another moment by the zones that this machine has now, None for each other.
    """
    find = functools.cache(Recipient.find)
    rows = Plan.objects.filter(state=Plan.State.SET, next_at__gt=moment).order_by("pk")
    columns, last = rows.values_list("pk", "time_zone", "wall_time", "occurrence", "put_off"), 0
    while page := list(columns.filter(pk__gt=last)[:PAGE]):
        suspects = [row[0] for row in page if row[4] == Plan.QUIET or not _is_plain(*row[1:4])]
        plans = Plan.objects.select_related("object").in_bulk(suspects)
        for pk, *_ in page:
            plan = plans.get(pk)
            yield plan if plan is not None and plan.is_astray(moment, find) else None
        last = page[-1][0]


def _is_plain(time_zone: str, wall_time: str, occurrence: datetime) -> bool:
    """Return whether a row needs no closer look: its wall time is its moment, or its zone is not known."""
    zone = find_zone(time_zone)
    return zone is None or datetime.fromisoformat(wall_time).replace(tzinfo=zone).astimezone(UTC) == occurrence


def without_zone() -> Iterator[Plan]:
    """Yield what is set in a zone that is gone, or has one in its EXDATE lines."""
    rows = Plan.objects.filter(state=Plan.State.SET)
    gone = [name for name in rows.order_by().values_list("time_zone", flat=True).distinct() if find_zone(name) is None]
    suspects = rows.filter(Q(time_zone__in=gone) | Q(recurrence__icontains="TZID="))
    for plan in suspects.select_related("object").order_by("pk").iterator(PAGE):
        if plan.flaws:
            yield plan


def rename(old: str, new: str) -> tuple[int, int]:
    """Give another zone to all reminders that are set in one, and to its recipients; return how many of each.

    Raises ``InvalidInput`` where the new one is unknown.
    """
    check_zone(new)
    reminders, last = 0, 0
    rows = Plan.objects.filter(state=Plan.State.SET, time_zone=old).select_related("object").order_by("pk")
    while page := list(rows.filter(pk__gt=last)[:PAGE]):
        for plan in page:
            handle = as_handle(plan.object)
            if isinstance(handle, Reminder):
                handle.edit_reminder(time_zone=new)
                reminders += 1
        last = page[-1].pk
    return reminders, Recipient.objects.filter(time_zone=old).update(time_zone=new)
