"""What a reminder may be set to: checks each argument of ``set_reminder``, and makes the fields of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from durable_objects import InvalidAlarmTime, InvalidInput, InvalidValue, check_alarm_time
from durable_objects.validation import show, text_flaw
from reminders import channels
from reminders.conf import defaults
from reminders.errors import refusal
from reminders.recurrence import Place, Series, check_year
from reminders.tables import Recipient
from reminders.time_zones import check_zone

LONGEST_MESSAGE = 100_000
LONGEST_PERSON = 200
LONGEST_SPAN = timedelta(days=3650)


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
    if given["skip_if_late"] is not None and not is_span(given["skip_if_late"]):
        raise refusal(f"skip_if_late is {show(given['skip_if_late'])}", f"None, or {SPAN_ALLOWED}")
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
        raise InvalidInput(
            f"recurrence is {rule}, which never occurs from {after or fields['fire_at']} on. Allowed: a rule that does."
        )
    return first


SPAN_ALLOWED = f"a timedelta above 0, up to {LONGEST_SPAN}"


def is_span(value: object) -> bool:
    """Return whether it is a duration that a reminder can be put off by."""
    return isinstance(value, timedelta) and timedelta(0) < value <= LONGEST_SPAN


def _message(text: Any) -> str:
    if type(text) is not str:
        raise InvalidValue(f"message is {show(text)}, a {type(text).__name__}. Allowed: text.")
    if len(text) > LONGEST_MESSAGE or (flaw := text_flaw(text)):
        problem = f"has {len(text):,} characters" if len(text) > LONGEST_MESSAGE else flaw
        raise InvalidValue(f"message {show(text)} {problem}. Allowed: up to {LONGEST_MESSAGE:,} characters of text.")
    return text


def _fire_at(moment: Any) -> datetime:
    if not isinstance(moment, datetime):
        raise InvalidAlarmTime(f"fire_at is {show(moment)}. Allowed: an aware datetime.")
    check_alarm_time(moment)
    check_year(moment)
    return moment


def _person(name: Any) -> str:
    if name is None:
        return ""
    if type(name) is not str or len(name) > LONGEST_PERSON or text_flaw(name):
        raise refusal(f"person is {show(name)}", f"text of up to {LONGEST_PERSON} characters")
    return name
