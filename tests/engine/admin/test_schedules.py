"""Schedules in admin: the list, the page of one with what an outage would do, the object's page, and the verbs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from durable_objects.operations import pauses
from durable_objects.tables import Object, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def schedule(obj: Scripted, clock: FakeClock) -> Schedule:
    """One that comes each hour."""
    obj.schedules.set("tick", "scheduled", every=HOUR, args=["x"], kwargs={"n": 1}, grace=2 * HOUR)
    return Schedule.objects.get()


def page_of(client: Client, row: Schedule, query: str = "") -> str:
    """The text of its page."""
    return client.get(reverse("admin:durable_objects_schedule_change", args=[row.pk]) + query).content.decode()


def act(client: Client, row: Schedule, verb: str) -> None:
    """Choose the row in the list, and confirm."""
    url = reverse("admin:durable_objects_schedule_changelist")
    asked = client.post(url, {"action": verb, "_selected_action": [row.pk]})
    assert "tick" in asked.content.decode()
    client.post(url, {"action": verb, "_selected_action": [row.pk], "confirmed": "yes"})


def test_the_list_and_its_states(schedule: Schedule, clock: FakeClock, admin_client: Client) -> None:
    """Each schedule is listed with its object, rule and state; the filters leave out the others."""
    url = reverse("admin:durable_objects_schedule_changelist")
    for state, shown in (("armed", True), ("due", True), ("retrying", False), ("dead", False), ("nonsense", True)):
        text = admin_client.get(f"{url}?state={state}").content.decode()
        assert ("every hour" in text) is shown, state
    assert "tick" in admin_client.get(f"{url}?object={schedule.object_id}").content.decode()


def test_the_page_of_one_previews_an_outage(schedule: Schedule, admin_client: Client) -> None:
    """The page has rule, arguments, policy and the next five times; asked about an outage, what would run."""
    text = page_of(admin_client, schedule)
    for shown in ("every hour", "n=1", "one run for all; none later than 2h", "2026-05-01 16:00:00"):
        assert shown in text
    query = "?begin_0=2026-05-01&begin_1=13:00:00&end_0=2026-05-01&end_1=18:30:00"
    assert "1 runs, 5 skipped" in page_of(admin_client, schedule, query)
    assert "Enter a valid date" in page_of(admin_client, schedule, query.replace("2026-05-01", "soon"))
    backwards = "?begin_0=2026-05-02&begin_1=13:00:00&end_0=2026-05-01&end_1=18:30:00"
    assert "down is" in page_of(admin_client, schedule, backwards)


def test_the_objects_page_lists_them(schedule: Schedule, admin_client: Client) -> None:
    """The page of the object has its schedules, each with a link."""
    url = reverse("admin:durable_objects_object_change", args=[schedule.object_id])
    text = admin_client.get(url).content.decode()
    assert reverse("admin:durable_objects_schedule_change", args=[schedule.pk]) in text


def test_verbs(schedule: Schedule, clock: FakeClock, script: Script, admin_client: Client) -> None:
    """Run now, revive and cancel do that, after a question, and are logged with the user's name."""
    clock.advance(HOUR / 2)
    run_due_alarms()
    act(admin_client, schedule, "run_schedules")
    assert len(run_due_alarms()) == 1
    script.scheduled = lambda obj, *args, **kwargs: 1 / 0
    act(admin_client, schedule, "run_schedules")
    for retry in range(7):
        run_due_alarms()
        clock.advance(timedelta(seconds=2 << retry))
    assert "do-dead" in page_of(admin_client, schedule)
    script.scheduled = lambda obj, *args, **kwargs: None
    act(admin_client, schedule, "revive_schedules")
    assert len(run_due_alarms()) == 1
    act(admin_client, schedule, "cancel_schedules")
    assert not Schedule.objects.exists()
    assert LogEntry.objects.count() >= 4


def test_who_may_only_look_changes_nothing(schedule: Schedule, client: Client) -> None:
    """A user who may view schedules sees them and is offered no verb; what he posts anyway does nothing."""
    user = User.objects.create_user("looker", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_schedule"))
    client.force_login(user)
    assert "every hour" in page_of(client, schedule)
    assert "do-verbs" not in page_of(client, schedule)
    url = reverse("admin:durable_objects_schedule_changelist")
    client.post(url, {"action": "cancel_schedules", "_selected_action": [schedule.pk], "confirmed": "yes"})
    assert Schedule.objects.exists()
    assert Object.objects.exists()


def test_what_is_paused_says_so(schedule: Schedule, admin_client: Client) -> None:
    """A schedule of an object that is paused is shown as paused, in the list and by the buttons that fit."""
    pauses.pause(schedule.object)
    text = admin_client.get(reverse("admin:durable_objects_schedule_changelist")).content.decode()
    assert "do-paused" in text
    assert "cancel_schedules" in page_of(admin_client, schedule)
    pauses.resume(schedule.object)
    assert "do-paused" not in admin_client.get(reverse("admin:durable_objects_schedule_changelist")).content.decode()
