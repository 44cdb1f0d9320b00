"""Reminders that are edited, skipped, snoozed again, held by quiet hours, or too late."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from durable_objects import InvalidInput
from durable_objects.testing import FakeClock
from durable_objects.turns.calls import current
from reminders import models, validation
from reminders.models import Delivery, Plan, Recipient, Reminder
from reminders.quiet_hours import QuietHours
from reminders.recurrence import Series
from tests.support.passing_time import follow, outcomes
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 6, 1, 18, tzinfo=BERLIN)


def test_an_edit_keeps_the_place(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """A new text or channel leaves series, COUNT and a snooze as they are."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY;COUNT=3")
    outcomes(alarm_clock, HOUR)
    snoozed = reminder.snooze(HOUR)
    assert reminder.edit_reminder(message="coffee") == snoozed
    follow(alarm_clock, reminder, start + DAY * 9)
    assert [message.text for message in sent] == ["tea", "coffee", "coffee"]
    assert reminder.get_reminder() is None


def test_other_times_are_followed_from_now_on(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """A new rule keeps the old start's cadence, and nothing that it would have had before now is made up for."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY")
    outcomes(alarm_clock, HOUR)
    alarm_clock.advance(timedelta(minutes=30))
    assert reminder.edit_reminder(recurrence="FREQ=HOURLY;INTERVAL=6") == start + HOUR * 6
    assert reminder.edit_reminder(recurrence=None, fire_at=start + DAY) == start + DAY
    assert outcomes(alarm_clock, DAY) == ["succeeded"]
    assert (len(sent), reminder.get_reminder()) == (2, None)


def test_set_to_a_time_that_was_delivered_it_comes_again(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent
) -> None:
    """Edited to the very time of an earlier delivery it is another delivery with another key, at once."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY")
    outcomes(alarm_clock, HOUR)
    reminder.edit_reminder(recurrence=None, fire_at=start)
    assert outcomes(alarm_clock) == ["succeeded"]
    assert len({message.key for message in sent}) == 2


def test_edited_while_it_is_tried(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """A channel that fails gets the new text on its retry, under the same key; one that delivered is left alone."""
    tried: list[str] = []

    def fail_once(message: Any) -> None:
        tried.append(message.text)
        if len(tried) == 1:
            reminder.edit_reminder(message="coffee")
            raise OSError

    sent.act = fail_once
    reminder.set_reminder("tea", alarm_clock.now())
    outcomes(alarm_clock)
    assert (tried, len({message.key for message in sent})) == (["tea", "coffee"], 1)
    assert reminder.get_reminder() is None


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"message": 5}, {"recurrence": "daily"}, {"urgent": 1},
                                     {"person": 5}, {"skip_if_late": -HOUR}])  # fmt: skip
def test_a_wrong_edit_changes_nothing(reminder: Reminder, changes: dict[str, Any]) -> None:
    """What is refused is named, and the reminder stays as it was."""
    reminder.set_reminder("tea", EVENING.replace(year=2030))
    before = reminder.get_reminder()
    with pytest.raises(InvalidInput):
        reminder.edit_reminder(**changes)
    assert reminder.get_reminder() == before
    with pytest.raises(InvalidInput, match="is not set: nothing to edit"):
        Reminder.objects.get_by_name("never").edit_reminder(message="x")


def test_skip_leaves_one_out(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """skip() goes to the next one; of the last one it makes an end."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY;COUNT=2")
    assert (reminder.skip(), reminder.skip()) == (start + DAY, None)
    assert (outcomes(alarm_clock, DAY * 3), reminder.get_reminder(), reminder.storage.get_alarm()) == ([], None, None)


def test_what_was_delivered_can_come_again(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """remind_again() brings a delivered occurrence once more, under another key; the series goes on after it."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY;COUNT=2")
    plan = reminder.plan()
    assert plan is not None
    for _ in range(2):
        outcomes(alarm_clock, DAY)
    assert reminder.get_reminder() is None
    reminder.remind_again(plan.series_id, plan.place, HOUR)
    assert outcomes(alarm_clock, HOUR) == ["succeeded"]
    assert (len(sent), len({message.key for message in sent})) == (3, 3)
    reminder.set_reminder("again", start + DAY * 9)
    with pytest.raises(InvalidInput, match="set again"):
        reminder.remind_again(plan.series_id, plan.place, HOUR)


