"""Times in admin: in the zone that the user has chosen, and always with its name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from durable_objects.admin.zones import COOKIE
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.admin_pages import confirm, list_url, page_url, scripted, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]
ZONE_URL = "/admin/durable_objects/alarm/zone/"


@pytest.fixture(autouse=True)
def zoned(settings: Any, script: Script) -> None:
    """The middleware is there."""
    if "durable_objects.admin.zones.OperatorZone" not in settings.MIDDLEWARE:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "durable_objects.admin.zones.OperatorZone"]


def test_times_are_in_the_zone_that_was_chosen(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Once a zone is chosen, lists, pages and the history are in it, by its own name; without one in the site's."""
    alarm_clock.move_to(alarm_clock.now().replace(month=5, hour=12, minute=0, second=0))
    obj = scripted("one", timedelta(hours=1))
    page = text_of(admin_client, list_url(Scripted))
    assert "13:00:00 UTC" in page
    assert "Times are in UTC. Choose another zone" in page
    answer = admin_client.post(ZONE_URL, {"zone": "Asia/Tokyo", "next": list_url(Scripted)})
    assert answer["Location"] == list_url(Scripted)
    assert "22:00:00 JST" in text_of(admin_client, list_url(Scripted))
    assert "22:00:00 JST" in text_of(admin_client, page_url(Scripted, obj.pk))
    confirm(admin_client, Scripted, "cancel_alarms", [obj.pk])
    assert " JST " in text_of(admin_client, page_url(Scripted, obj.pk, "history"))
    assert timezone.get_current_timezone_name() == "UTC"  # nothing of it is left behind
    admin_client.post(ZONE_URL, {"zone": ""})
    assert " UTC " in text_of(admin_client, page_url(Scripted, obj.pk, "history"))


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../etc", "localtime", "\0"])
def test_what_is_no_zone_is_refused(zone: str, admin_client: Client, alarm_clock: FakeClock) -> None:
    """A zone that does not exist is refused by the form, and means nothing in the cookie."""
    answer = admin_client.post(ZONE_URL, {"zone": zone})
    assert answer.status_code == 200
    assert COOKIE not in answer.cookies
    admin_client.cookies[COOKIE] = zone
    scripted("one", timedelta(hours=1))
    assert "UTC" in text_of(admin_client, list_url(Alarm))


def test_one_is_never_sent_elsewhere(admin_client: Client) -> None:
    """After the choice one comes back to this site only."""
    for other in ["https://elsewhere.example/", "//elsewhere.example/", "javascript:alert(1)"]:
        assert admin_client.post(ZONE_URL, {"zone": "UTC", "next": other})["Location"] == "/admin/"


def test_a_row_that_is_named_by_its_time_says_the_zone(alarm_clock: FakeClock) -> None:
    """A run's name, which is its page's title, has the zone behind the time."""
    assert str(AlarmRun(outcome="succeeded", started_at=alarm_clock.now())).endswith(" UTC")
