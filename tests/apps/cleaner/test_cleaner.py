"""PeriodicCleaner: a schedule that nothing ends or shifts, and the ways to steer it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from cleaner.models import PeriodicCleaner
from durable_objects import InvalidInput
from durable_objects.operations import actions
from durable_objects.tables import Object
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.support.passing_time import outcomes

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CrashAt = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def cleaner() -> PeriodicCleaner:
    return PeriodicCleaner.objects.get_by_name("cache")


def aged(clock: FakeClock, by: timedelta) -> dict[str, Any]:
    return {"timestamp": int((clock.now() - by).timestamp() * 1000)}


def test_first_use_plans_the_first_cleanup(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """Reading makes no row and plans nothing; the first write plans a cleanup in an hour, and later ones leave it."""
    assert (cleaner.storage.get_alarm(), cleaner.last_report(), cleaner.cleanup(dry_run=True)) == (None, None, 0)
    assert not Object.objects.exists()
    cleaner.storage.put("a", 1)
    first = alarm_clock.now() + HOUR
    assert cleaner.storage.get_alarm() == first
    alarm_clock.advance(HOUR / 2)
    cleaner.storage.put("b", 1)
    assert cleaner.storage.get_alarm() == first


def test_cleanup_by_hand_and_dry(cleaner: PeriodicCleaner, alarm_clock: FakeClock, settings: Any) -> None:
    """cleanup() counts what it deletes, over many chunks; a dry run counts the same and deletes nothing."""
    settings.CLEANER = {"CHUNK": 7}
    cleaner.storage.put_many({f"old {number}": {"timestamp": number} for number in range(50)})
    cleaner.storage.put_many({f"young {number}": aged(alarm_clock, HOUR) for number in range(10)})
    planned = cleaner.storage.get_alarm()
    assert cleaner.cleanup(dry_run=True) == 50
    assert len(cleaner.storage.list()) == 60
    assert cleaner.cleanup() == 50
    assert cleaner.cleanup() == 0
    assert len(cleaner.storage.list()) == 10
    assert cleaner.storage.get_alarm() == planned


def test_the_schedule_does_not_drift(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """The seed counts the next hour from the end of the last run: ours stays on its planned times, however late."""
    cleaner.storage.put("a", 1)
    first = alarm_clock.now() + HOUR
    for late in (timedelta(minutes=7), timedelta(minutes=59), timedelta(0)):
        planned = cleaner.storage.get_alarm()
        assert planned is not None
        alarm_clock.move_to(planned + late)
        assert outcomes(alarm_clock, timedelta(0)) == ["succeeded"]
        assert cleaner.storage.get_alarm() == planned + HOUR
    assert outcomes(alarm_clock, HOUR * 5 + HOUR / 2) == ["succeeded"]  # a long outage: one run, not five
    alarm = cleaner.storage.get_alarm()
    assert alarm is not None
    assert (alarm - first) % HOUR == timedelta(0)
    assert timedelta(0) < alarm - alarm_clock.now() <= HOUR


def test_an_alarm_run_by_hand_does_not_shift_the_schedule(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """Fired now or moved by an operator, the cleaner goes on at its planned times."""
    cleaner.storage.put("a", 1)
    planned = cleaner.storage.get_alarm()
    assert planned is not None
    alarm_clock.advance(timedelta(minutes=20))
    actions.fire_now(cleaner)
    assert outcomes(alarm_clock, timedelta(0)) == ["succeeded"]
    assert cleaner.storage.get_alarm() == planned
    actions.move(cleaner, planned + timedelta(minutes=25))
    assert outcomes(alarm_clock, HOUR * 1.1) == ["succeeded"]
    assert cleaner.storage.get_alarm() == planned + HOUR


def test_the_cleaner_survives_exhausted_retries(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed sleeps for ever once its retries are used up: ours runs again at the next planned time."""
    cleaner.storage.put_many({"old": {"timestamp": 0}})
    planned = cleaner.storage.get_alarm()
    assert planned is not None

    def fail(self: PeriodicCleaner) -> int:
        raise OSError("disk on fire")

    with monkeypatch.context() as broken:
        broken.setattr(PeriodicCleaner, "cleanup", fail)
        seen = outcomes(alarm_clock, HOUR)
        for seconds in (2, 4, 8, 16, 32, 64):
            seen += outcomes(alarm_clock, timedelta(seconds=seconds))
    assert seen == ["failed"] * 6 + ["dead"]
    assert cleaner.storage.get_alarm() == planned + HOUR
    report = cleaner.last_report()
    assert report is not None
    assert (report["error"], report["next_at"]) == ("OSError: disk on fire", planned + HOUR)
    assert outcomes(alarm_clock, HOUR) == ["succeeded"]
    assert cleaner.storage.list() == {}
    assert cleaner.storage.get_alarm() == planned + HOUR * 2


