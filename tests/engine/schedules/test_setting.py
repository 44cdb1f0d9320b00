"""Schedules are set, replaced, listed and cancelled by name, all or nothing with the turn's writes."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from durable_objects.alarms import schedule_sql
from durable_objects.database import clock as engine_clock
from durable_objects.delivery import publisher
from durable_objects.errors import DurableObjectError, InvalidInput, InvalidName, InvalidSchedule, InvalidValue
from durable_objects.tables import Alarm, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


def times(obj: Scripted, name: str, n: int = 3) -> list[datetime]:
    """The next times of a schedule."""
    found = obj.schedules.get(name)
    assert found is not None
    return found.times(n)


def test_what_is_set_is_read(obj: Scripted, clock: FakeClock) -> None:
    """A schedule comes back as it was set, by name and in the list, with its next times; outside of turns as inside."""
    obj.schedules.set(
        "b", "scheduled", every=HOUR, args=(1, "x"), kwargs={"when": clock.now()}, misfire="all", grace=DAY
    )
    obj.schedules.set("a", Scripted.scheduled, cron="30 3 * * *", zone="Europe/Berlin")
    first, second = obj.schedules.list()
    assert (first.name, second.name) == ("a", "b")
    assert (second.method, second.args, second.kwargs) == ("scheduled", (1, "x"), {"when": clock.now()})
    assert (second.misfire, second.grace, second.state) == ("all", DAY, "armed")
    assert second.times(2) == [clock.now(), clock.now() + HOUR]
    assert first.next_at == datetime(2026, 5, 2, 1, 30, tzinfo=UTC)
    assert obj.run_exclusive(obj.schedules.list) == [first, second]
    assert obj.schedules.get("c") is None
    assert Scripted.objects.get_by_name("never used").schedules.list() == []


@pytest.mark.parametrize(
    ("when", "first"),
    [
        ({"after": MINUTE}, MINUTE),
        ({"at": datetime(2026, 5, 1, 13, tzinfo=UTC)}, HOUR),
        ({"at": datetime(2020, 5, 1, 13, tzinfo=UTC)}, timedelta(0)),
        ({"every": 7 * HOUR, "start": datetime(2026, 5, 1, 10, tzinfo=UTC)}, 5 * HOUR),
        ({"cron": "0 * * * *"}, timedelta(0)),
        ({"cron": "1 * * * *"}, MINUTE),
        ({"rrule": "FREQ=DAILY", "start": datetime(2026, 5, 1, 9, tzinfo=UTC)}, 21 * HOUR),
    ],
)  # fmt: skip
def test_the_first_time(obj: Scripted, clock: FakeClock, when: dict[str, Any], first: timedelta) -> None:
    """Each way to say when has its first time now or later, and the object is to be woken then."""
    assert obj.schedules.set("a", "scheduled", **when).next_at == clock.now() + first
    slot = Alarm.objects.get()
    assert (slot.state, slot.schedule_due_at, slot.wake_at) == ("idle", clock.now() + first, clock.now() + first)


def test_setting_it_again_neither_doubles_nor_shifts(obj: Scripted, clock: FakeClock) -> None:
    """The same again changes nothing; other arguments keep the cadence; another rule starts from now."""
    obj.schedules.set("a", "scheduled", every=HOUR, start=clock.now() + MINUTE)
    row = Schedule.objects.values().get()
    clock.advance(30 * MINUTE)
    obj.schedules.set("a", "scheduled", every=HOUR, start=datetime(2026, 5, 1, 12, 1, tzinfo=UTC))
    assert Schedule.objects.values().get() == row
    obj.schedules.set("a", "scheduled", every=HOUR, start=datetime(2026, 5, 1, 12, 1, tzinfo=UTC), args=["x"])
    changed = Schedule.objects.values().get()
    assert changed["scheduled_at"] == changed["due_at"] == row["due_at"]
    assert changed["set_number"] > row["set_number"]
    obj.schedules.set("a", "scheduled", every=DAY)
    assert times(obj, "a", 1) == [datetime(2026, 5, 2, tzinfo=UTC)]
    assert Schedule.objects.count() == 1


def test_schedules_leave_the_alarm_alone(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """Alarm and schedules are set, deleted and run without each other; the object is woken for what is first."""
    obj.storage.set_alarm(2 * HOUR)
    obj.schedules.set("a", "scheduled", after=HOUR)
    assert Alarm.objects.get().wake_at == clock.now() + HOUR
    assert obj.storage.get_alarm() == clock.now() + 2 * HOUR
    clock.advance(HOUR)
    assert [run.schedule for run in run_due_alarms()] == ["a"]
    assert obj.storage.get_alarm() == clock.now() + HOUR
    obj.schedules.set("a", "scheduled", after=HOUR / 2)
    obj.storage.delete_alarm()
    assert times(obj, "a") == [clock.now() + HOUR / 2]
    clock.advance(HOUR)
    assert [run.schedule for run in run_due_alarms()] == ["a"]
    assert len(script.infos) == 0


def test_cancel_says_whether_there_was_one(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """A cancelled schedule is gone and never runs; cancelling it again, or another, answers False."""
    obj.schedules.set("a", "scheduled", every=HOUR)
    assert obj.schedules.cancel("a") is True
    assert obj.schedules.cancel("a") is False
    assert obj.schedules.list() == []
    assert Alarm.objects.get().wake_at is None
    clock.advance(DAY)
    assert run_due_alarms() == []
    assert script.calls == []


def test_all_or_nothing_with_the_turn(obj: Scripted, clock: FakeClock) -> None:
    """What a turn, or a block inside of it, sets or cancels is undone with it, and its own reads see it before."""
    obj.schedules.set("kept", "scheduled", every=HOUR)

    def turn() -> None:
        obj.schedules.set("x", "scheduled", after=HOUR)
        obj.schedules.cancel("kept")
        assert [each.name for each in obj.schedules.list()] == ["x"]
        with contextlib.suppress(ZeroDivisionError), obj.storage.transaction():
            obj.schedules.set("y", "scheduled", after=HOUR)
            obj.schedules.cancel("x")
            assert [each.name for each in obj.schedules.list()] == ["y"]
            raise ZeroDivisionError
        assert [each.name for each in obj.schedules.list()] == ["x"]
        obj.storage.put("written", 1)
        raise IntegrityError

    with pytest.raises(IntegrityError):
        obj.run_exclusive(turn)
    assert [each.name for each in obj.schedules.list()] == ["kept"]
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        obj.schedules.cancel("kept")
        raise ZeroDivisionError
    assert [each.name for each in obj.schedules.list()] == ["kept"]
    assert Alarm.objects.get().wake_at == clock.now()


def test_gone_with_the_object_but_not_with_its_storage(obj: Scripted, clock: FakeClock) -> None:
    """``delete_all()`` deletes entries and alarm; deleting the object deletes its schedules."""
    obj.schedules.set("a", "scheduled", every=HOUR)
    obj.storage.put("x", 1)
    obj.storage.delete_all()
    assert len(obj.schedules.list()) == 1
    obj.delete()
    assert not Schedule.objects.exists()
    assert obj.schedules.list() == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({}, InvalidSchedule),
        ({"every": HOUR, "cron": "* * * * *"}, InvalidSchedule),
        ({"at": datetime(2027, 1, 1, tzinfo=UTC), "after": HOUR}, InvalidSchedule),
        ({"every": timedelta(0)}, InvalidSchedule),
        ({"every": -HOUR}, InvalidSchedule),
        ({"every": 3600}, InvalidSchedule),
        ({"after": 3600}, InvalidSchedule),
        ({"after": timedelta.max}, InvalidInput),
        ({"at": datetime(2027, 1, 1)}, InvalidInput),  # noqa: DTZ001  naive
        ({"cron": "0 0 30 2 *"}, InvalidSchedule),
        ({"cron": "61 * * * *"}, InvalidSchedule),
        ({"cron": "* * * * *", "zone": "Mars/Base"}, InvalidSchedule),
        ({"rrule": "FREQ=NEVER"}, InvalidInput),
        ({"every": HOUR, "end": datetime(2020, 1, 1, tzinfo=UTC)}, InvalidSchedule),
        ({"every": HOUR, "misfire": "some"}, InvalidSchedule),
        ({"every": HOUR, "grace": -HOUR}, InvalidSchedule),
        ({"every": HOUR, "grace": 5}, InvalidSchedule),
        ({"every": HOUR, "args": [object()]}, InvalidValue),
        ({"every": HOUR, "kwargs": {"x": {1: 2}}}, InvalidValue),
        ({"every": HOUR, "kwargs": [1]}, InvalidInput),
        ({"every": HOUR, "args": "text"}, InvalidInput),
        ({"every": HOUR, "kwargs": {1: 2}}, InvalidInput),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_changes_nothing(
    obj: Scripted, clock: FakeClock, wrong: dict[str, Any], error: type[Exception]
) -> None:
    """Times that never come or cannot be, and values that cannot be stored, raise; what was set stays as it was."""
    obj.schedules.set("a", "scheduled", every=DAY)
    before = Schedule.objects.values().get()
    with pytest.raises(error):
        obj.schedules.set("a", "scheduled", **wrong)
    assert Schedule.objects.values().get() == before


@pytest.mark.parametrize("name", ["", "x" * 600, 5, "\ud800"])
def test_a_name_is_one_of_an_object(obj: Scripted, name: Any) -> None:
    """A schedule may be named as an object may."""
    with pytest.raises(InvalidName):
        obj.schedules.set(name, "scheduled", every=HOUR)


@pytest.mark.parametrize("method", ["nothing", "script", "delete", "save", "storage", "__init__", "run_exclusive", 5])
def test_only_a_method_of_the_class_itself(obj: Scripted, method: Any) -> None:
    """What is called is a method that a class of the user's defines: none of the engine's or Django's."""
    with pytest.raises(InvalidSchedule, match="method"):
        obj.schedules.set("a", method, every=HOUR)


