"""What a reminder may be set to: checks each argument of ``set_reminder``, and makes the fields of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from durable_objects import InvalidAlarmTime, InvalidValue, check_alarm_time, now
from durable_objects.recurrence.rrule import LAST_YEAR
from durable_objects.recurrence.series import Place
from durable_objects.recurrence.zones import find_zone
from durable_objects.validation import refusal, show, text_flaw
from reminders import channels
from reminders.conf import defaults
from reminders.recurrence import Series, check_year, check_zone
from reminders.tables import Plan, Recipient

ARGUMENTS = ("message", "fire_at", "recurrence", "time_zone", "channels", "person", "urgent", "skip_if_late")
#: What determines the times of a series: when none of it changes, an edit leaves the place where it is.
SCHEDULE = ("fire_at", "recurrence", "time_zone")
LONGEST_MESSAGE = 100_000
LONGEST_PERSON = 200
LONGEST_SPAN = timedelta(days=3650)
TIME_ALLOWED = (
    f"a time with its offset from UTC, after 1970 and up to the year {LAST_YEAR}, such as 2030-01-31T09:00:00+01:00"
)


def checked(given: Mapping[str, Any], kept: tzinfo | None = None) -> dict[str, Any]:
    """Return the fields of a plan for these arguments of ``set_reminder``. Raises ``InvalidInput`` for the first that
    is refused, naming it and what is allowed. ``kept`` is the zone's clock where the zone stays as it is.
    """
    person = _person(given["person"])
    zone = given["time_zone"]
    if zone is None:
        zone = Recipient.find(person).time_zone
    clocks = kept or check_zone(zone)
    fire_at = _fire_at(given["fire_at"])
    if type(given["urgent"]) is not bool:
        raise refusal(f"urgent is {show(given['urgent'])}", "True or False")
    if given["skip_if_late"] is not None:
        check_span("skip_if_late", given["skip_if_late"])
    return {
        "message": _message(given["message"]),
        "fire_at": fire_at,
        "start_wall_time": fire_at.astimezone(clocks).replace(tzinfo=None).isoformat(),
        "recurrence": given["recurrence"],
        "time_zone": zone,
        "channels": channels.check(defaults.CHANNELS if given["channels"] is None else given["channels"]),
        "person": person,
        "urgent": given["urgent"],
        "skip_if_late": given["skip_if_late"],
    }


def edited(plan: Plan, changes: Mapping[str, Any]) -> tuple[dict[str, Any], Place | None]:
    """Return the fields of a plan with these changes, and its new place if its times are changed.

    In another zone it keeps its moment; the wall time, where the zone that it had is gone.
    """
    before = {**{name: getattr(plan, name) for name in ARGUMENTS}, "fire_at": plan.starts_at}
    given = {**before, **changes}
    kept = plan.zone if given["time_zone"] == plan.time_zone else None
    zone = find_zone(given["time_zone"])
    if zone is not None and "fire_at" not in changes and find_zone(plan.time_zone) is None:
        given["fire_at"] = plan.starts_at.replace(tzinfo=zone)
    fields = checked(given, kept)
    moved = any(fields[name] != before[name] for name in SCHEDULE)
    return fields, opening(fields, now()) if moved else None


def opening(fields: Mapping[str, Any], after: datetime | None = None) -> Place:
    """Return the first place of the series that these fields make (after this moment). Raises ``InvalidInput`` for
    none.
    """
    series = Series(fields["fire_at"], fields["recurrence"], fields["time_zone"])
    first = series.opening()
    if first is not None and after is not None and fields["recurrence"] and first.at <= after:
        first = series.following(first, after)
    if first is None:
        rule = show(fields["recurrence"])
        since = after or fields["fire_at"]
        raise refusal(f"recurrence is {rule}, which never occurs from {since} on", "a rule that does")
    return first


def check_span(name: str, value: object) -> None:
    """Raise ``InvalidInput`` for this argument unless it is a duration that a reminder can be put off by."""
    if not isinstance(value, timedelta) or not timedelta(0) < value <= LONGEST_SPAN:
        shown = f"{value.total_seconds():,.15g} s" if isinstance(value, timedelta) else show(value)
        raise refusal(f"{name} is {shown}", f"a duration above 0, up to {LONGEST_SPAN.days} days")


def _message(text: Any) -> str:
    allowed = f"up to {LONGEST_MESSAGE:,} characters of text"
    if type(text) is not str:
        raise refusal(f"message is {show(text)}", allowed, InvalidValue)
    flaw = f"has {len(text):,} characters" if len(text) > LONGEST_MESSAGE else text_flaw(text)
    if flaw:
        raise refusal(f"message is {show(text)}, which {flaw}", allowed, InvalidValue)
    return text


def _fire_at(moment: Any) -> datetime:
    try:
        check_alarm_time(moment)
        if isinstance(moment, datetime):
            check_year(moment)
            return moment
    except InvalidAlarmTime:
        pass  # refused below, in the words of reminders
    shown = moment.isoformat() if type(moment) is datetime else show(moment)
    raise refusal(f"fire_at is {shown}", TIME_ALLOWED, InvalidAlarmTime)


def _person(name: Any) -> str:
    if name is None:
        return ""
    if type(name) is not str or len(name) > LONGEST_PERSON or text_flaw(name):
        raise refusal(f"person is {show(name)}", f"text of up to {LONGEST_PERSON} characters")
    return name
