"""Nightly work on the wall clock."""

from datetime import UTC, date, datetime, time, timedelta
from unittest import mock
from zoneinfo import ZoneInfo

import pytest

from durable_objects.testing import FakeClock, run_due_alarms
from shop.models import Customer, DailyFigures, NightlyFigures
from shop.models.nightly import next_time

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("at", "after", "expected"),
    [
        pytest.param(
            time(3), datetime(2030, 1, 1, 1, 59, tzinfo=UTC), datetime(2030, 1, 1, 2, tzinfo=UTC), id="winter"
        ),
        pytest.param(time(3), datetime(2030, 7, 1, 1, tzinfo=UTC), datetime(2030, 7, 2, 1, tzinfo=UTC), id="summer"),
        pytest.param(
            time(2, 30), datetime(2030, 3, 31, tzinfo=UTC), datetime(2030, 3, 31, 1, 30, tzinfo=UTC), id="gap"
        ),
        pytest.param(
            time(2, 30), datetime(2030, 10, 27, tzinfo=UTC), datetime(2030, 10, 27, 0, 30, tzinfo=UTC), id="fold"
        ),
    ],
)
def test_the_next_time_on_the_wall_clock(at: time, after: datetime, expected: datetime) -> None:
    """In winter, in summer, in the hour that is skipped and in the one that comes twice."""
    assert next_time(at, BERLIN, after) == expected


@pytest.mark.django_db
def test_it_counts_each_night(alarm_clock: FakeClock) -> None:
    """Two nights, across the beginning of summer time: three o'clock each, one row each."""
    alarm_clock.move_to(datetime(2030, 3, 30, 12, tzinfo=BERLIN))
    Customer.objects.create(email="ada@example.com", plan=Customer.Plan.PAID)
    nightly = NightlyFigures.objects.get_by_name("all")
    assert nightly.start() == nightly.start() == datetime(2030, 3, 31, 3, tzinfo=BERLIN)
    for _ in range(2):
        alarm_clock.advance(timedelta(days=1))
        run_due_alarms()
    assert list(DailyFigures.objects.order_by("day").values_list("day", "customers", "paying")) == [
        (date(2030, 3, 31), 1, 1),
        (date(2030, 4, 1), 1, 1),
    ]
    assert nightly.storage.get_alarm() == datetime(2030, 4, 2, 3, tzinfo=BERLIN)


@pytest.mark.django_db
def test_a_bad_night_does_not_end_it(alarm_clock: FakeClock) -> None:
    """All seven tries fail; the next night is planned all the same."""
    alarm_clock.move_to(datetime(2030, 1, 1, 12, tzinfo=BERLIN))
    nightly = NightlyFigures.objects.get_by_name("all")
    nightly.start()
    alarm_clock.move_to(datetime(2030, 1, 2, 3, tzinfo=BERLIN))
    outcomes: list[str] = []
    with mock.patch.object(DailyFigures.objects, "update_or_create", side_effect=RuntimeError("a bad night")):
        for _ in range(8):
            outcomes += [run.outcome for run in run_due_alarms()]
            alarm_clock.advance(timedelta(seconds=64))
    assert outcomes == ["failed"] * 6 + ["dead"]
    assert nightly.storage.get_alarm() == datetime(2030, 1, 3, 3, tzinfo=BERLIN)
