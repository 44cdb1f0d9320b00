"""Reminders: once, again and again, put off, taken away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from durable_objects import InvalidAlarmTime, InvalidInput, InvalidValue
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from reminders.models import Delivery, Reminder
from tests.support.passing_time import outcomes
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_a_reminder_is_delivered_at_its_time_and_is_over(
    reminder: Reminder, alarm_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """At its time the message is in the log, its delivery on record, and nothing is set any more."""
    fire_at = (alarm_clock.now() + HOUR).astimezone(ZoneInfo("Asia/Tokyo"))
    assert reminder.set_reminder("drink", fire_at) == fire_at
    assert reminder.get_reminder() == {
        "message": "drink", "fire_at": fire_at, "next_at": fire_at, "recurrence": None, "time_zone": "UTC",
        "channels": ["log"],
    }  # fmt: skip
    assert outcomes(alarm_clock, HOUR - timedelta(seconds=1)) == []
    with caplog.at_level("INFO", logger="reminders"):
        assert outcomes(alarm_clock, timedelta(seconds=1)) == ["succeeded"]
    assert "REMINDER: drink" in caplog.text
    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.delivered_at, delivery.planned_at) == (1, alarm_clock.now(), fire_at)
    assert (reminder.get_reminder(), reminder.storage.get_alarm(), reminder.storage.list()) == (None, None, {})


def test_a_past_time_means_now(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """A reminder whose time is over is delivered at once."""
    reminder.set_reminder("late", alarm_clock.now() - DAY)
    assert outcomes(alarm_clock) == ["succeeded"]
    assert [message.text for message in sent] == ["late"]


def test_a_series_goes_by_the_wall_clock(reminder: Reminder, sent: Sent) -> None:
    """09:00 in Berlin stays 09:00 over the change of summer time, and COUNT is kept."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 27, 9, 0, tzinfo=berlin)
    with FakeClock(start - HOUR) as clock:
        reminder.set_reminder("tea", start, recurrence="FREQ=DAILY;COUNT=4", time_zone="Europe/Berlin")
        while (at := reminder.storage.get_alarm()) is not None:
            clock.move_to(at)
            assert outcomes(clock) == ["succeeded"]
    hours = [message.planned_at.astimezone(berlin).strftime("%d %H:%M") for message in sent]
    assert hours == ["27 09:00", "28 09:00", "29 09:00", "30 09:00"]
    assert reminder.get_reminder() is None


def test_missed_occurrences_come_once_and_late(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """After days without a worker one delivery is made, and the series goes on with the next one ahead."""
    fire_at = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", fire_at, recurrence="FREQ=DAILY;COUNT=10")
    outcomes(alarm_clock, DAY * 4 + HOUR * 2)
    assert [message.planned_at for message in sent] == [fire_at]
    assert reminder.storage.get_alarm() == fire_at + DAY * 5


def test_snooze_puts_off_this_one_only(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """Snoozed, an occurrence comes later; the next one is where it was. Its time is what get_reminder() says."""
    fire_at = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", fire_at, recurrence="FREQ=DAILY")
    assert reminder.snooze(timedelta(minutes=10)) == fire_at + timedelta(minutes=10)
    state = reminder.get_reminder()
    assert state is not None
    assert (state["next_at"], state["fire_at"]) == (fire_at + timedelta(minutes=10), fire_at)
    assert outcomes(alarm_clock, HOUR) == []
    assert outcomes(alarm_clock, timedelta(minutes=10)) == ["succeeded"]
    assert reminder.storage.get_alarm() == fire_at + DAY
    for wrong in (timedelta(0), -HOUR, 600, DAY * 10_000):
        with pytest.raises(InvalidInput, match="Allowed: a duration above 0"):
            reminder.snooze(wrong)  # type: ignore[arg-type]  # refused is what is tested
    with pytest.raises(InvalidInput, match="nothing to snooze"):
        Reminder.objects.get_by_name("never").snooze(HOUR)


def test_cancel_and_questions_make_no_row(reminder: Reminder) -> None:
    """A reminder that was never set answers None and False, and is not made by asking."""
    assert (reminder.get_reminder(), reminder.cancel()) == (None, False)
    assert not Object.objects.exists()


def test_cancel_takes_the_whole_series(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """After cancel() nothing is set and nothing comes."""
    reminder.set_reminder("tea", alarm_clock.now() + HOUR, recurrence="FREQ=DAILY")
    assert (reminder.cancel(), reminder.cancel()) == (True, False)
    assert (outcomes(alarm_clock, DAY), sent, reminder.get_reminder()) == ([], [], None)


SOON = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"message": 5}, InvalidValue),
        ({"message": "a\0"}, InvalidValue),
        ({"fire_at": datetime(2030, 1, 1)}, InvalidAlarmTime),  # noqa: DTZ001  naive is what is refused
        ({"fire_at": "2030-01-01T00:00:00Z"}, InvalidAlarmTime),
        ({"fire_at": HOUR}, InvalidAlarmTime),
        ({"fire_at": datetime(1970, 1, 1, tzinfo=UTC)}, InvalidAlarmTime),
        ({"recurrence": "daily"}, InvalidInput),
        ({"recurrence": "FREQ=SECONDLY"}, InvalidInput),
        ({"recurrence": "FREQ=DAILY;COUNT=0"}, InvalidInput),
        ({"recurrence": "FREQ=DAILY;UNTIL=20200101T000000Z"}, InvalidInput),
        ({"recurrence": "FREQ=DAILY\nDTSTART:20200101T000000Z"}, InvalidInput),
        ({"recurrence": 5}, InvalidInput),
        ({"time_zone": "Mars/Olympus"}, InvalidInput),
        ({"time_zone": "../etc/passwd"}, InvalidInput),
        ({"time_zone": "Europe"}, InvalidInput),
        ({"time_zone": 1}, InvalidInput),
        ({"channels": []}, InvalidInput),
        ({"channels": "log"}, InvalidInput),
        ({"channels": ["pigeon"]}, InvalidInput),
    ],
    ids=repr,
)
def test_set_reminder_refuses(reminder: Reminder, changes: dict[str, Any], error: type[Exception]) -> None:
    """Bad input raises the contract's error, and an earlier reminder stays as it was."""
    reminder.set_reminder("before", SOON)
    before = reminder.get_reminder()
    arguments: dict[str, Any] = {"message": "tea", "fire_at": SOON, **changes}
    with pytest.raises(error, match=r"Allowed|Give an aware"):
        reminder.set_reminder(**arguments)
    assert (reminder.get_reminder(), reminder.storage.get_alarm()) == (before, SOON)
