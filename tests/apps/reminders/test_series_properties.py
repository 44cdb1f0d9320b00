"""The times of reminders against an independent expansion, for rules and zones that nobody thought of."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_objects import InvalidInput
from reminders.recurrence import Series
from tests.support.examples import examples
from tests.support.recurrence_by_dateutil import ZONES, expand, moment, rules, starts

EXAMPLES = examples(25)
MANY = 500
AT_MOST = 40


def walk(series: Series, count: int) -> list[datetime]:
    """The first times, each found from the place of the one before."""
    found: list[datetime] = []
    place = series.opening()
    while place is not None and len(found) < count:
        found.append(place.at)
        place = series.following(place, place.at)
    return found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rule=rules(), zone=st.sampled_from(ZONES))
def test_a_series_is_what_dateutil_gives_on_the_wall_clock(data: st.DataObject, rule: str, zone: str) -> None:
    """From place to place, the next one found from the last one alone: every moment of the rule, none twice."""
    start = data.draw(starts(zone))
    try:
        series = Series(start, rule, zone)
        empty = series.opening() is None
    except InvalidInput:
        return  # BYSETPOS alone, which the grammar does not have
    if empty:
        assert EXAMPLES < MANY or expand(start, rule, zone, 1)[0] == []  # dateutil takes seconds over each
        return
    expected, complete = expand(start, rule, zone, 4 * AT_MOST)
    found = [at for at in walk(series, AT_MOST) if complete is None or at < complete]
    assert found == expected[: len(found)]
    assert len(found) == AT_MOST or complete is not None or len(found) == len(expected)


@pytest.mark.parametrize(
    ("zone", "day", "rule"),
    [
        ("Europe/Berlin", datetime(2026, 3, 27), "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=10,30;BYSETPOS=2,3"),  # noqa: DTZ001  wall times
        ("America/New_York", datetime(2026, 3, 6), "FREQ=HOURLY;BYMINUTE=15,45"),  # noqa: DTZ001
        ("Australia/Lord_Howe", datetime(2026, 10, 2), "FREQ=HOURLY;BYMINUTE=0,10,40"),  # noqa: DTZ001
        ("Pacific/Apia", datetime(2011, 12, 28, 9), "FREQ=DAILY;COUNT=6"),  # noqa: DTZ001
        ("Pacific/Apia", datetime(2011, 12, 28), "FREQ=HOURLY;COUNT=96"),  # noqa: DTZ001
    ],
)
def test_over_gaps_nothing_is_lost_or_doubled(zone: str, day: datetime, rule: str) -> None:
    """Times shifted over others come in order, and those that fall together come once, in Apia's lost day too."""
    start = moment(day, ZoneInfo(zone))
    expected, _ = expand(start, rule, zone, 96)
    series = Series(start, rule, zone)
    assert [place.at for place, _ in zip(series.places(), range(60), strict=False)] == expected[:60]
    assert walk(series, 60) == expected[:60]


def test_positions_in_a_week_are_counted_from_its_first_day() -> None:
    """The second of Monday, Wednesday and Friday is Wednesday each week, also when followed on from a Wednesday."""
    rule = "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2;COUNT=9"
    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    assert walk(Series(start, rule, "UTC"), 20) == expand(start, rule, "UTC", 20)[0]


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=4;BYMONTHDAY=31;BYHOUR=1,2,3",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTH=3",
    ],
)
def test_a_rule_that_never_comes_is_told_fast(rule: str) -> None:
    """It takes less than 100 ms to say that a rule has no time (dateutil by itself looks up to 9999)."""
    series = Series(datetime(2026, 1, 1, 9, tzinfo=UTC), rule, "Europe/Berlin")
    began = time.process_time()
    assert (series.opening(), series.preview(5, datetime(2026, 1, 1, tzinfo=UTC))) == (None, [])
    assert time.process_time() - began < 0.2  # asked twice


@pytest.mark.parametrize(
    "rule",
    ["FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO", "FREQ=YEARLY;BYYEARDAY=366"],
)
def test_a_rare_rule_is_no_dead_one(rule: str) -> None:
    """A Monday the 29th of February comes every 28 years, and is found."""
    assert (
        Series(datetime(2026, 1, 1, 9, tzinfo=UTC), rule, "UTC").first()
        == expand(datetime(2026, 1, 1, 9, tzinfo=UTC), rule, "UTC", 1)[0][0]
    )


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=DAILY;COUNT=100000", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"])
def test_the_next_time_costs_the_same_after_years(rule: str) -> None:
    """Going on from a place ten years after the start makes no way back to it: 100 steps in under 50 ms of work."""
    series = Series(datetime(2016, 1, 1, 9, tzinfo=UTC), rule, "Europe/Berlin")
    ten_years = datetime(2026, 1, 1, tzinfo=UTC)
    place = next(place for place in series.places() if place.at > ten_years)
    began = time.process_time()
    for _ in range(100):
        following = series.following(place, place.at)
        assert following is not None
        place = following
    assert time.process_time() - began < 0.05


def test_times_are_left_out_by_the_wall_clock_or_in_utc() -> None:
    """EXDATE takes out what it names, and what it names counts towards COUNT."""
    rule = "FREQ=DAILY;COUNT=5\nEXDATE;TZID=Europe/Berlin:20260328T090000,20260330T090000\nEXDATE:20260331T070000Z"
    start = datetime(2026, 3, 27, 8, tzinfo=UTC)
    days = [place.at.day for place in Series(start, rule, "Europe/Berlin").places()]
    assert days == [27, 29]


def test_the_preview_tells_of_clocks_that_change() -> None:
    """The next five as the recipient's clock has them, with a word where that clock is put forward or back."""
    berlin = ZoneInfo("Europe/Berlin")
    spring = Series(datetime(2026, 3, 28, 2, 30, tzinfo=berlin), "FREQ=DAILY", "Europe/Berlin")
    shown = spring.preview(5, datetime(2026, 3, 28, tzinfo=UTC))
    assert [each.local.strftime("%d %H:%M") for each in shown] == [
        "28 02:30", "29 03:30", "30 02:30", "31 02:30", "01 02:30"
    ]  # fmt: skip
    assert [each.note for each in shown if each.note] == [
        "The clocks are put forward: 02:30 does not exist that day, so it is 03:30."
    ]
    autumn = Series(datetime(2026, 10, 24, 2, 30, tzinfo=berlin), "FREQ=DAILY", "Europe/Berlin")
    notes = [each.note for each in autumn.preview(2, datetime(2026, 10, 23, tzinfo=UTC))]
    assert notes == ["", "The clocks are put back: 02:30 comes twice, this is the first."]
    once = Series(datetime(2026, 10, 24, 2, 30, tzinfo=berlin), None, "Europe/Berlin")
    assert len(once.preview(5, datetime(2026, 1, 1, tzinfo=UTC))) == 1
    assert once.preview(5, datetime(2027, 1, 1, tzinfo=UTC)) == []
