"""Cron expressions of five fields on the wall clock of a zone. Pure; ``cronsim`` reads them and finds the wall times.

The dialect is Debian's cron: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday); lists,
ranges, steps (``5/10`` is every tenth from 5 on), names (``MON``, ``JAN``). A day matches where either day field does,
and where one of them begins with ``*``, both. Beyond it: ``L`` and ``LW`` for the last day and the last weekday of the
month, ``5L`` for its last Friday, ``1#2`` for its second Monday.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, tzinfo

from cronsim import CronSim, CronSimError

from durable_objects.errors import InvalidSchedule
from durable_objects.recurrence.wall_clock import Found, earliest_later, in_order
from durable_objects.validation import refusal, show

LONGEST_CRON = 500
CRON_ALLOWED = (
    'a cron expression of five fields (minute, hour, day of month, month, day of week), such as "0 3 * * MON-FRI", '
    f"of up to {LONGEST_CRON} characters"
)

#: Debian's cron takes the one value, cronsim all that follow it by the step.
_STEPPED_ONE = re.compile(r"\b(\w+)-\1/\d+")
_ANY_MOMENT = datetime(2000, 1, 1)  # noqa: DTZ001  a wall time


def canonical(text: str) -> str:
    """Return the expression in capitals, its fields one space apart. Raises ``InvalidSchedule``."""
    if type(text) is not str or len(text) > LONGEST_CRON or not text.isascii():
        raise refusal(f"cron is {show(text)}", CRON_ALLOWED, InvalidSchedule)
    fields = text.upper().split()
    if len(fields) != 5:
        raise refusal(f"cron is {show(text)} ({len(fields)} fields)", CRON_ALLOWED, InvalidSchedule)
    expression = " ".join(fields)
    if one := _STEPPED_ONE.search(expression):
        problem = f"cron is {show(text)} ({one[0]} is one value with a step)"
        raise refusal(problem, CRON_ALLOWED, InvalidSchedule)
    try:
        CronSim(expression, _ANY_MOMENT)
    except (CronSimError, AssertionError, ValueError) as flaw:
        raise refusal(f"cron is {show(text)} ({flaw})", CRON_ALLOWED, InvalidSchedule) from None
    return expression


def times(expression: str, zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """Yield the times (aware UTC) after this moment, in order, each moment once: one in a gap is shifted forward, of
    one that comes twice the first counts. Ends where none comes for 50 years.
    """
    for (at, _, _), _ in in_order(_wall_times(expression, zone, moment)):
        if at > moment:
            moment = at
            yield at


def _wall_times(expression: str, zone: tzinfo, moment: datetime) -> Iterator[Found]:
    with suppress(OverflowError):  # past the year 9999
        for wall_time in CronSim(expression, earliest_later(moment, zone)):
            there = wall_time.replace(tzinfo=zone)
            yield there.astimezone(UTC), 0, there
