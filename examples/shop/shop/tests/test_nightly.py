"""Nightly work on the wall clock."""

from datetime import datetime, timedelta
from unittest import mock
from zoneinfo import ZoneInfo

import pytest

from durable_objects.testing import FakeClock, run_due_alarms
from shop.models import Customer, DailyFigures, NightlyFigures

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def nights() -> list[datetime]:
    """Return the next two nights, as ``migrate`` has planned them, on the clocks of Berlin."""
    schedule = NightlyFigures.objects.get_by_name("all").schedules.get("count")
    assert schedule is not None
    return [at.astimezone(BERLIN) for at in schedule.times(2)]


def test_it_counts_each_night(alarm_clock: FakeClock, nights: list[datetime]) -> None:
    """Two nights: at three o'clock, and one row each."""
    Customer.objects.create(email="ada@example.com", plan=Customer.Plan.PAID)
    for night in nights:
        alarm_clock.move_to(night)
        run_due_alarms(raise_errors=True)
    assert [(night.hour, night.minute) for night in nights] == [(3, 0), (3, 0)]
    assert list(DailyFigures.objects.order_by("day").values_list("day", "customers", "paying")) == [
        (night.date(), 1, 1) for night in nights
    ]


def test_a_bad_night_does_not_end_it(alarm_clock: FakeClock, nights: list[datetime]) -> None:
    """All seven tries fail and the night is on record as dead; the next one comes all the same."""
    alarm_clock.move_to(nights[0])
    outcomes: list[str] = []
    with mock.patch.object(DailyFigures.objects, "update_or_create", side_effect=RuntimeError("a bad night")):
        for _ in range(8):
            outcomes += [run.outcome for run in run_due_alarms()]
            alarm_clock.advance(timedelta(seconds=64))
    assert outcomes == ["failed"] * 6 + ["dead"]
    schedule = NightlyFigures.objects.get_by_name("all").schedules.get("count")
    assert schedule is not None
    assert (schedule.died_at, schedule.next_at) == tuple(nights)
