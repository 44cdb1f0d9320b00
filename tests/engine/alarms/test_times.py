"""One alarm per object: what set, get and delete mean (DO-1 … DO-28)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

import durable_objects
from durable_objects import AlarmHandlerMissing, AlarmInfo, InvalidAlarmTime
from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Script, Scripted

HOUR, SECOND, NOW = timedelta(hours=1), timedelta(seconds=1), timedelta(0)

pytestmark = pytest.mark.django_db


def test_time_is_kept_as_asked_for_in_utc(clock: FakeClock, obj: Scripted) -> None:
    """An aware time is kept to the microsecond, a span counts from the database's now; only the last set stands."""
    at = datetime(2026, 5, 2, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    obj.storage.set_alarm(at)
    assert obj.storage.get_alarm() == at
    obj.storage.set_alarm(HOUR)
    assert obj.storage.get_alarm() == clock.now() + HOUR
    found = obj.storage.get_alarm()
    assert found is not None
    assert found.tzinfo is UTC
    obj.storage.set_alarm(datetime.max.replace(tzinfo=UTC))
    assert obj.storage.get_alarm() == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("when", [-HOUR, NOW, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)])
def test_past_time_means_now(clock: FakeClock, obj: Scripted, when: Any) -> None:
    """A time that is over is raised to now, and runs at once (DO-5)."""
    obj.storage.set_alarm(when)
    assert obj.storage.get_alarm() == clock.now()
    assert len(run_due_alarms()) == 1


@pytest.mark.parametrize(
    "when",
    [
        datetime(2030, 1, 1),  # noqa: DTZ001  naive is what is refused
        datetime.max.replace(tzinfo=timezone(-HOUR)),
        datetime.min.replace(tzinfo=timezone(HOUR)),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, tzinfo=UTC),
        date(2030, 1, 1),
        timedelta.max,
        timedelta.min,
        timedelta(days=-30_000),
        0,
        1e9,
        True,
        None,
        "2030-01-01T00:00:00Z",
        float("nan"),
    ],
    ids=repr,
)
def test_what_is_no_time_is_refused(clock: FakeClock, obj: Scripted, when: Any) -> None:
    """Naive, numbers, text, the epoch and before, past the year 9999: ``InvalidAlarmTime``, nothing changed."""
    with pytest.raises(InvalidAlarmTime, match="alarm time"):
        obj.storage.set_alarm(when)
    assert not Object.objects.exists()
    obj.storage.set_alarm(HOUR)
    with obj.storage.transaction():
        with pytest.raises(InvalidAlarmTime):
            obj.storage.set_alarm(when)
        obj.storage.put("k", 1)
    assert obj.storage.get_alarm() == clock.now() + HOUR
    assert obj.storage.get("k") == 1


def test_class_without_handler_cannot_set_an_alarm() -> None:
    """Setting needs a handler, with nothing stored; reading and deleting do not (DO-6, DO-8)."""
    counter = Counter.objects.get_by_name("a")
    with pytest.raises(AlarmHandlerMissing, match="alarm"):
        counter.storage.set_alarm(HOUR)
    assert not Object.objects.exists()
    assert counter.storage.get_alarm() is None
    counter.storage.delete_alarm()
    assert counter.storage.get_alarm() is None


def test_set_of_the_same_time_changes_nothing(clock: FakeClock, obj: Scripted) -> None:
    """Setting the time that is set already is no new alarm (DO-12)."""
    at = clock.now() + HOUR
    obj.storage.set_alarm(at)
    before = Alarm.objects.values().get()
    obj.storage.set_alarm(at)
    assert Alarm.objects.values().get() == before


def test_deleted_alarm_does_not_run(clock: FakeClock, obj: Scripted) -> None:
    """After ``delete_alarm()`` nothing is set and nothing runs (DO-19)."""
    obj.storage.set_alarm(NOW)
    obj.storage.delete_alarm()
    assert obj.storage.get_alarm() is None
    assert run_due_alarms() == []


