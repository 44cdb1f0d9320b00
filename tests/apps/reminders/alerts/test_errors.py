"""Errors that are new, and errors that come often: the same where they differ in values only."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects import AlarmInfo, now
from durable_objects.conditions import ask
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from reminders.models import KnownError
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def fail(name: str, error: str) -> None:
    """Let this object's alarm fail once."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        raise ValueError(error)

    Scripted.script = Script()
    Scripted.script.alarm = alarm
    Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(0))
    run_due_alarms()
    Scripted.objects.get_by_name(name).storage.delete_alarm()


def new(**limits: timedelta) -> list[str]:
    """The errors that are new."""
    found = ask("new_error", now(), **limits)  # type: ignore[arg-type]  # a span
    return sorted(found.subjects.values()) if found else []


def test_what_was_there_before_the_first_look_is_not_new(alarm_clock: FakeClock) -> None:
    """Neither what runs failed with lately, nor what alarms died of long ago."""
    fail("a", "card 17 declined")
    fail("b", "no such table")
    Alarm.objects.update(state="dead", last_error="ValueError: no such table", error_group="0123456789abcdef")
    AlarmRun.objects.filter(error__contains="table").delete()
    assert new() == []
    assert KnownError.objects.count() == 2


def test_an_error_is_new_for_its_time_and_once(alarm_clock: FakeClock) -> None:
    """Another value is no other error; another class of errors is."""
    fail("a", "card 17 declined")
    assert new() == []
    alarm_clock.advance(MINUTE)
    fail("b", "card 18 declined")
    assert new() == []
    fail("c", "the bank is away")
    assert new() == ["tests.Scripted: ValueError: the bank is away"]
    assert ask("new_error", now(), object_class="batcher.Batcher") is None
    alarm_clock.advance(50 * MINUTE)
    fail("d", "the bank is away")
    assert new() == ["tests.Scripted: ValueError: the bank is away"]
    assert new(span=10 * MINUTE) == []
    alarm_clock.advance(11 * MINUTE)
    assert new() == []


def test_what_did_not_come_for_a_month_is_new_again(alarm_clock: FakeClock) -> None:
    """And what goes on coming is not."""
    fail("a", "the bank is away")
    assert new() == []
    for _ in range(40):
        alarm_clock.advance(timedelta(days=1))
        fail("a", "the bank is away")
        assert new() == []
    alarm_clock.advance(timedelta(days=31))
    fail("a", "the bank is away")
    assert len(new()) == 1


def test_ten_thousand_new_errors_are_read_and_stored_up_to_a_bound(alarm_clock: FakeClock) -> None:
    """The newest thousand of a look."""
    assert new() == []
    row = Scripted.objects.get_by_name("a")
    row.storage.put("k", 1)
    at = now()
    letters = "abcdefghijklmnop"
    errors = (f"ValueError: {''.join(letters[int(digit)] for digit in str(number))} zz" for number in range(10_000))
    AlarmRun.objects.bulk_create(
        AlarmRun(
            object_id=row.pk, scheduled_at=at, due_at=at, picked_up_at=at, started_at=at, ended_at=at, retry_count=1,
            fence=0, outcome="failed", error=error,
        )
        for error in errors
    )  # fmt: skip
    assert len(new()) == 1_000
    assert KnownError.objects.count() == 1_000


def test_an_error_that_comes_often(alarm_clock: FakeClock) -> None:
    """From its number on within its time, whatever the values in it; with its class and newest line."""
    for number in range(3):
        fail(f"shop {number}", f"card {number} declined")
        alarm_clock.advance(MINUTE)
    assert ask("frequent_error", now(), at_least=4) is None
    found = ask("frequent_error", now(), at_least=3)
    assert found is not None
    assert found.text == "Errors that came often in the last 15m."
    assert list(found.subjects.values()) == ["tests.Scripted: ValueError: card 2 declined (3 times)"]
    alarm_clock.advance(13 * MINUTE)
    assert ask("frequent_error", now(), at_least=3) is None