def test_a_use_during_a_failing_cleanup_leaves_its_retries(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a cleanup runs unlocked no alarm is to be seen; a write then plans none, which would end the retries."""
    cleaner.storage.put("a", 1)

    def write_and_fail(self: PeriodicCleaner) -> int:
        self.storage.put("during", 1)
        raise OSError("not now")

    with monkeypatch.context() as broken:
        broken.setattr(PeriodicCleaner, "cleanup", write_and_fail)
        assert outcomes(alarm_clock, HOUR) == ["failed"]
    assert outcomes(alarm_clock, timedelta(seconds=2)) == ["succeeded"]
    assert cleaner.storage.get("during") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["turn.unlocked", "turn.locked_again", "firing.after_handler"])
def test_a_crash_during_a_cleanup_is_made_up_for(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, crash_at: CrashAt, point: str
) -> None:
    """Wherever the process dies, the cleanup runs again after the lease and the schedule stands."""
    cleaner.storage.put("old", {"timestamp": 0})
    planned = cleaner.storage.get_alarm()
    assert planned is not None
    alarm_clock.advance(HOUR)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    cleaner.storage.put("meanwhile", 1)
    assert outcomes(alarm_clock, timedelta(minutes=2)) == ["succeeded"]
    assert set(cleaner.storage.list()) == {"meanwhile"}
    assert cleaner.storage.get_alarm() == planned + HOUR


def test_a_cleaner_whose_alarm_was_taken_goes_on_at_its_next_use(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock
) -> None:
    """delete_all() takes the alarm along; as with the original's constructor the next use plans a cleanup again."""
    cleaner.storage.put("a", 1)
    cleaner.storage.delete_all()
    assert cleaner.storage.get_alarm() is None
    cleaner.storage.put("b", 1)
    assert cleaner.storage.get_alarm() == alarm_clock.now() + HOUR


def test_configure(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """Interval and age change alone; a new interval counts from the last planned time, so editing does not put off."""
    cleaner.storage.put("two hours", aged(alarm_clock, HOUR * 2))
    planned = cleaner.storage.get_alarm()
    assert planned is not None
    alarm_clock.advance(HOUR / 2)
    cleaner.configure(interval=timedelta(minutes=40))
    assert cleaner.storage.get_alarm() == planned - HOUR + timedelta(minutes=40)
    cleaner.configure(max_age=HOUR)
    assert cleaner.cleanup() == 1
    assert outcomes(alarm_clock, timedelta(minutes=10)) == ["succeeded"]
    assert cleaner.storage.get_alarm() == planned - HOUR + timedelta(minutes=80)


def test_stop_and_start(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """Once stopped no use plans anything; started again, it goes an interval later. By hand it cleans all the same."""
    cleaner.storage.put("old", {"timestamp": 0})
    assert (cleaner.stop(), cleaner.stop()) == (True, False)
    cleaner.storage.put("a", 1)
    cleaner.configure(interval=HOUR * 2)
    assert cleaner.storage.get_alarm() is None
    actions.fire_now(cleaner)
    assert outcomes(alarm_clock, timedelta(0)) == ["succeeded"]
    assert (set(cleaner.storage.list()), cleaner.storage.get_alarm()) == ({"a"}, None)
    assert cleaner.start() == cleaner.start() == cleaner.storage.get_alarm() == alarm_clock.now() + HOUR * 2


@pytest.mark.parametrize("wrong", [{"interval": 5}, {"interval": timedelta(0)}, {"max_age": -DAY}, {"max_age": "day"}])
def test_configure_refuses(cleaner: PeriodicCleaner, alarm_clock: FakeClock, wrong: dict[str, Any]) -> None:
    """A refused setting raises InvalidInput and changes nothing, not even makes the object."""
    with pytest.raises(InvalidInput, match="Allowed: a timedelta from"):
        cleaner.configure(**wrong)
    assert not Object.objects.exists()
