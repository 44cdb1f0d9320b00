"""Which times an alarm can be set for, and the moment that is meant. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable_objects.errors import InvalidAlarmTime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_alarm_time(when: object) -> None:
    """Raise ``InvalidAlarmTime`` for what is no time for an alarm."""
    allowed = "Give an aware datetime after 1970 and up to the year 9999, or a timedelta from now."
    if isinstance(when, timedelta):
        return
    if not isinstance(when, datetime):
        raise InvalidAlarmTime(f"alarm time {when!r} is of type {type(when).__name__}. {allowed}")
    try:
        if when.utcoffset() is None:
            raise InvalidAlarmTime(f"alarm time {when!r} is naive: it names no moment. {allowed}")
        at = _plain(when)
    except OverflowError:
        at = _EPOCH
    except InvalidAlarmTime:
        raise
    except (TypeError, ValueError):  # pandas' NaT
        raise InvalidAlarmTime(f"alarm time {when!r} names no moment. {allowed}") from None
    if at <= _EPOCH:
        raise InvalidAlarmTime(f"alarm time {when!r} is at or before the epoch, or past the year 9999. {allowed}")


def moment(when: datetime | timedelta, now: datetime) -> datetime:
    """Return the moment that is meant, in UTC. Raises ``InvalidAlarmTime`` for a span that leads past the year 9999."""
    if isinstance(when, datetime):
        return _plain(when)
    try:
        at = _plain(now + when)
    except OverflowError:
        at = _EPOCH
    if at <= _EPOCH:
        raise InvalidAlarmTime(f"alarm time now + {when!r} is not between 1970 and the year 9999")
    return at


def alarm_at(when: datetime | timedelta, now: datetime) -> datetime:
    """Return the moment that an alarm is set for: a past time means now. Raises as ``moment``."""
    return max(now, moment(when, now))


def later(moment: datetime, span: timedelta) -> datetime:
    """Return the moment and the span. Raises ``InvalidAlarmTime`` where that leads past the year 9999."""
    try:
        return moment + span
    except OverflowError:
        raise InvalidAlarmTime(f"alarm time {moment} + {span} is not between 1970 and the year 9999") from None


def _plain(when: datetime) -> datetime:
    """Return the moment in UTC as a plain ``datetime``, not of a library's subclass."""
    at = when.astimezone(UTC)
    if type(at) is datetime:
        return at
    return datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=UTC)
