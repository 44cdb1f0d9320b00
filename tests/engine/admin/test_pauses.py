"""Pausing in admin: objects by a verb with a reason, everything and classes by a list of their own."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from durable_objects.operations import pauses
from durable_objects.tables import Alarm, Object, Pause
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted
from tests.support.admin_pages import choose, confirm, list_url, page_url, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

NOW = timedelta(0)


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


@pytest.mark.parametrize("model", [Scripted, Alarm, Object])
def test_an_object_is_paused_and_resumed(
    model: type[Scripted | Alarm | Object], admin_client: Client, alarm_clock: FakeClock
) -> None:
    """The question asks why and for how long; the pause has the user's name; the page then offers to resume."""
    obj = scripted("one", NOW)
    asked = choose(admin_client, model, "pause_objects", [obj.pk]).content.decode()
    assert 'name="reason"' in asked
    assert not Pause.objects.exists()
    done = confirm(admin_client, model, "pause_objects", [obj.pk], reason="bad data", lasts="1h 30m")
    assert done == ["Paused: one."]
    pause = Pause.objects.get()
    assert (pause.reason, pause.by, pause.until) == ("bad data", "admin", alarm_clock.now() + timedelta(minutes=90))
    assert run_due_alarms() == []
    page = text_of(admin_client, page_url(Scripted, obj.pk))
    assert "paused" in page
    assert "by admin, until" in page
    assert "bad data." in page
    assert "Resume…" in page
    assert "Pause…" not in page
    assert confirm(admin_client, model, "resume_objects", [obj.pk]) == ["Resumed: one."]
    assert confirm(admin_client, model, "resume_objects", [obj.pk]) == ["Not done for one: there was nothing to do"]
    assert len(run_due_alarms()) == 1
    assert "Pause…" in text_of(admin_client, page_url(Scripted, obj.pk))
    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == ["Paused.", "Resumed."]


def test_a_form_with_errors_is_asked_again(admin_client: Client, alarm_clock: FakeClock) -> None:
    """What cannot be is said beside the field, with what was typed, and nothing is paused."""
    obj = scripted("one", NOW)
    given = {"confirmed": "yes", "reason": "why", "lasts": "0s"}
    again = choose(admin_client, Scripted, "pause_objects", [obj.pk], **given).content.decode()
    assert "at least 1s" in again
    assert 'value="why"' in again
    assert not Pause.objects.exists()


def test_everything_and_a_class_are_paused_from_the_list(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Adding pauses, in place of a pause of the same; *Resume* ends one; the list says who, since when, and why."""
    scripted("one", NOW)
    add = reverse("admin:durable_objects_pause_add")
    assert "Everything" in admin_client.get(add).content.decode()
    admin_client.post(add, {"what": "", "reason": "the first", "lasts": ""})
    admin_client.post(add, {"what": "", "reason": "a deploy", "lasts": "5m"})
    admin_client.post(add, {"what": str(Scripted.kind_pk()), "reason": "new columns", "lasts": ""})
    shown = text_of(admin_client, list_url(Pause))
    for text in ("everything a deploy admin", "tests.Scripted new columns admin", "it is resumed"):
        assert text in shown, text
    assert "the first" not in shown
    assert run_due_alarms() == []
    for pause in Pause.objects.all():
        page = reverse("admin:durable_objects_pause_change", args=[pause.pk])
        shown = text_of(admin_client, page)
        assert pause.reason in shown
        assert "Resume…" in shown
        assert "Delete" not in shown
        assert "runs at once" in choose(admin_client, Pause, "resume_pauses", [pause.pk]).content.decode()
        assert Pause.objects.filter(pk=pause.pk).exists()
        done = confirm(admin_client, Pause, "resume_pauses", [pause.pk])
        assert done == [f"Resumed: {'everything' if pause.kind is None else 'tests.Scripted'}."]
    assert not Pause.objects.exists()
    assert len(run_due_alarms()) == 1


def test_the_list_shows_objects_and_what_this_code_lacks(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Pauses of an object lead by its name; those of a class that is gone are shown and resumed as well."""
    obj = scripted("one", NOW)
    pauses.pause(obj)
    pauses.pause(ContentType.objects.create(app_label="ghost", model="phantom"))
    shown = text_of(admin_client, list_url(Pause))
    assert "one tests.Scripted" in shown
    assert "ghost.phantom" in shown
    assert "Delete" not in shown
    done = confirm(admin_client, Pause, "resume_pauses", [pause.pk for pause in Pause.objects.order_by("pk")])
    assert done == ["Resumed: one, ghost.phantom."]
    assert not Pause.objects.exists()


def test_to_delete_a_pause_is_asked_and_logged_as_to_resume_it(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The address of Django's red button asks the same question. The log of the object says that it was resumed, as
    after the button on its page; of what is wider it is on the overview, without a way to a page that is gone.
    """
    obj = scripted("one", NOW)
    pauses.pause(obj)
    pauses.pause(Scripted)
    for pause in Pause.objects.order_by("pk"):
        delete = page_url(Pause, pause.pk, "delete")
        assert "What has come due meanwhile runs at once." in text_of(admin_client, delete)
        assert admin_client.post(delete, {"post": "yes"}).status_code == 200, "which is no yes to this question"
        assert admin_client.post(delete, {"confirmed": "yes"}).status_code == 302
    assert not Pause.objects.exists()
    assert admin_client.get(page_url(Pause, 1, "delete")).status_code == 404
    own, wide = LogEntry.objects.order_by("pk")
    assert (own.object_repr, own.object_id, own.change_message) == ("one", str(obj.pk), "Resumed.")
    assert (wide.object_repr, wide.change_message) == ("pause of tests.Scripted", "Resumed.")
    assert "admin Resumed." in text_of(admin_client, page_url(Scripted, obj.pk, "history"))
    overview = admin_client.get(reverse("admin:app_list", args=["durable_objects"])).content.decode()
    assert "pause of tests.Scripted" in overview
    assert page_url(Pause, wide.object_id) not in overview


def test_who_may_pause(alarm_clock: FakeClock) -> None:
    """An object: who may change its class. Anything wider: who may add pauses, and resume: who may delete them."""
    obj = scripted("one", NOW)
    client = staff(["tests.view_scripted", "durable_objects.view_pause"])
    assert "Pause…" not in text_of(client, page_url(Scripted, obj.pk))
    choose(client, Scripted, "pause_objects", [obj.pk], confirmed="yes")
    assert not Pause.objects.exists()
    assert client.get(reverse("admin:durable_objects_pause_add")).status_code == 403
    pauses.pause(None)
    standing = Pause.objects.get()
    delete = reverse("admin:durable_objects_pause_delete", args=[standing.pk])
    assert client.post(delete, {"confirmed": "yes"}).status_code == 403
    choose(client, Pause, "resume_pauses", [standing.pk], confirmed="yes")
    assert "Resume…" not in text_of(client, page_url(Pause, standing.pk))
    assert Pause.objects.exists()


def test_the_overview_says_what_is_paused(admin_client: Client, alarm_clock: FakeClock) -> None:
    """It is the first thing that one reads there: since when, by whom and why; the tile leads to what waits."""
    scripted("one", NOW)
    pauses.pause(Scripted, reason="new columns", by="ann")
    page = text_of(admin_client, reverse("admin:app_list", args=["durable_objects"]))
    assert "by ann (tests.Scripted): new columns." in page
    assert "Paused 1" in page
    assert "one" in text_of(admin_client, f"{list_url(Alarm)}?state=paused")
