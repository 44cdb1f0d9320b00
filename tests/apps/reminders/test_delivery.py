"""Reminders: what happens while one is delivered, and what becomes of a delivery that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest

from durable_objects.operations import actions
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from reminders import channels
from reminders.channels import Message
from reminders.models import Delivery, Reminder
from tests.support.passing_time import outcomes
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RETRIES = [timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 32, 64)]
CrashAt = Callable[[str], AbstractContextManager[None]]


def test_a_reminder_set_while_another_is_being_delivered_is_kept(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent
) -> None:
    """The seed deletes it: ours stays set and is delivered at its own time."""
    again = alarm_clock.now() + HOUR * 3
    sent.act = lambda message: message.text == "first" and reminder.set_reminder("second", again)
    reminder.set_reminder("first", alarm_clock.now() + HOUR)
    outcomes(alarm_clock, HOUR)
    state = reminder.get_reminder()
    assert state is not None
    assert (state["message"], reminder.storage.get_alarm()) == ("second", again)
    outcomes(alarm_clock, HOUR * 2)
    assert [message.text for message in sent] == ["first", "second"]
    assert reminder.get_reminder() is None


def test_cancelled_while_it_is_being_delivered(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """cancel() during a delivery that fails ends it: no retry, and of a series nothing more."""

    def cancel_and_fail(message: Message) -> None:
        assert reminder.cancel() is True
        raise OSError

    sent.act = cancel_and_fail
    reminder.set_reminder("first", alarm_clock.now() + HOUR, recurrence="FREQ=DAILY")
    outcomes(alarm_clock, HOUR)
    assert outcomes(alarm_clock, DAY * 2) == []
    assert (reminder.get_reminder(), len(sent)) == (None, 1)


def test_snoozed_while_it_is_being_delivered(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """A snooze during the delivery brings it once more, under a key of its own; the series goes on after that."""
    sent.act = lambda message: len(sent) == 1 and reminder.snooze(timedelta(minutes=10))
    fire_at = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", fire_at, recurrence="FREQ=DAILY")
    outcomes(alarm_clock, HOUR)
    assert reminder.storage.get_alarm() == fire_at + timedelta(minutes=10)
    outcomes(alarm_clock, timedelta(minutes=10))
    assert len(sent) == len({message.key for message in sent}) == 2
    assert reminder.storage.get_alarm() == fire_at + DAY


def test_a_retry_carries_the_same_key_and_only_what_failed_is_sent_again(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One channel fails twice: it gets the same key three times, and the other is not bothered again."""
    other = Sent()
    monkeypatch.setitem(channels._channels, "other", other)

    def fail_twice(message: Message) -> None:
        if len(sent) < 3:
            raise OSError("no answer\0")

    sent.act = fail_twice
    reminder.set_reminder("tea", alarm_clock.now(), channels=["log", "other", "log"])
    assert outcomes(alarm_clock) == ["failed"]
    assert outcomes(alarm_clock, RETRIES[0]) == ["failed"]
    assert outcomes(alarm_clock, RETRIES[1]) == ["succeeded"]
    assert (len(sent), len(other), len({message.key for message in [*sent, *other]})) == (3, 1, 1)
    assert Delivery.objects.get(channel="log").attempts == 3
    assert reminder.get_reminder() is None


@pytest.mark.django_db(transaction=True)
def test_a_crash_after_sending_brings_the_same_key(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent, crash_at: CrashAt
) -> None:
    """Dying between sending and writing it down repeats nothing that is on record, and ends nothing."""
    reminder.set_reminder("tea", alarm_clock.now(), recurrence="FREQ=DAILY")
    with crash_at("reminders.delivered"), pytest.raises(SimulatedCrash):
        run_due_alarms()
    assert outcomes(alarm_clock, timedelta(minutes=2)) == ["succeeded"]
    assert (len(sent), Delivery.objects.get().attempts) == (1, 1)
    outcomes(alarm_clock, DAY)
    assert len({message.key for message in sent}) == len(sent) == 2


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
def test_channel_that_raises_anything_is_a_failed_delivery(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent, error: type[BaseException]
) -> None:
    """What a channel's asynchronous code raises is kept with the delivery, which is tried again."""

    def fail(message: Message) -> None:
        raise error

    sent.act = fail
    reminder.set_reminder("tea", alarm_clock.now())
    assert outcomes(alarm_clock) == ["failed"]
    assert error.__name__ in Delivery.objects.get().error


def test_one_bad_delivery_never_ends_the_series(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """With its retries used up a delivery stays on record with its error, and the next one comes all the same."""

    def fail(message: Message) -> None:
        raise OSError("post office closed")

    sent.act = fail
    fire_at = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", fire_at, recurrence="FREQ=DAILY;COUNT=2")
    seen = outcomes(alarm_clock, HOUR)
    for pause in RETRIES:
        seen += outcomes(alarm_clock, pause)
    assert seen == ["failed"] * 6 + ["dead"]
    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.delivered_at) == (7, None)
    assert "post office closed" in delivery.error
    assert reminder.storage.get_alarm() == fire_at + DAY
    sent.act = None
    assert outcomes(alarm_clock, DAY) == ["succeeded"]
    assert reminder.get_reminder() is None


def test_a_dead_single_reminder_is_kept_and_can_be_revived(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent
) -> None:
    """The only delivery failed for good: alarm dead, message kept; revived it is delivered under the same key."""

    def fail(message: Message) -> None:
        raise OSError

    sent.act = fail
    reminder.set_reminder("tea", alarm_clock.now())
    outcomes(alarm_clock)
    for pause in RETRIES:
        outcomes(alarm_clock, pause)
    assert Alarm.objects.get().state == "dead"
    assert reminder.get_reminder() is not None
    sent.act = None
    actions.revive(reminder)
    assert outcomes(alarm_clock) == ["succeeded"]
    assert len({message.key for message in sent}) == 1
    assert reminder.get_reminder() is None
