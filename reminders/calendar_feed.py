"""A person's reminders as a calendar (RFC 5545): what is to come, at the times at which it will be delivered.

A series is an event with its rule where the readers of calendars agree on that, from its next time on; what stands
elsewhere than the rule says is an event of its own: what is snoozed, and each time of a series that quiet hours hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import chain, islice
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, vDDDLists, vRecur

from durable_objects import now
from durable_objects.logs import get_logger
from durable_objects.recurrence.rrule import LAST_YEAR
from durable_objects.recurrence.rrule_parsing import WEEKDAYS, RRule
from durable_objects.recurrence.series import Place
from durable_objects.recurrence.wall_clock import comes_twice, in_gap
from durable_objects.recurrence.zones import find_zone
from reminders.quiet_hours import kinds_of_days
from reminders.tables import Plan, Recipient

#: Reminders in one feed, what comes next first.
AT_MOST = 1_000
#: Times listed for a series that readers would not understand as a rule; fewer where there are many series.
LISTED = 50
#: Events in one feed, and bytes of them.
EVENTS, SIZE = 2_000, 1_900_000
#: Characters of a message in an event.
TEXT = 2_000
#: Years from now for which a zone's clock changes are in the calendar; later events are in UTC.
YEARS = 30

logger = get_logger("reminders")

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_END = b"END:VCALENDAR\r\n"
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def calendar_of(recipient: Recipient) -> bytes:
    """Return the calendar of what is to come for this person, within bounds; its description says what was left out for
    them.

    A reminder that cannot be written (its rule is invalid by now) is left out and logged; the others come.
    """
    moment = now()
    latest = datetime(min(moment.year + YEARS, LAST_YEAR), 1, 1, tzinfo=UTC)
    plans = list(Plan.objects.of_person(recipient.name)[:AT_MOST])
    listed = _times_each(plans)
    events: list[Event] = []
    lines: list[bytes] = []
    size = included = 0
    for plan in plans:
        try:
            mine = list(islice(_events(plan, recipient, latest), listed))
            written = [event.to_ical() for event in mine]
        except Exception:
            logger.exception("reminder %r is left out of the calendar of %r", plan.object.name, recipient.name)
            written = mine = []
        size += sum(map(len, written))
        if size > SIZE or len(events) + len(mine) > EVENTS:
            break
        events, lines, included = events + mine, lines + written, included + 1
    calendar = _frame(recipient, _bounds(recipient, included, listed))
    for event in events:
        calendar.add_component(event)
    calendar.add_missing_timezones(moment.date() - timedelta(days=366), latest.date() + timedelta(days=366))
    calendar.subcomponents = [*calendar.timezones]  # the events are written already
    for observance in chain.from_iterable(zone.subcomponents for zone in calendar.subcomponents):
        _set_onsets(observance)
    return b"".join([calendar.to_ical().removesuffix(_END), *lines, _END])


def _set_onsets(observance: Any) -> None:
    """Set the onsets of an observance to local times by TZOFFSETFROM (RFC 5545, 3.6.5): icalendar gives those after a
    gap, 03:00 where the clocks are put forward at 02:00.
    """
    gap = observance.TZOFFSETTO - observance.TZOFFSETFROM
    if gap > timedelta(0):
        observance.DTSTART -= gap
        if later := observance.pop("RDATE", None):
            observance.add("RDATE", [onset.dt - gap for onset in later.dts])


def _times_each(plans: list[Plan]) -> int:
    """Return how many events a series may have so that all fit: two at least, for one that is put off."""
    series = sum(plan.recurrence is not None for plan in plans)
    return max(2, min(LISTED, 1 + (EVENTS - len(plans)) // max(series, 1)))


def _bounds(recipient: Recipient, included: int, listed: int) -> str:
    """Describe what is not in the feed because it would be too long; empty where all is."""
    count = Plan.objects.of_person(recipient.name).count()
    missing = [f"Only the next {included} of {count} reminders are here."] if included < count else []
    fewer = (
        [f"Of series that calendars cannot show as a rule, only the next {listed} times are here."]
        if listed < LISTED
        else []
    )
    return " ".join(missing + fewer)


def _frame(recipient: Recipient, bounds: str) -> Calendar:
    calendar = Calendar()
    calendar.add("prodid", "-//Durable Objects with alarms//Reminders//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", _plain(f"Reminders of {recipient.name}"))
    if bounds:
        calendar.add("x-wr-caldesc", bounds)
    return calendar


def _events(plan: Plan, recipient: Recipient, latest: datetime) -> Iterator[Event]:
    """Yield its events in order; without an end where a series is listed time by time."""
    delivered = _as_planned if plan.urgent else recipient.undisturbed
    at = delivered(plan.next_at)
    if plan.recurrence is None:
        yield _event(plan, _local(plan, at, latest))
        return
    start: Place | None = plan.place
    if plan.put_off or at != plan.next_at:
        yield _event(plan, _local(plan, at, latest), apart=plan.place)
        start = plan.following(at)
    series, rule = plan.series, RRule.parse(plan.recurrence, on_record=True)
    while start is not None and not _is_on_the_clock(start, plan.zone):
        at = delivered(start.at)
        yield _event(plan, _local(plan, at, latest), apart=start)
        start = series.following(start, at)
    if start is None:
        return
    left_out = _left_out(rule, start, plan.zone)
    is_rule = isinstance(plan.zone, ZoneInfo) and start.at < latest and _is_clear(rule, left_out)
    if is_rule and (plan.urgent or not _is_held(plan, recipient)):
        yield _series(plan, rule, start, left_out)
    else:
        for place, at in _deliveries(chain([start], series.places(start)), delivered):
            yield _event(plan, _local(plan, at, latest), apart=place)


def _as_planned(moment: datetime) -> datetime:
    return moment


def _deliveries(places: Iterator[Place], delivered: Callable[[datetime], datetime]) -> Iterator[tuple[Place, datetime]]:
    """Yield the places that are delivered, each with its moment: one that is held takes those before it along."""
    last: datetime | None = None
    for place in places:
        if last is None or place.at > last:
            last = delivered(place.at)
            yield place, last


def _is_held(plan: Plan, recipient: Recipient) -> bool:
    """Return whether quiet hours may hold a time of the series, on any day of a year."""
    zone = find_zone(recipient.time_zone)
    if not recipient.quiet_hours or zone is None or not isinstance(plan.zone, ZoneInfo):
        return False
    days = kinds_of_days(plan.zone, zone, plan.next_at.year)
    times = (
        datetime.combine(day, time(minute // 60, minute % 60), tzinfo=plan.zone).astimezone(UTC)
        for minute in plan.series.minutes_of_days()
        for day in days
    )
    return any(recipient.undisturbed(at) != at for at in times)


def _event(plan: Plan, start: datetime, apart: Place | None = None) -> Event:
    """Return one event; ``apart`` is the place that it is of, where the series has other events."""
    event = Event()
    event.add("uid", f"{plan.series_id}-{apart.at:%Y%m%dT%H%M%SZ}" if apart else str(plan.series_id))
    message = _plain(_cut(plan.message.strip()))
    event.add("summary", message.splitlines()[0][:200] if message else _plain(plan.object.name))
    flaws = _cut("\n\n".join(plan.flaws))
    event.add("description", "\n\n".join([_plain(_cut(plan.message)), *([flaws] if flaws else [])]))
    event.add("dtstamp", now().replace(microsecond=0))
    event.add("dtstart", start.replace(microsecond=0))
    event.add("duration", timedelta(0))
    event.add("sequence", plan.revision)
    return event


def _series(plan: Plan, rule: RRule, start: Place, left_out: list[datetime]) -> Event:
    """Return the event of a series from this place on. The place is one of the rule's times: readers count DTSTART as
    one.
    """
    wall_time = datetime.fromisoformat(start.wall_time).replace(microsecond=0, tzinfo=plan.zone)
    event = _event(plan, wall_time)
    parts = dict(part.split("=") for part in rule.line.split(";"))
    if rule.count is not None:
        parts["COUNT"] = str(rule.count - start.number + 1)
    if rule.parts.weeks and not (rule.parts.weekdays or rule.parts.month_days or rule.parts.year_days):
        parts["BYDAY"] = WEEKDAYS[wall_time.weekday()]
    event.add("rrule", vRecur.from_ical(";".join(f"{name}={text}" for name, text in parts.items())))
    if left_out:
        event.add("exdate", vDDDLists(left_out))
    return event


def _left_out(rule: RRule, start: Place, zone: tzinfo) -> list[datetime]:
    """Return what is left out of the series from this place on; not what names a time at which it never comes."""
    named = [*(each.replace(tzinfo=zone) for each in rule.wall_times_left_out), *rule.moments_left_out]
    ahead = sorted(each.astimezone(zone) for each in named if each >= start.at.replace(microsecond=0))
    of_day = datetime.fromisoformat(start.wall_time).replace(microsecond=0).time()
    return ahead if _is_often(rule) else [each for each in ahead if each.time() == of_day]


def _is_often(rule: RRule) -> bool:
    """Return whether it comes at more than one time of a day."""
    return rule.parts.frequency == "HOURLY" or len(rule.parts.hours) > 1 or len(rule.parts.minutes) > 1


def _is_clear(rule: RRule, left_out: list[datetime]) -> bool:
    """Return whether all readers understand the rule in the same way.

    Some count the positions of a first week from DTSTART on, take weekdays with a number and without one (2MO,FR) for
    both at once, fail at the sixth Monday of a month, or leave out another time of the day than the one that is named.
    """
    parts = rule.parts
    is_in_month = parts.frequency == "MONTHLY" or parts.months
    is_beyond = is_in_month and any(abs(number) > 5 for number, _ in parts.weekdays)
    of_a_week = parts.positions and parts.frequency == "WEEKLY"
    is_mixed = len({number != 0 for number, _ in parts.weekdays}) > 1
    return not (of_a_week or is_mixed or is_beyond or (_is_often(rule) and left_out))


def _is_on_the_clock(place: Place, zone: tzinfo) -> bool:
    """Return whether its wall time, as readers understand it, is its moment."""
    wall_time = datetime.fromisoformat(place.wall_time).replace(tzinfo=zone)
    return not in_gap(wall_time) and wall_time.astimezone(UTC) == place.at


def _local(plan: Plan, moment: datetime, latest: datetime) -> datetime:
    """Return a moment on the clock of the reminder, where that says which one it is; else in UTC."""
    local = moment.astimezone(plan.zone)
    is_clear = isinstance(plan.zone, ZoneInfo) and moment < latest and not (local.fold and comes_twice(local))
    return local if is_clear else moment.astimezone(UTC)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"


def _plain(text: str) -> str:
    """Return the text without what RFC 5545 forbids, with line ends that all readers know."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _LINE_ENDS.sub("\n", text))
