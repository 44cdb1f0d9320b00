"""The times of a recurring reminder: wall clocks, gaps and folds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from reminders.recurrence import Series

BERLIN = ZoneInfo("Europe/Berlin")


def times(start: datetime, rule: str, zone: str, count: int) -> list[datetime]:
    series = Series(start, rule, zone)
    found: list[datetime] = []
    at = series.first()
    while at is not None and len(found) < count:
        found.append(at)
        at = series.after(at)
    return found


def local(moments: list[datetime], zone: ZoneInfo) -> list[str]:
    return [moment.astimezone(zone).isoformat()[:16] for moment in moments]


def test_in_a_gap_a_time_is_shifted_forward() -> None:
    """02:30 does not exist on the day that summer time begins: it is 03:30 then, and 02:30 again the day after."""
    found = times(datetime(2026, 3, 28, 2, 30, tzinfo=BERLIN), "FREQ=DAILY", "Europe/Berlin", 3)
    assert local(found, BERLIN) == ["2026-03-28T02:30", "2026-03-29T03:30", "2026-03-30T02:30"]


def test_in_a_fold_a_time_is_the_first() -> None:
    """02:30 comes twice on the day that summer time ends: the first counts, and only that."""
    found = times(datetime(2026, 10, 24, 2, 30, tzinfo=BERLIN), "FREQ=DAILY", "Europe/Berlin", 3)
    assert found[1] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert local(found, BERLIN) == ["2026-10-24T02:30", "2026-10-25T02:30", "2026-10-26T02:30"]


def test_the_first_time_is_exactly_the_start() -> None:
    """A start in the second half of a fold stays there: it was named exactly."""
    start = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert times(start, "FREQ=DAILY", "Europe/Berlin", 1) == [start]


def test_a_fraction_of_a_second_is_kept() -> None:
    """A library that drops it would make each reminder early by that much."""
    start = datetime(2026, 1, 1, 9, 0, 0, 999_999, tzinfo=UTC)
    assert times(start, "FREQ=DAILY", "UTC", 2) == [start, start + timedelta(days=1)]


def test_hourly_times_always_move_on() -> None:
    """Over a gap and a fold each hourly time is later than the one before; none comes twice."""
    for day in (datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)):
        found = times(day, "FREQ=HOURLY", "Europe/Berlin", 8)
        assert all(earlier < later for earlier, later in pairwise(found))


def test_zones_that_shift_by_half_an_hour() -> None:
    """Lord Howe shifts by 30 minutes; 09:00 stays 09:00."""
    zone = ZoneInfo("Australia/Lord_Howe")
    found = times(datetime(2026, 4, 4, 9, tzinfo=zone), "FREQ=DAILY", "Australia/Lord_Howe", 2)
    assert found[1] - found[0] == timedelta(hours=24, minutes=30)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=WEEKLY;BYDAY=MO,FR;COUNT=3", ["2026-01-02", "2026-01-05", "2026-01-09"]),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=2", ["2026-01-31", "2026-02-28"]),
        ("freq=daily;interval=2;until=20260105T090000Z", ["2026-01-01", "2026-01-03", "2026-01-05"]),
    ],
)
def test_rules(rule: str, expected: list[str]) -> None:
    """COUNT and UNTIL end the series, as dateutil has it; a start that the rule leaves out is not part of it."""
    found = times(datetime(2026, 1, 1, 9, tzinfo=UTC), rule, "UTC", 9)
    assert [moment.isoformat()[:10] for moment in found] == expected