@pytest.mark.parametrize(
    ("hours", "at", "zone", "over"),
    [
        ("22:00-07:00", "2026-06-01T23:30+02:00", "Europe/Berlin", "2026-06-02T07:00+02:00"),
        ("22:00-07:00", "2026-06-01T06:59+02:00", "Europe/Berlin", "2026-06-01T07:00+02:00"),
        ("22:00-07:00", "2026-06-01T07:00+02:00", "Europe/Berlin", "2026-06-01T07:00+02:00"),
        ("13:00-14:30", "2026-06-01T13:00+02:00", "Europe/Berlin", "2026-06-01T14:30+02:00"),
        ("22:00-02:30", "2026-03-28T23:00+01:00", "Europe/Berlin", "2026-03-29T03:30+02:00"),
        ("01:00-02:30", "2026-10-25T02:10+01:00", "Europe/Berlin", "2026-10-25T02:30+01:00"),
        ("20:00-08:00", "2011-12-29T21:00-10:00", "Pacific/Apia", "2011-12-31T08:00+14:00"),
    ],
)
def test_when_quiet_hours_are_over(hours: str, at: str, zone: str, over: str) -> None:
    """At the end of the hours that the moment is in, by the recipient's clock, also over changes of it."""
    moment = datetime.fromisoformat(at)
    assert QuietHours.parse(hours).over_at(moment, ZoneInfo(zone)) == datetime.fromisoformat(over)


@pytest.mark.parametrize("hours", ["", "22-7", "22:00-22:00", "24:00-07:00", 5, "22:00-07:00 "])
def test_what_are_no_quiet_hours(hours: Any) -> None:
    """Anything but two different times of day is refused."""
    with pytest.raises(InvalidInput, match="Allowed: two different times"):
        QuietHours.parse(hours)


def test_quiet_hours_hold_what_is_not_urgent(reminder: Reminder, sent: Sent) -> None:
    """What falls into the recipient's night comes in the morning, one key for both; the urgent one comes at once."""
    Recipient.objects.create(name="ada", time_zone="Europe/Berlin", quiet_hours="22:00-07:00")
    urgent = Reminder.objects.get_by_name("urgent")
    night, morning = EVENING + HOUR * 5, EVENING + HOUR * 13
    with FakeClock(EVENING) as clock:
        assert reminder.set_reminder("tea", night, person="ada", recurrence="FREQ=DAILY;COUNT=2") == morning
        assert urgent.set_reminder("fire", night, person="ada", urgent=True) == night
        outcomes(clock, HOUR * 5)
        assert [message.text for message in sent] == ["fire"]
        outcomes(clock, HOUR * 8)
        assert [message.text for message in sent] == ["fire", "tea"]
        assert sent[1].late == timedelta(0)
        assert reminder.storage.get_alarm() == morning + DAY
        assert reminder.edit_reminder(urgent=True) == night + DAY


def test_an_outage_that_ends_at_night_wakes_nobody(reminder: Reminder, sent: Sent) -> None:
    """Due in the evening, run at night: held until the morning all the same."""
    Recipient.objects.create(name="ada", time_zone="Europe/Berlin", quiet_hours="22:00-07:00")
    with FakeClock(EVENING) as clock:
        reminder.set_reminder("tea", EVENING + HOUR, person="ada")
        outcomes(clock, HOUR * 6)
        assert (sent, reminder.storage.get_alarm()) == ([], EVENING + HOUR * 13)
        outcomes(clock, HOUR * 7)
        assert [message.text for message in sent] == ["tea"]


