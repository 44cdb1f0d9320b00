"""Reminders and the time zones that they go by: updated, gone, and names that are none."""

from __future__ import annotations

import importlib.resources
import io
import json
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from durable_objects import InvalidInput, doctor
from durable_objects.operations import actions
from durable_objects.testing import FakeClock, run_due_alarms
from reminders import links
from reminders.models import Delivery, Plan, Recipient, Reminder
from tests.support.admin_pages import list_url, page_url, text_of
from tests.support.passing_time import follow, outcomes
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LAND = "Test/Land"
#: Before and after the update: a land with summer time (UTC+2) gives it up (UTC+1), or takes it up.
WITH_SUMMER_TIME, WITHOUT = "Europe/Berlin", "Africa/Algiers"
JUNE = datetime(2030, 6, 1, tzinfo=UTC)
AT_NINE, AT_EIGHT, AT_SEVEN = (datetime(2030, 6, 3, hour, tzinfo=UTC) for hour in (9, 8, 7))

Update = Callable[[str | None], None]


@pytest.fixture
def update(tmp_path: Path) -> Iterator[Update]:
    """Make Test/Land a zone with the clocks of another one from now on, as an update of tzdata does; None: gone."""
    zoneinfo.reset_tzpath([str(tmp_path)])
    path = tmp_path / LAND
    path.parent.mkdir()

    def write(clocks: str | None) -> None:
        if clocks is None:
            path.unlink()
        else:
            path.write_bytes(importlib.resources.files("tzdata").joinpath("zoneinfo", *clocks.split("/")).read_bytes())
        ZoneInfo.clear_cache(only_keys=[LAND])

    write(WITH_SUMMER_TIME)
    yield write
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache(only_keys=[LAND])


def at_nine(reminder: Reminder, rule: str | None = None, **more: Any) -> datetime:
    """Set it to 09:00 of the land on Monday, 3 June: 07:00 UTC in summer time."""
    nine = datetime(2030, 6, 3, 9, tzinfo=ZoneInfo(LAND))
    return reminder.set_reminder("tea", nine, recurrence=rule, time_zone=LAND, **more)


def plan_of(reminder: Reminder) -> Plan:
    plan = reminder.plan()
    assert plan is not None
    return plan


