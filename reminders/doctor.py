"""What ``manage.py alarms doctor`` checks about reminders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef

from durable_objects.doctor import Finding, question
from durable_objects.models import as_handle
from durable_objects.recurrence.zones import find_zone
from durable_objects.validation import show
from reminders import zone_changes
from reminders.models import Delivery, Plan, Recipient, Reminder

#: How long deliveries that were given up are reported, and among how many of the newest.
LATELY, NEWEST = timedelta(days=7), 10_000


@question
def moments_that_moved(now: datetime) -> Iterator[Finding]:
    """Report wall times on record that are another moment by this machine's time zones: they were updated since."""
    looked_at, found = 0, 0
    example: Plan | None = None
    for plan in zone_changes.astray(now):
        looked_at += 1
        if plan is not None:
            found, example = found + 1, example or plan
    if example is not None:
        text = (
            f"Reminders that are due at another moment by this machine's time zones: {found:,} of {looked_at:,}, "
            f"one is {show(example.object.name)}."
        )
        advice = "Restart the workers, then move them: --fix, or `manage.py reminders recompute`."
        yield Finding("reminders.moved", text, advice, fix=lambda: f"moved {recompute(now)} reminders")


@question
def zones_that_are_gone(now: datetime) -> Iterator[Finding]:
    """Report zones on record that are not known here: what goes by them is delivered by the last known offset."""
    example = next(zone_changes.without_zone(), None)
    if example is not None:
        number = sum(1 for _ in zone_changes.without_zone())
        text = f"Reminders in a time zone that is not known here: {number:,}, one is {show(example.object.name)}. "
        text += example.flaws[0]
        yield Finding(
            "reminders.zones",
            text,
            "Update tzdata here, or give them another zone (`reminders recompute --rename OLD NEW`).",
        )
    people = [row for row in Recipient.objects.order_by("pk").iterator() if find_zone(row.time_zone) is None]
    if people:
        text = (
            f"Recipients in a time zone that is not known here: {len(people):,}, one is {show(people[0].name)} in "
            f"{show(people[0].time_zone)}."
        )
        advice = "Give them another zone, on their page in admin; until then their quiet hours have no effect."
        yield Finding("reminders.recipient_zones", text, advice)


@question
def deliveries_given_up(now: datetime) -> Iterator[Finding]:
    """Report deliveries that were refused for good, or failed at each try while the series went on: no alarm is dead
    of them. One that failed last of all has a dead alarm, which is reported as such.
    """
    last = Delivery.objects.order_by("-id").values_list("id", flat=True).first() or 0
    rows = Delivery.objects.filter(id__gt=last - NEWEST, planned_at__gt=now - LATELY)
    is_tried = Plan.objects.filter(object=OuterRef("reminder"), state=Plan.State.SET, occurrence=OuterRef("occurrence"))
    refused = rows.filter(status=Delivery.Status.REFUSED)
    failed = rows.filter(status=Delivery.Status.FAILED).exclude(Exists(is_tried))
    newest = (refused | failed).select_related("reminder").order_by("-id").first()
    if newest is not None:
        text = (
            f"Deliveries of reminders given up in the last {LATELY.days} days: {refused.count()} refused, "
            f"{failed.count()} failed, the newest of {show(newest.reminder.name)} by {newest.channel}."
        )
        advice = "`manage.py reminders show NAME`, or Deliveries in admin, say why."
        yield Finding("reminders.given_up", text, advice, is_trouble=False)


def recompute(now: datetime) -> int:
    """Move all reminders that are astray; return how many."""
    moved = 0
    for plan in zone_changes.astray(now):
        handle = as_handle(plan.object) if plan is not None else None
        if isinstance(handle, Reminder) and handle.recompute() is not None:
            moved += 1
    return moved
