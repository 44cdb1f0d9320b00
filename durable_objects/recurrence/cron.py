"""Cron expressions of five fields on the wall clock of a zone. Pure; ``cronsim`` reads them and finds the wall times.

The dialect is Debian's cron: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday); lists,
ranges, steps, names (``MON``, ``JAN``). A day matches where either day field does, and where one of them begins with
``*``, both. Beyond it: ``L`` and ``LW`` for the last day and the last weekday of the month, ``5L`` for its last Friday,
``1#2`` for its second Monday.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from durable_objects.errors import InvalidSchedule
from durable_objects.recurrence.wall_clock import ANY_CHANGE, Found, in_order
from durable_objects.validation import refusal, show

LONGEST_CRON = 500
CRON_ALLOWED = (
    'a cron expression of five fields (minute, hour, day of month, month, day of week), such as "0 3 * * MON-FRI", '
    f"of up to {LONGEST_CRON} characters"
)

_ANY_MOMENT = datetime(2000, 1, 1)  # noqa: DTZ001  a wall time


def canonical(text: str) -> str:
    """Return the expression in capitals, its fields one space apart. Raises ``InvalidSchedule``."""
    if type(text) is not str or len(text) > LONGEST_CRON or not text.isascii():
        raise refusal(f"cron is {show(text)}", CRON_ALLOWED, InvalidSchedule)
    fields = text.upper().split()
    if len(fields) != 5:
        raise refusal(f"cron is {show(text)} ({len(fields)} fields)", CRON_ALLOWED, InvalidSchedule)
    expression = " ".join(fields)
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
    # What was shifted over a gap is later than it reads: by as much as the clocks were put forward lately.
    local = _on_the_clock(moment, zone)
    put_forward = local - _on_the_clock(moment - ANY_CHANGE, zone) - ANY_CHANGE
    begin = local - max(put_forward, timedelta())
    with suppress(OverflowError):  # past the year 9999
        for wall_time in CronSim(expression, begin):
            there = wall_time.replace(tzinfo=zone)
            yield there.astimezone(UTC), 0, there


def _on_the_clock(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)