def command(*arguments: str) -> Any:
    out = io.StringIO()
    call_command("reminders", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def codes() -> list[str]:
    """What the doctor says of reminders."""
    return [finding.code for finding in doctor.examine(JUNE) if finding.code.startswith("reminders.")]


# -- an update


@pytest.mark.parametrize("rule", [None, "FREQ=DAILY;COUNT=3", "FREQ=WEEKLY;BYDAY=MO"])
def test_after_an_update_the_wall_time_is_the_truth(
    reminder: Reminder, update: Update, sent: Sent, rule: str | None
) -> None:
    """recompute() works out the moments again from the wall times on record: alarm, start and all that follow."""
    with FakeClock(JUNE) as clock:
        assert at_nine(reminder, rule) == AT_SEVEN
        assert reminder.recompute() is None
        update(WITHOUT)
        assert reminder.recompute() == AT_EIGHT
        state = reminder.get_reminder()
        assert state is not None
        assert (state["fire_at"], state["next_at"], reminder.storage.get_alarm()) == (AT_EIGHT, AT_EIGHT, AT_EIGHT)
        assert reminder.recompute() is None
        follow(clock, reminder, JUNE + DAY * 10)
    days = {None: [3], "FREQ=DAILY;COUNT=3": [3, 4, 5], "FREQ=WEEKLY;BYDAY=MO": [3, 10]}[rule]
    assert [message.planned_at for message in sent] == [AT_EIGHT.replace(day=day) for day in days]


def test_the_start_of_a_series_stays_where_it_was_on_the_clock(reminder: Reminder, update: Update, sent: Sent) -> None:
    """A series that has gone on for days keeps its hour and its COUNT over the update."""
    with FakeClock(JUNE) as clock:
        at_nine(reminder, "FREQ=DAILY;COUNT=4")
        follow(clock, reminder, AT_SEVEN + DAY)
        update(WITHOUT)
        assert reminder.recompute() == AT_EIGHT + DAY * 2
        follow(clock, reminder, JUNE + DAY * 30)
    assert [message.planned_at for message in sent] == [
        AT_SEVEN, AT_SEVEN + DAY, AT_EIGHT + DAY * 2, AT_EIGHT + DAY * 3
    ]  # fmt: skip


@pytest.mark.parametrize("rule", [None, "FREQ=DAILY"])
def test_one_about_to_fire_waits_for_its_wall_time(
    reminder: Reminder, update: Update, sent: Sent, rule: str | None
) -> None:
    """An alarm that nobody moved looks at the clock when it runs: an hour early it is put off and delivers nothing."""
    with FakeClock(JUNE) as clock:
        at_nine(reminder, rule)
        clock.move_to(AT_SEVEN)
        update(WITHOUT)
        assert reminder.recompute() is None  # it is due, and its own run's to judge
        assert outcomes(clock) == ["succeeded"]
        assert (sent, reminder.storage.get_alarm()) == ([], AT_EIGHT)
        assert outcomes(clock, HOUR) == ["succeeded"]
    assert [(message.planned_at, message.late) for message in sent] == [(AT_EIGHT, timedelta(0))]


def test_one_whose_time_has_passed_comes_at_once(reminder: Reminder, update: Update, sent: Sent) -> None:
    """Where the clocks went the other way, what should have been before comes now, once, and says that it is late."""
    update(WITHOUT)
    with FakeClock(JUNE) as clock:
        assert at_nine(reminder, "FREQ=DAILY") == AT_EIGHT
        clock.move_to(AT_EIGHT - timedelta(minutes=10))
        update(WITH_SUMMER_TIME)
        assert reminder.recompute() == AT_SEVEN
        assert outcomes(clock) == ["succeeded"]
        assert reminder.storage.get_alarm() == AT_SEVEN + DAY
    assert [message.marked for message in sent] == ["tea (late by 50 min)"]


def test_what_was_delivered_early_does_not_come_again(reminder: Reminder, update: Update, sent: Sent) -> None:
    """Delivered by the old zones, its wall time lies ahead again by the new ones: it is over all the same."""

    def meanwhile(message: object) -> None:
        update(WITHOUT)

    with FakeClock(JUNE) as clock:
        at_nine(reminder, "FREQ=DAILY")
        sent.act = meanwhile
        outcomes(clock, AT_SEVEN - JUNE)
        assert reminder.storage.get_alarm() == AT_EIGHT + DAY
    assert len(sent) == 1


def test_what_is_snoozed_stays_put_off(reminder: Reminder, update: Update, sent: Sent) -> None:
    """A snooze names a moment, and keeps it; the series goes on by the new clocks."""
    with FakeClock(JUNE) as clock:
        at_nine(reminder, "FREQ=DAILY")
        until = reminder.snooze(HOUR * 3)
        update(WITHOUT)
        assert reminder.recompute() == until
        assert (plan_of(reminder).put_off, plan_of(reminder).occurrence) == (Plan.SNOOZED, AT_EIGHT)
        outcomes(clock, until - JUNE)
        assert (len(sent), reminder.storage.get_alarm()) == (1, AT_EIGHT + DAY)


def test_quiet_hours_end_by_the_new_clock(reminder: Reminder, update: Update, sent: Sent) -> None:
    """What is held until 07:00 is held until 07:00 by the recipient's clock as it is now."""
    Recipient.objects.create(name="ada", time_zone=LAND, quiet_hours="22:00-07:00")
    with FakeClock(JUNE):
        reminder.set_reminder("tea", JUNE + DAY, person="ada", time_zone="UTC")
        assert reminder.storage.get_alarm() == JUNE + DAY + HOUR * 5
        update(WITHOUT)
        assert codes() == ["reminders.moved"]
        assert reminder.recompute() == JUNE + DAY + HOUR * 6
        assert codes() == []


def test_a_dead_one_is_left_for_whoever_revives_it(reminder: Reminder, update: Update, sent: Sent) -> None:
    """An update moves what is ahead, and wakes nothing that failed for good."""

    def fail(message: object) -> None:
        raise OSError

    sent.act = fail
    with FakeClock(JUNE) as clock:
        at_nine(reminder)
        outcomes(clock, AT_SEVEN - JUNE)
        for seconds in (2, 4, 8, 16, 32, 64):
            outcomes(clock, timedelta(seconds=seconds))
        update(WITHOUT)
        assert (reminder.recompute(), reminder.storage.get_alarm()) == (None, None)


def test_a_time_that_the_new_clocks_leave_out(reminder: Reminder, update: Update, sent: Sent) -> None:
    """A wall time that falls into a gap since the update is shifted forward that day, and is itself on the others."""
    update(WITHOUT)
    start = datetime(2030, 3, 30, 2, 30, tzinfo=ZoneInfo(LAND))
    with FakeClock(start - DAY) as clock:
        reminder.set_reminder("tea", start + DAY, recurrence="FREQ=DAILY;COUNT=2", time_zone=LAND)
        update(WITH_SUMMER_TIME)
        reminder.recompute()
        follow(clock, reminder, start + DAY * 9)
    assert [message.planned_at.astimezone(ZoneInfo(LAND)).strftime("%d %H:%M") for message in sent] == [
        "31 03:30", "01 02:30"
    ]  # fmt: skip


def test_the_command_and_the_doctor(reminder: Reminder, update: Update) -> None:
    """The doctor says that moments have moved, and --fix moves them; so does the command, where it is no dry run."""
    other = Reminder.objects.get_by_name("other")
    with FakeClock(JUNE):
        at_nine(reminder, "FREQ=DAILY")
        other.set_reminder("cake", AT_SEVEN, time_zone="Europe/Berlin")
        assert codes() == []
        update(WITHOUT)
        moved = [{"reminder": "tea", "from": "Mon 2030-06-03 08:00 CET", "to": "Mon 2030-06-03 09:00 CET"}]
        assert command("recompute", "--dry-run") == {"looked_at": 2, "moved": moved}
        assert reminder.storage.get_alarm() == AT_SEVEN
        (finding,) = [finding for finding in doctor.examine(JUNE) if finding.code == "reminders.moved"]
        assert "1 of 2, one is" in finding.text
        assert finding.is_trouble
        assert finding.fix is not None
        assert finding.fix() == "moved 1 reminders"
        assert reminder.storage.get_alarm() == AT_EIGHT
        assert (codes(), command("recompute")) == ([], {"looked_at": 2, "moved": []})
        assert other.storage.get_alarm() == AT_SEVEN


# -- a zone that is gone


def test_a_zone_that_is_gone_ends_no_reminder(reminder: Reminder, update: Update, sent: Sent) -> None:
    """It is delivered at the moment on record, and the series goes on by the offset that it had at last."""
    with FakeClock(JUNE) as clock:
        at_nine(reminder, "FREQ=DAILY;COUNT=3")
        update(None)
        assert reminder.recompute() is None
        follow(clock, reminder, JUNE + DAY * 30)
    assert [message.planned_at for message in sent] == [AT_SEVEN, AT_SEVEN + DAY, AT_SEVEN + DAY * 2]
    assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}


