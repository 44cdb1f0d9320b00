"""Digests: what comes due for one person within a while is one message."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable_objects import InvalidInput
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from reminders import digests
from reminders.digests import Digest
from reminders.models import Delivery, Plan, Recipient, Reminder
from tests.support.passing_time import pass_time
from tests.support.reminders_of_ada import remind, state_of, texts
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RETRIES = [timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 32, 64)]
CrashAt = Callable[[str], AbstractContextManager[None]]


def test_what_comes_due_within_the_window_is_one_message(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """An hour after the first that comes due one message has all that did, each on record under its own key with the
    key of the digest; a single one is over then, and a series goes on.
    """
    start = alarm_clock.now() + HOUR
    tea, milk = remind("tea", start), remind("milk", start + 20 * MINUTE, recurrence="FREQ=DAILY")
    late = remind("late", start + 61 * MINUTE)
    pass_time(alarm_clock, HOUR)
    assert (state_of(tea), Plan.objects.get(message="tea!").next_at) == (("set", "digest"), start + HOUR)
    pass_time(alarm_clock, 20 * MINUTE)
    assert sent == []
    pass_time(alarm_clock, 40 * MINUTE)
    assert [texts(message) for message in sent] == [["tea!", "milk!"]]
    assert (sent[0].person, sent[0].planned_at, sent[0].title) == ("ada", start + HOUR, "2 reminders: tea!; milk!")
    assert [item.planned_at for item in sent[0].items] == [start, start + 20 * MINUTE]
    rows = Delivery.objects.order_by("id")
    assert {str(row.digest) for row in rows} == {sent[0].key}
    assert [(str(row.key), row.message, row.status) for row in rows] == [
        (item.key, item.text, "delivered") for item in sent[0].items
    ]
    assert (tea.get_reminder(), milk.storage.get_alarm()) == (None, start + 20 * MINUTE + DAY)
    assert state_of(late) == ("set", "")
    assert Digest.objects.get_by_name("ada").storage.get_alarm() is None


def test_one_that_is_alone_comes_as_it_would_without(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """A window with one reminder in it ends with that one's ordinary message."""
    remind("tea", alarm_clock.now())
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [["<tea!>"]]
    assert (sent[0].reminder, sent[0].late, Delivery.objects.get().digest) == ("tea", timedelta(0), None)


@pytest.mark.parametrize(
    "options",
    [{"urgent": True}, {"skip_if_late": 59 * MINUTE}, {"person": "bob"}, {"person": None}],
    ids=lambda options: next(iter(options)) + str(next(iter(options.values()))),
)
def test_what_waits_for_no_digest(ada: Recipient, alarm_clock: FakeClock, sent: Sent, options: dict[str, Any]) -> None:
    """At once come: an urgent one, one that is not worth having that late, and those of whoever chose no window."""
    remind("tea", alarm_clock.now(), **options)
    pass_time(alarm_clock)
    assert [texts(message) for message in sent] == [["<tea!>"]]


