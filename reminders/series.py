"""When a reminder recurs: an RRULE from its first time on, on the wall clocks of a zone. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

from durable_objects import InvalidInput
from durable_objects.names import show

RULE_ALLOWED = 'an RRULE on one line, such as "FREQ=DAILY;COUNT=5", by the hour or slower; UNTIL in UTC ("…T090000Z")'
ZONE_ALLOWED = 'the name of a time zone, such as "Europe/Berlin"'

_RULE = re.compile(r"(?:RRULE:)?[A-Z]+=[A-Z0-9,+-]+(?:;[A-Z]+=[A-Z0-9,+-]+)*;?", re.IGNORECASE)
_TOO_OFTEN = re.compile(r"FREQ=(?:SECONDLY|MINUTELY)", re.IGNORECASE)


class Series:
    """The times of a reminder: those that dateutil gives for ``rule`` with ``start`` as DTSTART on local wall time.

    In a gap a time is shifted forward, in a fold it is the first. Without a rule ``start`` is the only one. Raises
    ``InvalidInput`` for a rule or a zone that is none, naming it and what is allowed.
    """

    def __init__(self, start: datetime, rule: str | None, zone: str) -> None:
        self._start = start.astimezone(UTC)
        self._local = start.astimezone(check_zone(zone))
        self._rule = None if rule is None else _parse(rule, self._local)

    def first(self) -> datetime | None:
        """The first time (aware UTC); None where the rule has none at all."""
        if self._rule is None:
            return self._start
        found: datetime | None = next(iter(self._rule), None)
        return None if found is None else self._in_utc(found)

    def after(self, moment: datetime) -> datetime | None:
        """The first time after this moment (aware UTC); None when the series is over."""
        if self._rule is None:
            return self._start if self._start > moment else None
        # Told apart in UTC: on the wall clock two times of a fold are one, and a shifted one lies behind its neighbour.
        return next((at for at in map(self._in_utc, self._rule) if at > moment), None)

    def _in_utc(self, local: datetime) -> datetime:
        # dateutil drops the fraction of a second; without it a reminder would be that much early.
        local = local.replace(microsecond=self._local.microsecond)
        return self._start if local == self._local else local.astimezone(UTC)


def check_zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises ``InvalidInput``."""
    try:
        if type(name) is str and name:
            return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        pass  # what a wrong name raises depends on what stands at that path in the zone files
    raise _refusal(f"time_zone is {show(name)}", ZONE_ALLOWED)


def _parse(rule: str, start: datetime) -> rrule:
    if type(rule) is not str or not _RULE.fullmatch(rule) or _TOO_OFTEN.search(rule):
        raise _refusal(f"recurrence is {show(rule)}", RULE_ALLOWED)
    try:
        parsed = rrulestr(rule.upper(), dtstart=start)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise _refusal(f"recurrence is {show(rule)} ({error})", RULE_ALLOWED) from None
    if not isinstance(parsed, rrule):
        raise _refusal(f"recurrence is {show(rule)}", RULE_ALLOWED)
    return parsed


def _refusal(problem: str, allowed: str) -> InvalidInput:
    error = InvalidInput(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error