def test_a_zone_that_is_gone_is_said_on_every_page(
    reminder: Reminder, update: Update, admin_client: Client, settings: Any
) -> None:
    """List, page, feed, link, commands and doctor answer, and say in words what to do."""
    settings.REMINDERS = {"PUBLIC_URL": "https://remind.example.org"}
    ada = Recipient.objects.create(name="ada", time_zone=LAND, quiet_hours="22:00-07:00")
    with FakeClock(JUNE):
        at_nine(reminder, "FREQ=DAILY", person="ada")
        update(None)
        gone = 'The time zone "Test/Land" is not known here any more: the reminder goes on by UTC+02:00'
        assert "tea set" in text_of(admin_client, list_url(Reminder))
        page = text_of(admin_client, page_url(Reminder, reminder.pk))
        assert gone in page
        assert "Mon 3 Jun 2030, 09:00 (UTC+02:00)" in page
        assert admin_client.get(page_url(Recipient, ada.pk)).status_code == 200
        assert admin_client.get(links.feed_url(ada)).status_code == 200
        act = links.for_message(plan_of(reminder))["snooze"].removeprefix("https://remind.example.org")
        assert admin_client.get(act).status_code == 200
        assert admin_client.post(act, {"by": "tomorrow"}).status_code == 200
        assert command("list")[0]["reminder"] == "tea"
        assert gone in command("show", "tea")["flaws"][0]
        out = io.StringIO()
        call_command("reminders", "list", stdout=out)
        assert f"  tea  tea  {gone}" in out.getvalue()
        assert sorted(codes()) == ["reminders.recipient_zones", "reminders.zones"]


def test_a_zone_that_is_gone_can_be_mended(reminder: Reminder, update: Update, admin_client: Client) -> None:
    """In another zone the series keeps its wall time; the form asks for one; the text can be changed without."""
    with FakeClock(JUNE):
        at_nine(reminder, "FREQ=DAILY")
        update(None)
        assert reminder.edit_reminder(message="coffee") == AT_SEVEN
        with pytest.raises(InvalidInput, match='time_zone is "Test/Land"'):
            reminder.edit_reminder(recurrence="FREQ=WEEKLY")
        form = {
            "message": "cocoa", "local_time": "2030-06-03T09:00", "time_zone": LAND, "repeats": "FREQ=DAILY",
            "channels": ["log"], "_save": "Save",
        }  # fmt: skip
        page = admin_client.post(page_url(Reminder, reminder.pk), form)
        assert "time_zone is" in page.content.decode()
        assert reminder.edit_reminder(time_zone="Africa/Algiers") == AT_EIGHT
        assert (plan_of(reminder).flaws, plan_of(reminder).start_wall_time) == ([], "2030-06-03T09:00:00")


