"""Rules around each change of the clocks, in every zone that this machine knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from durable_objects.recurrence import rules
from durable_objects.recurrence.zones import zone_names
from tests.support.wall_clock_by_offsets import changes, moment

HOUR, STEP = timedelta(hours=1), timedelta(minutes=20)
RULES: list[dict[str, Any]] = [{"cron": "*/20 * * * *"}, {"rrule": "FREQ=HOURLY;BYMINUTE=0,20,40"}]


def times(zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """Every third of an hour on the wall clock, as moments of a span."""
    wall_time = (begin - 50 * HOUR).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    found = set()
    while wall_time < end.replace(tzinfo=None) + 50 * HOUR:
        found.add(moment(wall_time, zone))
        wall_time += STEP
    return sorted(at for at in found if begin < at <= end)


def different_zones(years: range) -> dict[str, tuple[tuple[datetime, timedelta], ...]]:
    """The changes of zones in these years; of zones that are always alike, of one."""
    zones = {}
    for zone in zone_names():
        at_first = datetime(years[0], 1, 1, tzinfo=ZoneInfo(zone)).utcoffset()
        zones[at_first, tuple(each for year in years for each in changes(zone, year))] = zone
    return {zone: changed for (_, changed), zone in zones.items()}


@pytest.mark.parametrize(
    "years",
    [
        range(2026, 2027),
        pytest.param(range(1990, 2038, 4), marks=pytest.mark.slow),
        pytest.param(range(1990, 2038), marks=pytest.mark.chaos),  # a minute or two of a processor
    ],
    ids=str,
)
def test_each_change_of_the_clocks(years: range) -> None:
    """Before, in and after each change cron and RRULE come at each wall time once; from each time the next is found."""
    seen = 0
    for zone, changed in different_zones(years).items():
        by_kind = [rules.make(**each, zone=zone, now=rules.EPOCH) for each in RULES]
        for change, by in changed:
            begin, end = change - 2 * HOUR, change + 2 * HOUR + abs(by)
            wanted = times(zone, begin, end)
            for rule in by_kind:
                at: datetime | None = begin
                found = list(takewhile(lambda at, end=end: at <= end, rule.following(begin)))  # type: ignore[misc]
                assert found == wanted, f"{rule.describe()}, {change}"
                for following in found:
                    assert at is not None
                    at = rule.after(at)
                    assert at == following, f"{rule.describe()}, {change}"
            seen += 1
    assert seen > (20 if len(years) == 1 else 170 * len(years))
