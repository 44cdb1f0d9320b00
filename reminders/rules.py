"""What text is a rule or a zone, and what is refused with a word on what is allowed. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime
from typing import Self
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

from durable_objects import InvalidInput
from durable_objects.names import show

RULE_ALLOWED = (
    'an RRULE on one line, such as "FREQ=DAILY;COUNT=5", by the hour or slower (then without BYSETPOS), '
    "with a time within 40 years, "
    'UNTIL in UTC ("…T090000Z"), INTERVAL from 1 to 99999; below it lines such as "EXDATE:20300602T090000"'
)
ZONE_ALLOWED = 'the name of a time zone, such as "Europe/Berlin"'
LONGEST_RULE = 4_000

_RULE = re.compile(r"(?:RRULE:)?[A-Z]+=[A-Z0-9,+-]+(?:;[A-Z]+=[A-Z0-9,+-]+)*;?", re.IGNORECASE)
_EXDATE = re.compile(r"EXDATE(?:;TZID=[\w/+-]+)?:(\d{8}T\d{6}Z?(?:,\d{8}T\d{6}Z?)*)", re.IGNORECASE)
#: By the minute; what is dateutil's own; what leads nowhere; positions in an hour, whose search may take for ever.
_REFUSED = re.compile(
    r"FREQ=(?:SECONDLY|MINUTELY)|BYEASTER|INTERVAL=(?![1-9]\d{0,4}(?:;|$))|(?=.*FREQ=HOURLY).*BYSETPOS", re.IGNORECASE
)
_COUNT = re.compile(r"COUNT=(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Rule:
    """A rule that was read: dateutil's, its COUNT, and what is left out of it.

    ``can_start_anywhere``: whether it goes on from any of its times as it did from its first. Not so for weekly ones
    with BYSETPOS, where dateutil counts from the first day in the first week.
    """

    rule: rrule
    count: int | None
    can_start_anywhere: bool
    walls_left_out: Collection[datetime]
    moments_left_out: Collection[datetime]

    @classmethod
    def parse(cls, text: str, start: datetime) -> Self:
        """The rule that this text is from ``start`` on (aware, in the zone it goes by). Raises ``InvalidInput``."""
        if type(text) is not str or not text.strip() or len(text) > LONGEST_RULE:
            raise refusal(f"recurrence is {show(text)}", RULE_ALLOWED)
        line, *others = [line.strip() for line in text.strip().splitlines() if line.strip()]
        left_out = [_EXDATE.fullmatch(other) for other in others]
        if not _RULE.fullmatch(line) or _REFUSED.search(line) or not all(left_out):
            raise refusal(f"recurrence is {show(text)}", RULE_ALLOWED)
        try:
            parsed = rrulestr(line.upper(), dtstart=start)
            walls, moments = _left_out([match[1].upper() for match in left_out if match])
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise refusal(f"recurrence is {show(text)} ({error})", RULE_ALLOWED) from None
        if not isinstance(parsed, rrule):
            raise refusal(f"recurrence is {show(text)}", RULE_ALLOWED)
        count = _COUNT.search(line)
        weekly_by_position = "WEEKLY" in line.upper() and "BYSETPOS" in line.upper()
        return cls(parsed, int(count[1]) if count else None, not weekly_by_position, walls, moments)

    def leaves_out(self, at: datetime, wall: datetime) -> bool:
        """Whether an EXDATE names this time, by the wall clock or in UTC (to the second, as such dates are)."""
        if not self.walls_left_out and not self.moments_left_out:
            return False
        walls, moments = self.walls_left_out, self.moments_left_out
        return wall.replace(tzinfo=None, microsecond=0) in walls or at.replace(microsecond=0) in moments


def has_any(rule: rrule, start: datetime) -> bool:
    """Whether the rule has a time within 40 years of ``start``, whatever its UNTIL says. Raises ``InvalidInput``.

    dateutil gives up on a rule that never matches in the year 9999 only, which takes seconds. So the question is asked
    in the last years before that, of the one whose weekdays and leap years fall as in the start's.
    """
    twin = next(
        year
        for year in range(MAXYEAR - 67, MAXYEAR - 39)
        if year % 4 == start.year % 4 and datetime(year, 1, 1).weekday() == datetime(start.year, 1, 1).weekday()  # noqa: DTZ001  calendar years, no moments
    )
    try:
        probe = rule.replace(dtstart=start.replace(year=twin), until=None, count=1)
        return next(iter(probe), None) is not None
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise refusal(f"recurrence has a part out of its range ({error})", RULE_ALLOWED) from None


def check_zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises ``InvalidInput``."""
    try:
        if type(name) is str and name:
            return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        pass  # what a wrong name raises depends on what stands at that path in the zone files
    raise refusal(f"time_zone is {show(name)}", ZONE_ALLOWED)


def refusal(problem: str, allowed: str) -> InvalidInput:
    """The error for bad input, with what is allowed."""
    error = InvalidInput(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error


def _left_out(lists: list[str]) -> tuple[frozenset[datetime], frozenset[datetime]]:
    """The wall times and the moments that EXDATE lines name."""
    texts = [text for each in lists for text in each.split(",")]
    found = {text: datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S") for text in texts}  # noqa: DTZ007  wall times
    walls = frozenset(found[text] for text in texts if not text.endswith("Z"))
    return walls, frozenset(found[text].replace(tzinfo=UTC) for text in texts if text.endswith("Z"))
