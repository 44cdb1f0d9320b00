"""What an update of the time zones does to reminders that are ahead: whose moment is another one since."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime

from django.db.models import Q

from reminders.rows import Plan, Recipient
from reminders.rules import find_zone

#: Rows that are read at once.
PAGE = 2_000


def ahead(moment: datetime) -> Iterator[Plan]:
    """What is set and comes after this moment, in the order of its making, each with its reminder as ``object``."""
    rows = Plan.objects.filter(state=Plan.State.SET, next_at__gt=moment).select_related("object").order_by("pk")
    last = 0
    while page := list(rows.filter(pk__gt=last)[:PAGE]):
        yield from page
        last = page[-1].pk


def astray(moment: datetime) -> Iterator[tuple[Plan, bool]]:
    """All that is ahead, each with whether its wall time is another moment by the zones that this machine has now."""
    find = functools.cache(Recipient.find)
    for plan in ahead(moment):
        yield plan, plan.is_astray(moment, find)


def without_zone() -> Iterator[Plan]:
    """What is set and goes by a zone that is gone, or has one in its EXDATE lines."""
    rows = Plan.objects.filter(state=Plan.State.SET)
    gone = [name for name in rows.order_by().values_list("time_zone", flat=True).distinct() if find_zone(name) is None]
    suspects = rows.filter(Q(time_zone__in=gone) | Q(recurrence__icontains="TZID="))
    for plan in suspects.select_related("object").order_by("pk").iterator(PAGE):
        if plan.flaws:
            yield plan
