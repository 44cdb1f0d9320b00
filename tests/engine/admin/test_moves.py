"""Alarms set to another time from admin, and the one page that each object has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from durable_objects.admin.zones import COOKIE
from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock
from tests.models import Counter, Impatient, Script, Scripted
from tests.support.admin_pages import choose, confirm, page_url, park, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


def shown(moment: datetime) -> str:
    """A moment as pages in UTC show it."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def test_later_by_a_step(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The question says from when to when, and the answer moves the alarm from its time; the log has both."""
    obj, due = scripted("one", HOUR), alarm_clock.now() + HOUR
    asked = choose(admin_client, Scripted, "later_by_5m", [obj.pk]).content.decode()
    change = f"{shown(due)} → {shown(due + timedelta(minutes=5))}"
    assert change in asked
    assert confirm(admin_client, Scripted, "later_by_5m", [obj.pk]) == [f"Moved: one ({change})."]
    assert obj.storage.get_alarm() == due + timedelta(minutes=5)
    assert LogEntry.objects.get().change_message == f"Moved: {change}."
    assert f"admin Moved: {change}." in text_of(admin_client, page_url(Scripted, obj.pk))


def test_moved_by_a_form(admin_client: Client, alarm_clock: FakeClock) -> None:
    """By a span from its time, from now where that is past, or to a time in the operator's zone, shown in UTC too."""
    obj = scripted("one", HOUR)
    confirm(admin_client, Scripted, "move_alarms", [obj.pk], later="1d 2h")
    assert obj.storage.get_alarm() == alarm_clock.now() + HOUR * 27
    alarm_clock.advance(HOUR * 30)
    confirm(admin_client, Scripted, "move_alarms", [obj.pk], later="15m")
    assert obj.storage.get_alarm() == alarm_clock.now() + HOUR / 4
    admin_client.cookies[COOKIE] = "Europe/Berlin"
    (told,) = confirm(admin_client, Scripted, "move_alarms", [obj.pk], at_0="2031-01-31", at_1="09:30:00")
    assert "→ 2031-01-31 09:30:00 CET (2031-01-31 08:30:00 UTC)" in told


@pytest.mark.parametrize("verb", ["later_by_1h", "move_alarms"])
def test_later_than_there_are_times(admin_client: Client, verb: str) -> None:
    """An alarm at the end of the year 9999 stays there: the question is asked all the same, and the answer says why."""
    obj, last = scripted("one"), datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    obj.storage.set_alarm(last)
    assert choose(admin_client, Scripted, verb, [obj.pk]).status_code == 200
    (told,) = confirm(admin_client, Scripted, verb, [obj.pk], later="1h")
    assert "is not between 1970 and the year 9999" in told
    assert obj.storage.get_alarm() == last


@pytest.mark.parametrize("given", [{}, {"later": "soon"}, {"later": "5m", "at_0": "2031-01-31", "at_1": "09:30:00"}])
def test_a_form_that_says_no_time_is_asked_again(admin_client: Client, given: dict[str, str]) -> None:
    """Neither, both or what is no span of time: the question comes again, and nothing moves."""
    obj = scripted("one", HOUR)
    before = obj.storage.get_alarm()
    again = choose(admin_client, Scripted, "move_alarms", [obj.pk], confirmed="yes", **given)
    assert 'class="errorlist' in again.content.decode()
    assert obj.storage.get_alarm() == before


def test_a_dead_alarm_is_not_put_off(admin_client: Client) -> None:
    """A dead alarm has no time to come that could be later: it is revived, or moved to a time."""
    obj = scripted("one", HOUR)
    Alarm.objects.update(state="dead", due_at=None)
    page = text_of(admin_client, page_url(Scripted, obj.pk))
    assert ("Later by 5m…" in page, "Move…" in page, "Revive…" in page) == (False, True, True)


def test_set_where_none_is(admin_client: Client, alarm_clock: FakeClock) -> None:
    """An object without an alarm offers to set one; one with an alarm offers to move it."""
    obj = scripted("one")
    page = text_of(admin_client, page_url(Scripted, obj.pk))
    assert ("Set alarm…" in page, "Move…" in page, "Cancel alarm…" in page) == (True, False, False)
    confirm(admin_client, Scripted, "set_alarms", [obj.pk], later="1h")
    assert obj.storage.get_alarm() == alarm_clock.now() + HOUR
    page = text_of(admin_client, page_url(Scripted, obj.pk))
    assert ("Set alarm…" in page, "Move…" in page, "Cancel alarm…" in page) == (False, True, True)


def test_an_object_with_schedules_alone_has_no_alarm_to_cancel(admin_client: Client, script: Script) -> None:
    """It is woken for a schedule, but its alarm is not set: there is none to cancel or to move."""
    obj = scripted("one")
    obj.schedules.set("daily", obj.scheduled, every=HOUR)
    page = text_of(admin_client, page_url(Scripted, obj.pk))
    assert "armed" in page
    assert ("Cancel alarm…" in page, "Move…" in page, "Later by 5m…" in page) == (False, False, False)


def test_there_is_one_page(admin_client: Client) -> None:
    """The addresses under Objects and Alarms lead to the page of the object's class, with what they ask for."""
    obj = scripted("one", HOUR)
    for model in (Object, Alarm):
        led = admin_client.get(f"{page_url(model, obj.pk)}?prefix=a")
        assert (led.status_code, led["Location"]) == (302, f"{page_url(Scripted, obj.pk)}?prefix=a")
    other = Impatient.objects.get_by_name("not registered")
    other.storage.set_alarm(HOUR)
    assert admin_client.get(page_url(Object, other.pk)).status_code == 200
    assert admin_client.get(page_url(Alarm, other.pk))["Location"] == page_url(Object, other.pk)
    viewer = staff(["durable_objects.view_object"])
    assert viewer.get(page_url(Object, obj.pk)).status_code == 200


def test_a_parked_object_is_cancelled_and_deleted_on_its_page(admin_client: Client, alarm_clock: FakeClock) -> None:
    """An object whose class is gone offers both where its page is, and nothing that needs the class."""
    row = park(state="armed", scheduled_at=alarm_clock.now(), due_at=alarm_clock.now() + HOUR)
    page = text_of(admin_client, page_url(Object, row.pk))
    assert ("Cancel alarm…" in page, "Pause…" in page, "Delete" in page) == (True, True, True)
    assert ("Run now…" in page, "Move…" in page) == (False, False)
    assert confirm(admin_client, Object, "cancel_alarms", [row.pk]) == ["Alarm cancelled: lost."]
    assert confirm(admin_client, Object, "delete_objects", [row.pk]) == ["Deleted: lost."]


def test_keys_are_found_by_their_beginning(admin_client: Client) -> None:
    """The page finds keys by a prefix, which stays when one turns to the next entries."""
    obj = Counter.objects.get_by_name("many")
    obj.storage.put_many({f"{kind}:{number:03}": number for kind in ("cart", "user") for number in range(150)})
    text = text_of(admin_client, f"{page_url(Counter, obj.pk)}?prefix=user:")
    assert "user:000" in text
    assert "cart:000" not in text
    assert "user:149" in text_of(admin_client, f"{page_url(Counter, obj.pk)}?prefix=user:&after=user:099")
    assert "No key begins with x." in text_of(admin_client, f"{page_url(Counter, obj.pk)}?prefix=x")