def test_late_ones_say_so(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """Two hours late the message says that; a few seconds late it says nothing."""
    reminder.set_reminder("tea", alarm_clock.now() + HOUR)
    outcomes(alarm_clock, HOUR * 3)
    Reminder.objects.get_by_name("other").set_reminder("cake", alarm_clock.now() + HOUR)
    outcomes(alarm_clock, HOUR + timedelta(seconds=5))
    assert [message.marked for message in sent] == ["tea (late by 2 h)", "cake"]


def test_too_late_is_skipped(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """Later than ``skip_if_late`` it is not delivered but on record as skipped, and the series goes on."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY", skip_if_late=timedelta(minutes=30))
    outcomes(alarm_clock, HOUR * 2)
    assert (sent, Delivery.objects.get().status, reminder.storage.get_alarm()) == ([], "skipped", start + DAY)
    outcomes(alarm_clock, DAY - HOUR + timedelta(minutes=20))
    assert len(sent) == 1


def test_a_retry_is_never_too_late(reminder: Reminder, alarm_clock: FakeClock, sent: Sent) -> None:
    """What was begun in time is tried to its end: the policy is about the first try."""

    def fail_once(message: Any) -> None:
        if len(sent) == 1:
            raise OSError

    sent.act = fail_once
    reminder.set_reminder("tea", alarm_clock.now(), skip_if_late=timedelta(seconds=1))
    assert (outcomes(alarm_clock), outcomes(alarm_clock, timedelta(seconds=2))) == (["failed"], ["succeeded"])
    assert Delivery.objects.get().status == "delivered"


def test_the_list_of_a_person_is_one_query(alarm_clock: FakeClock) -> None:
    """What is set for a person, what comes next first, with the reminder's name, in one query by its index."""
    for number in range(5):
        reminder = Reminder.objects.get_by_name(f"r{number}")
        reminder.set_reminder(f"m{number}", alarm_clock.now() + HOUR * (5 - number), person="ada")
    Reminder.objects.get_by_name("bob's").set_reminder("m", alarm_clock.now() + HOUR, person="bob")
    Reminder.objects.get_by_name("r0").cancel()
    with CaptureQueriesContext(connection) as queries:
        listed = [(plan.object.name, plan.message) for plan in Reminder.objects.of_person("ada")]
    assert listed == [(f"r{number}", f"m{number}") for number in (4, 3, 2, 1)]
    assert len(queries) == 1
    assert "reminders_of_person" in Plan.objects.of_person("ada").explain() or connection.vendor == "postgresql"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="run with TEST_DATABASE_URL=postgresql://…")
def test_a_person_is_searched_by_indexes() -> None:
    """What is set for a person is found by one index, and what has ended by another, of which it gives both columns."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = Plan.objects.to_or_once_to("ada").explain().splitlines()
    conditions = {line.split()[5]: after for line, after in itertools.pairwise(plan) if "Index Scan on" in line}
    assert sorted(conditions) == ["reminders_ended", "reminders_of_person"]
    assert "state" in conditions["reminders_ended"]


def test_the_zone_is_the_recipients(reminder: Reminder) -> None:
    """Where none is given the series goes by the recipient's clocks."""
    Recipient.objects.create(name="ada", time_zone="Asia/Tokyo")
    reminder.set_reminder("tea", EVENING.replace(year=2030), person="ada")
    plan = reminder.plan()
    assert plan is not None
    assert plan.time_zone == "Asia/Tokyo"


def test_the_record_of_deliveries_is_bounded(
    reminder: Reminder, alarm_clock: FakeClock, sent: Sent, settings: Any
) -> None:
    """A reminder that has been going for long keeps ``DELIVERIES_PER_REMINDER`` of them, the newest."""
    settings.REMINDERS = {"DELIVERIES_PER_REMINDER": 3}
    reminder.set_reminder("tea", alarm_clock.now(), recurrence="FREQ=HOURLY")
    for _ in range(14):
        outcomes(alarm_clock, HOUR)
    rows = Delivery.objects.order_by("planned_at")
    assert 3 <= len(rows) <= 13
    assert rows.last().planned_at == alarm_clock.now()  # type: ignore[union-attr]  # counted above
    assert Delivery.objects.exclude(occurrence=None).count() == len(rows)


@pytest.mark.parametrize("verb", ["set", "edit", "skip", "alarm"])
def test_the_next_time_is_worked_out_before_the_lock(
    reminder: Reminder, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """What a rule gives is asked while nobody waits for the object: no turn of it is open then."""
    asked: list[bool] = []
    wall_times = Series._wall_times

    def asking(*args: Any) -> Any:
        asked.append(current(reminder) is not None)
        return wall_times(*args)

    monkeypatch.setattr(Series, "_wall_times", asking)
    reminder.set_reminder("tea", alarm_clock.now() + HOUR, recurrence="FREQ=HOURLY")
    if verb != "set":
        asked.clear()
    if verb == "edit":
        reminder.edit_reminder(recurrence="FREQ=DAILY")
    elif verb == "skip":
        reminder.skip()
    elif verb == "alarm":
        assert outcomes(alarm_clock, HOUR) == ["succeeded"]
    assert asked
    assert not any(asked)


def test_an_edit_that_was_overtaken_holds_for_what_is_there_then(
    reminder: Reminder, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that came between reading and locking is kept: what was worked out for the old rule is not used."""
    start = alarm_clock.now() + HOUR
    reminder.set_reminder("tea", start, recurrence="FREQ=DAILY")
    edited = validation.edited

    def overtaken(plan: Plan, changes: dict[str, Any]) -> Any:
        monkeypatch.undo()
        found = edited(plan, changes)
        reminder.edit_reminder(recurrence="FREQ=WEEKLY")
        return found

    monkeypatch.setattr(models, "edited", overtaken)
    assert reminder.edit_reminder(fire_at=start + HOUR) == start + HOUR
    plan = reminder.plan()
    assert plan is not None
    assert (plan.recurrence, plan.fire_at) == ("FREQ=WEEKLY", start + HOUR)