def test_all_in_a_zone_that_is_gone_can_be_mended_at_once(update: Update) -> None:
    """`recompute --rename` gives another zone to reminders, which keep their wall time, and to recipients."""
    Recipient.objects.create(name="ada", time_zone=LAND)
    names = ["once", "daily", "elsewhere"]
    once, daily, elsewhere = map(Reminder.objects.get_by_name, names)
    with FakeClock(JUNE):
        at_nine(once)
        at_nine(daily, "FREQ=DAILY", person="ada")
        elsewhere.set_reminder("cake", AT_SEVEN, time_zone="Europe/Berlin")
        update(None)
        assert sorted(codes()) == ["reminders.recipient_zones", "reminders.zones"]
        with pytest.raises(CommandError, match='time_zone is "Test/Nowhere"'):
            command("recompute", "--rename", LAND, "Test/Nowhere")
        with pytest.raises(CommandError, match="cannot be combined with --dry-run"):
            command("recompute", "--rename", LAND, "Africa/Algiers", "--dry-run")
        assert sorted(codes()) == ["reminders.recipient_zones", "reminders.zones"]
        answer = command("recompute", "--rename", LAND, "Africa/Algiers")
        assert answer == {"renamed_reminders": 2, "renamed_recipients": 1, "looked_at": 3, "moved": []}
        assert [each.storage.get_alarm() for each in (once, daily, elsewhere)] == [AT_EIGHT, AT_EIGHT, AT_SEVEN]
        assert codes() == []


def test_an_exdate_in_a_zone_that_is_gone(reminder: Reminder, update: Update, sent: Sent) -> None:
    """It leaves nothing out any more, which is reported; the series goes on."""
    rule = f"FREQ=DAILY;COUNT=2\nEXDATE;TZID={LAND}:20300604T090000"
    with FakeClock(JUNE) as clock:
        reminder.set_reminder("tea", AT_SEVEN, recurrence=rule)
        update(None)
        assert 'An EXDATE in the zone "Test/Land"' in plan_of(reminder).flaws[0]
        assert codes() == ["reminders.zones"]
        follow(clock, reminder, JUNE + DAY * 9)
    assert len(sent) == 2


def test_quiet_hours_in_a_zone_that_is_gone_hold_nothing(reminder: Reminder, update: Update, sent: Sent) -> None:
    """Nobody can tell when they end: the reminder comes at its own time."""
    Recipient.objects.create(name="ada", time_zone=LAND, quiet_hours="22:00-07:00")
    with FakeClock(JUNE) as clock:
        reminder.set_reminder("tea", JUNE + DAY, person="ada", time_zone="UTC")
        update(None)
        assert reminder.recompute() == JUNE + DAY
        outcomes(clock, DAY)
    assert len(sent) == 1


def test_what_was_moved_by_hand_is_not_put_back(reminder: Reminder, update: Update) -> None:
    """An alarm that an operator moved stays there: the doctor looks at wall times, and has nothing to say of it."""
    with FakeClock(JUNE):
        at_nine(reminder)
        actions.move(reminder, AT_NINE)
        assert (codes(), reminder.recompute(), reminder.storage.get_alarm()) == ([], None, AT_NINE)
        assert run_due_alarms() == []


# -- names that are none


@pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "right/Europe/Berlin", "posix/UTC", "Europe",
                                  "zone.tab", "../UTC", "/etc/localtime", "", " UTC", 5, None])  # fmt: skip
def test_what_is_no_zone_is_refused(reminder: Reminder, name: Any) -> None:
    """Whatever else lies among the zone files is refused, for a reminder, a recipient, a rule and a setting."""
    if name is not None:
        with pytest.raises(InvalidInput, match="time_zone is"):
            reminder.set_reminder("tea", AT_NINE, time_zone=name)
    assert name not in {value for value, _ in _offered()}


def _offered() -> list[tuple[str, str]]:
    from reminders.forms import ReminderForm

    field: Any = ReminderForm.base_fields["time_zone"]
    return list(field.choices)


def test_a_zone_that_the_settings_name_is_checked(settings: Any) -> None:
    """`manage.py check` refuses a default zone that is none."""
    from reminders.checks import check_settings

    settings.REMINDERS = {"TIME_ZONE": "localtime"}
    assert [found.id for found in check_settings(None)] == ["reminders.E004"]