def test_handler_sees_no_alarm_but_its_own(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """In the handler ``get_alarm()`` is None until it sets one, and follows what it asks for (DO-14, DO-15, DO-20)."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        seen.append(obj.storage.get_alarm())
        obj.storage.set_alarm(HOUR)
        seen.append(obj.storage.get_alarm())
        obj.storage.delete_alarm()
        seen.append(obj.storage.get_alarm())
        obj.storage.set_alarm(2 * HOUR)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert len(run_due_alarms()) == 1
    assert seen == [None, clock.now() + HOUR, None]
    assert obj.storage.get_alarm() == clock.now() + 2 * HOUR


def test_initialize_sees_the_due_time_at_a_wake_up(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``if get_alarm() is None: set_alarm(…)`` in ``initialize()`` never puts off the alarm that is due (DO-18)."""
    seen = []

    def initialize(obj: Scripted) -> None:
        seen.append(obj.storage.get_alarm())
        if obj.storage.get_alarm() is None:
            obj.storage.set_alarm(HOUR)

    obj.storage.set_alarm(NOW)
    due = clock.now()
    script.initialize = initialize
    clock.advance(SECOND)
    assert len(run_due_alarms()) == 1
    assert seen == [due]
    assert obj.storage.get_alarm() is None
    obj.storage.put("k", 1)
    assert obj.storage.get_alarm() == clock.now() + HOUR


@pytest.mark.parametrize(("change", "runs"), [("later", 0), ("deleted", 0), ("earlier", 1)])
def test_initialize_that_moves_the_alarm(
    clock: FakeClock, obj: Scripted, script: Script, change: str, runs: int
) -> None:
    """An ``initialize()`` that puts the due alarm off, or takes it away, cancels the run (DO-35)."""

    def initialize(obj: Scripted) -> None:
        if change == "deleted":
            obj.storage.delete_alarm()
        else:
            obj.storage.set_alarm(HOUR if change == "later" else -HOUR)

    obj.storage.set_alarm(NOW)
    clock.advance(SECOND)
    script.initialize = initialize
    assert len(run_due_alarms(limit=3)) == runs
    assert obj.storage.get_alarm() == (clock.now() + HOUR if change == "later" else None)


def test_set_of_the_running_time_in_the_handler_runs_again(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A set inside a run is always a new alarm, also of the very time that is running (DO-60)."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) < 3:
            obj.storage.set_alarm(info.scheduled_at)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert len(run_due_alarms()) == 3
    assert obj.storage.get_alarm() is None
    assert [info.retry_count for info in script.infos] == [0, 0, 0]


def test_times_around_a_failure(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Between retries ``get_alarm()`` answers the original time; a delete cancels the retry (DO-16, DO-22)."""
    script.alarm = lambda obj, info: 1 / 0
    obj.storage.set_alarm(NOW)
    at = obj.storage.get_alarm()
    run_due_alarms()
    assert obj.storage.get_alarm() == at
    obj.storage.delete_alarm()
    assert obj.storage.get_alarm() is None
    clock.advance(HOUR)
    assert run_due_alarms() == []


def test_set_between_retries_starts_again(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A new alarm replaces a pending retry, at its own time and with a count of its own (DO-23)."""
    script.alarm = lambda obj, info: 1 / 0
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    obj.storage.set_alarm(SECOND)
    assert run_due_alarms() == []
    clock.advance(SECOND)
    run_due_alarms()
    assert [(info.retry_count, info.scheduled_at) for info in script.infos][1:] == [(0, clock.now())]


def test_real_clock_is_the_databases(obj: Scripted) -> None:
    """Without a fake, a span counts from the database's now, as ``durable_objects.now()`` tells it; now is due now."""
    before = durable_objects.now()
    obj.storage.set_alarm(HOUR)
    at = obj.storage.get_alarm()
    assert at is not None
    assert before + HOUR - timedelta(milliseconds=1) <= at <= durable_objects.now() + HOUR
    obj.storage.set_alarm(NOW)
    assert len(run_due_alarms()) == 1
