"""Operations on reminders: everything that matches is snoozed, skipped or cancelled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects.errors import InvalidInput
from durable_objects.operations import bulk
from durable_objects.testing import FakeClock
from reminders.models import Reminder
from tests.support.operations import do_to_all, figures

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def daily(alarm_clock: FakeClock) -> list[Reminder]:
    """Two daily reminders, the first in an hour; a third one is cancelled."""
    reminders = [Reminder.objects.get_by_name(name) for name in ("tea", "milk", "off")]
    for reminder in reminders:
        reminder.set_reminder("x", alarm_clock.now() + HOUR, recurrence="FREQ=DAILY")
    reminders.pop().cancel()
    return reminders


def next_of(reminder: Reminder) -> object:
    """When it is delivered next."""
    found = reminder.get_reminder()
    return found and found["next_at"]


def test_snoozed(daily: list[Reminder], alarm_clock: FakeClock) -> None:
    """Each that is set comes later by the span, once; what was cancelled is left out."""
    operation = do_to_all("snooze", "class:reminders.Reminder", arguments={"by": "30m"})
    assert figures(operation) == ("done", 2, 2, 0, 0)
    assert bulk.sentence(operation) == "Snooze by 30m 2 reminders (of reminders.Reminder), by ada"
    assert {next_of(reminder) for reminder in daily} == {alarm_clock.now() + HOUR * 1.5}


def test_skipped_and_cancelled(daily: list[Reminder], alarm_clock: FakeClock) -> None:
    """A skip leaves out the next delivery alone; a cancel all of them, with no alarm left behind."""
    assert figures(do_to_all("skip", "name:te*")) == ("done", 1, 1, 0, 0)
    assert [next_of(each) for each in daily] == [alarm_clock.now() + HOUR * 25, alarm_clock.now() + HOUR]
    assert figures(do_to_all("cancel_reminders", "")) == ("done", 2, 2, 0, 0)
    assert [(next_of(each), each.storage.get_alarm()) for each in daily] == [(None, None)] * 2


@pytest.mark.parametrize("verb", ["skip", "cancel_reminders"])
def test_what_nobody_gets_any_more_takes_a_reason(verb: str, settings: object) -> None:
    """Where a reason is required, skipping and cancelling take one."""
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}  # type: ignore[attr-defined]  # pytest-django's
    with pytest.raises(InvalidInput, match="REQUIRE_REASON"):
        do_to_all(verb, "")
