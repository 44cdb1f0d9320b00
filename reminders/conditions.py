"""Conditions that alerts may be made of and that need a memory: see ``durable_objects.conditions``."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from durable_objects.conditions import Found, Limits, condition
from durable_objects.operations.recent_errors import RecentError, dead_errors, recent_errors
from reminders.alerts.tables import AlertWatch, KnownError

#: How far back runs are looked at; what did not come for ``FORGOTTEN_AFTER`` is new when it comes again.
LOOKS_BACK, FORGOTTEN_AFTER = timedelta(hours=1), timedelta(days=30)


@condition("new_error", "An error is new", span=timedelta(hours=1), by_class=True)
def new_error(now: datetime, limits: Limits) -> Found | None:
    """Report the errors that came for the first time within the time; those that alarms had died of before the first
    look are known.
    """
    found = recent_errors(now, LOOKS_BACK)
    watch = AlertWatch.row()
    if watch.learned_at is None:
        _learn([*found, *dead_errors()], now, since=now - FORGOTTEN_AFTER)
        AlertWatch.objects.filter(pk=watch.pk, learned_at=None).update(learned_at=now)
    _learn(found, now, since=now)
    fresh = KnownError.objects.filter(first_seen_at__gt=now - limits.span, first_seen_at__lte=now)
    keys = {f"{row.kind_id}:{row.error_group}" for row in fresh}
    new = {each.key: str(each) for each in found if each.key in keys and limits.kind_id in {None, each.kind_id}}
    return Found("Errors that were not there before.", new) if new else None


def _learn(found: list[RecentError], now: datetime, since: datetime) -> None:
    """Store those that are not known, as first seen then."""
    KnownError.objects.filter(last_seen_at__lt=now - FORGOTTEN_AFTER).delete()
    KnownError.objects.bulk_create(
        [
            KnownError(kind_id=each.kind_id, error_group=each.error_group, first_seen_at=since, last_seen_at=now)
            for each in found
        ],
        batch_size=500,
        ignore_conflicts=True,
    )
    stale = KnownError.objects.filter(last_seen_at__lt=now - LOOKS_BACK)
    for start in range(0, len(found), 200):
        keys = Q()
        for each in found[start : start + 200]:
            keys |= Q(kind_id=each.kind_id, error_group=each.error_group)
        stale.filter(keys).update(last_seen_at=now)
