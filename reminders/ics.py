"""A person's reminders as a calendar (RFC 5545): one event each, with its rule, what is left out, and its zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, vDDDLists, vRecur

from durable_objects import InvalidInput
from durable_objects.logs import get_logger
from reminders.rows import Plan, Recipient
from reminders.rules import Rule

#: Reminders in one feed, what comes next first.
AT_MOST = 1_000

logger = get_logger("reminders")


def calendar_of(recipient: Recipient) -> bytes:
    """The calendar of what is set for this person. A one-off that was put off stands where it will be delivered.

    One that cannot be told (its rule or its zone is none any more) is left out and logged; the others come.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//Durable Objects with alarms//Reminders//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", f"Reminders of {recipient.name}")
    for plan in Plan.objects.of_person(recipient.name)[:AT_MOST]:
        try:
            calendar.add_component(_event(plan))
        except (InvalidInput, LookupError, ValueError, OverflowError):
            logger.exception("reminder %r is left out of the calendar of %r", plan.object.name, recipient.name)
    calendar.add_missing_timezones()
    ical: bytes = calendar.to_ical()
    return ical


def _event(plan: Plan) -> Event:
    zone = ZoneInfo(plan.time_zone)
    # A series begins with a time of its own: readers take DTSTART for one, whether the rule has it or not.
    start = plan.series.first_wall() if plan.recurrence else plan.next_at.astimezone(zone)
    if start is None:
        raise InvalidInput(f"recurrence {plan.recurrence!r} has no time from {plan.fire_at} on.")
    event = Event()
    event.add("uid", str(plan.series_id))
    event.add("summary", plan.message.strip().splitlines()[0][:200] if plan.message.strip() else plan.object.name)
    event.add("description", plan.message)
    event.add("dtstamp", plan.fire_at)
    event.add("dtstart", start.replace(microsecond=0))
    event.add("duration", timedelta(0))
    event.add("sequence", plan.revision)
    if plan.recurrence:
        rule = Rule.parse(plan.recurrence)
        event.add("rrule", vRecur.from_ical(rule.line))
        if left_out := _left_out(rule, zone):
            event.add("exdate", vDDDLists(left_out))
    return event


def _left_out(rule: Rule, zone: ZoneInfo) -> list[datetime]:
    walls = [wall.replace(tzinfo=zone) for wall in rule.walls_left_out]
    return sorted([*walls, *(moment.astimezone(zone) for moment in rule.moments_left_out)])