def test_arguments_are_those_that_the_method_takes(clock: FakeClock) -> None:
    """What the method would refuse is refused when it is set, and not at each run."""
    counter = Counter.objects.get_by_name("a")
    for wrong in ({"kwargs": {"times": 3}}, {"args": [1, 2]}):
        with pytest.raises(InvalidSchedule, match="wrong arguments"):
            counter.schedules.set("a", Counter.add, every=HOUR, **wrong)
    assert not Schedule.objects.exists()


def test_no_more_than_can_be_read_in_one_turn(obj: Scripted, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object has 1,000 schedules at most, by whatever they are set."""
    monkeypatch.setattr("durable_objects.turns.schedule_changes.MAX_SCHEDULES", 2)
    obj.schedules.set("a", "scheduled", every=HOUR)
    obj.schedules.set("b", "scheduled", every=HOUR)
    with pytest.raises(InvalidInput, match="2 schedules"):
        obj.schedules.set("c", "scheduled", every=HOUR)
    obj.schedules.set("b", "scheduled", every=DAY)


def test_a_class_without_an_alarm_has_schedules(clock: FakeClock) -> None:
    """A schedule needs no ``alarm()``, and calls methods that are turns themselves."""
    counter = Counter.objects.get_by_name("a")
    counter.schedules.set("a", Counter.add, after=HOUR, kwargs={"by": 3})
    clock.advance(HOUR)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert counter.storage.get("count") == 3


def test_a_schedule_is_published_after_the_commit(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """What is due soon is sent as the alarm is; a rollback sends nothing."""

    def undone() -> None:
        obj.schedules.set("b", "scheduled", after=timedelta(0))
        raise ZeroDivisionError

    obj.schedules.set("a", "scheduled", after=SECOND)
    assert len(published) == 1
    with pytest.raises(ZeroDivisionError):
        obj.run_exclusive(undone)
    assert len(published) == 1


def test_rows_come_back_as_they_went(obj: Scripted, clock: FakeClock) -> None:
    """Every column is read as it was stored, whichever driver gives it as text."""
    grace = timedelta(hours=1, microseconds=1)
    obj.schedules.set("a", "scheduled", every=HOUR, grace=grace)
    call = schedule_sql.load(engine_clock.connection(), Alarm.objects.get().pk)["a"]
    row = Schedule.objects.get()
    assert (call.grace, call.declared, call.is_decided) == (grace, False, False)
    assert (call.due_at, call.scheduled_at) == (row.due_at, row.scheduled_at) == (clock.now(), clock.now())
    assert (call.rule, call.set_number, call.retry_count) == (row.rule, row.set_number, 0)


def test_a_dead_schedule_is_set_again(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """One that is dead, set again, runs again with all its retries."""

    def fail(obj: Scripted) -> None:
        raise DurableObjectError("no")

    script.scheduled = fail
    obj.schedules.set("a", "scheduled", at=clock.now() + HOUR)
    for _ in range(8):
        clock.advance(HOUR)
        run_due_alarms()
    found = obj.schedules.get("a")
    assert found is not None
    assert (found.state, found.died_at) == ("dead", datetime(2026, 5, 1, 13, tzinfo=UTC))
    assert obj.schedules.set("a", "scheduled", at=datetime(2026, 5, 1, 13, tzinfo=UTC)).state == "armed"
    assert len(run_due_alarms()) == 1