def test_what_is_too_late_joins_no_digest(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """After an outage, a reminder that is not worth having any more is skipped at once, and is on record as that."""
    remind("tea", alarm_clock.now(), skip_if_late=2 * HOUR)
    pass_time(alarm_clock, 3 * HOUR)
    assert (sent, Delivery.objects.get().status) == ([], "skipped")


def test_a_snoozed_one_comes_at_the_time_that_was_chosen(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """Who says "in 20 minutes" does not mean the next digest; one that was snoozed while it waited is not in that."""
    tea, milk, cake = (remind(name, alarm_clock.now()) for name in ("tea", "milk", "cake"))
    pass_time(alarm_clock)
    assert tea.snooze(20 * MINUTE) == alarm_clock.now() + 80 * MINUTE
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [["cake!", "milk!"]]
    pass_time(alarm_clock, 20 * MINUTE)
    assert texts(sent[-1]) == ["<tea!>"]
    assert not any(each.get_reminder() for each in (tea, milk, cake))


def _moved(reminder: Reminder, clock: FakeClock) -> None:
    reminder.edit_reminder(fire_at=clock.now() + DAY)


LEAVING: dict[str, tuple[Callable[[Reminder, FakeClock], object], tuple[str, str], list[str]]] = {
    "cancelled": (lambda reminder, clock: reminder.cancel(), ("cancelled", "digest"), []),
    "skipped": (lambda reminder, clock: reminder.skip(), ("over", "digest"), []),
    "moved": (_moved, ("set", ""), []),
    "set again": (lambda reminder, clock: remind("tea", clock.now() + DAY), ("set", ""), []),
    "made urgent": (lambda reminder, clock: reminder.edit_reminder(urgent=True), ("over", ""), ["<tea!>"]),
    "for bob": (lambda reminder, clock: reminder.edit_reminder(person="bob"), ("over", ""), ["<tea!>"]),
}


@pytest.mark.parametrize("case", LEAVING.values(), ids=LEAVING)
def test_what_is_changed_while_it_waits_is_left_out(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, case: tuple[Any, tuple[str, str], list[str]]
) -> None:
    """The digest has what is still to come at its time; what was made urgent, or another's, comes at once."""
    change, standing, at_once = case
    tea, _, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk", "cake"))
    pass_time(alarm_clock)
    change(tea, alarm_clock)
    pass_time(alarm_clock)
    assert [text for message in sent for text in texts(message)] == at_once
    pass_time(alarm_clock, HOUR)
    assert texts(sent[-1]) == ["cake!", "milk!"]
    assert state_of(tea) == standing


def test_a_text_that_is_edited_while_it_waits_is_the_one_that_comes(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent
) -> None:
    """Another text, or other channels, leave a reminder where it is."""
    tea, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk"))
    pass_time(alarm_clock)
    tea.edit_reminder(message="green tea")
    pass_time(alarm_clock, HOUR)
    assert texts(sent[0]) == ["milk!", "green tea"]


def test_quiet_hours_hold_a_digest(alarm_clock: FakeClock, sent: Sent) -> None:
    """A digest whose time is in quiet hours comes at their end, with what they held themselves; so does one that an
    outage brought there.
    """
    ada = Recipient.objects.create(name="ada", digest_window=HOUR, quiet_hours="22:00-07:00")
    alarm_clock.move_to(datetime(2030, 1, 1, 21, 30, tzinfo=UTC))
    for name in ("tea", "milk"):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    morning = datetime(2030, 1, 2, 7, tzinfo=UTC)
    assert {plan.next_at for plan in Plan.objects.all()} == {morning}
    alarm_clock.move_to(morning)
    pass_time(alarm_clock)
    assert texts(sent[0]) == ["milk!", "tea!"]
    for name in ("tea", "milk"):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    ada.quiet_hours = "07:30-12:00"
    ada.save()
    pass_time(alarm_clock, HOUR)
    assert len(sent) == 1
    alarm_clock.move_to(datetime(2030, 1, 2, 12, tzinfo=UTC))
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    assert [sorted(texts(message)) for message in sent[1:]] == [["milk!", "tea!"]]


def test_a_message_has_its_bounds(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much for one message is in the next, right after it."""
    monkeypatch.setattr(digests, "AT_MOST", 3)
    monkeypatch.setattr(digests, "CHARACTERS", 20)
    for name in ("a", "b", "c", "d", "e", "long" * 4, "longer" * 3):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [
        ["a!", "b!", "c!"], ["d!", "e!"], ["<longlonglonglong!>"], ["<longerlongerlonger!>"]
    ]  # fmt: skip


def test_an_update_of_the_time_zones_leaves_what_waits(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """What is due already is in its digest, whatever its wall time is by now."""
    tea, _ = (remind(name, alarm_clock.now(), time_zone="Europe/Berlin") for name in ("tea", "milk"))
    pass_time(alarm_clock)
    Plan.objects.filter(pk=tea.pk).update(wall_time="2030-01-01T09:00:00", start_wall_time="2030-01-01T09:00:00")
    assert tea.recompute() is None
    pass_time(alarm_clock, HOUR)
    assert texts(sent[0]) == ["milk!", "tea!"]


def test_a_window_is_chosen_for_a_recipient(ada: Recipient) -> None:
    """A window is between a minute and a week, and of somebody whom staff has entered; others change nothing."""
    digests.choose_window("ada", 2 * HOUR)
    assert digests.standing("ada") == ("ada", 2 * HOUR, 0, None)
    for person, window in (("ada", timedelta(0)), ("ada", 8 * DAY), ("eve", HOUR)):
        with pytest.raises(InvalidInput, match=r"Allowed: "):
            digests.choose_window(person, window)
    assert digests.standing("ada").window == 2 * HOUR
    digests.choose_window("ada", None)
    assert digests.standing("ada").window is None
    assert not Object.objects.exists()
