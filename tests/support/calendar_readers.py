"""Two readers of calendars, to hold the feed against: each gives the moments of all events up to an end, in order.

``by_library`` is recurring-ical-events, on dateutil's rules; ``by_rfc`` reads the lines by itself and follows rules by
the tests' second reading of RFC 5545. They share no line.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import recurring_ical_events
from icalendar import Calendar

from tests.support import recurrence_by_counting


def by_library(feed: bytes, end: datetime) -> list[datetime]:
    """As recurring-ical-events has them."""
    events = recurring_ical_events.of(Calendar.from_ical(feed)).between(
        datetime(2020, 1, 1, tzinfo=UTC), end + timedelta(seconds=1)
    )
    moments = {event["DTSTART"].dt.astimezone(UTC) for event in events}
    return sorted(moment for moment in moments if moment <= end)


def by_rfc(feed: bytes, end: datetime) -> list[datetime]:
    """As the lines say by RFC 5545."""
    lines = re.sub("\r\n[ \t]", "", feed.decode()).split("\r\n")
    assert not any(re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]", line) for line in lines)
    found: set[datetime] = set()
    event: dict[str, str] = {}
    for line in lines:
        if line == "BEGIN:VEVENT":
            event = {}
        elif line == "END:VEVENT":
            found |= _moments(event, end)
        else:
            name, _, value = line.partition(":")
            event[name.partition(";")[0]] = f"{name.partition('TZID=')[2]}:{value}"
    return sorted(moment for moment in found if moment <= end)


def _moments(event: dict[str, str], end: datetime) -> set[datetime]:
    zone, _, text = event["DTSTART"].partition(":")
    (start,) = _times(zone, text)
    rule = event.get("RRULE", ":").partition(":")[2]
    if not rule:
        return {start.astimezone(UTC)}
    parts = [part for part in rule.split(";") if not part.startswith("UNTIL=")]
    (until,) = _times("", re.findall(r"UNTIL=(\w+)", rule)[0]) if "UNTIL=" in rule else [end]
    wall_times = recurrence_by_counting.times(
        ";".join(parts), start.replace(tzinfo=None), end.astimezone(start.tzinfo).replace(tzinfo=None)
    )
    moments = {wall_time.replace(tzinfo=start.tzinfo).astimezone(UTC) for wall_time in wall_times}
    left_zone, _, left_out = event.get("EXDATE", ":").partition(":")
    gone = {moment.astimezone(UTC) for moment in _times(left_zone, left_out)} if left_out else set()
    return {moment for moment in moments - gone if moment <= until}


def _times(zone: str, texts: str) -> list[datetime]:
    found = []
    for text in texts.split(","):
        wall_time = datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S")  # noqa: DTZ007  its zone follows
        found.append(wall_time.replace(tzinfo=UTC if text.endswith("Z") else ZoneInfo(zone)))
    return found
