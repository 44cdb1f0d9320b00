"""Copying an object in admin: a verb on its page that asks for the name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from durable_objects.operations import pauses
from durable_objects.tables import Object, Pause
from durable_objects.testing import FakeClock
from tests.models import Account, Script, Scripted
from tests.support.admin_pages import choose, confirm, page_url, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


@pytest.mark.parametrize("model", [Scripted, Object])
def test_an_object_is_copied(model: type[Scripted | Object], admin_client: Client, alarm_clock: FakeClock) -> None:
    """The question asks for the name; the copy is paused by the user's name, and the log says what was done."""
    obj = scripted("one", HOUR)
    obj.storage.put("key", (1, 2))
    assert "Copy under another name…" in text_of(admin_client, page_url(Scripted, obj.pk))
    asked = choose(admin_client, model, "copy_objects", [obj.pk]).content.decode()
    assert 'name="name"' in asked
    assert "tables of their own is not copied" in asked
    done = confirm(admin_client, model, "copy_objects", [obj.pk], name="two")
    assert done == ["Copied: one (to two, paused, entries: 1)."]
    other = Scripted.objects.get_by_name("two")
    assert other.storage.get("key") == (1, 2)
    assert other.storage.get_alarm() == alarm_clock.now() + HOUR
    assert Pause.objects.get().by == "admin"
    assert LogEntry.objects.get().change_message == "Copied: to two, paused, entries: 1."
    confirm(admin_client, model, "copy_objects", [obj.pk], name="three", armed="on")
    assert not pauses.resume(Scripted.objects.get_by_name("three"))


@pytest.mark.parametrize(
    ("name", "words"), [("", "This field is required"), ("x" * 513, "at most 512 characters"), ("a\0b", "Null")]
)
def test_a_name_that_cannot_be_is_asked_again(admin_client: Client, name: str, words: str) -> None:
    """Beside the field, and nothing is copied."""
    obj = scripted("one", HOUR)
    again = choose(admin_client, Scripted, "copy_objects", [obj.pk], confirmed="yes", name=name).content.decode()
    assert words in again
    assert Object.objects.count() == 1


def test_a_name_that_is_taken_is_refused(admin_client: Client) -> None:
    """With the reason in a message, and the object of that name is as it was."""
    obj, taken = scripted("one", HOUR), scripted("two", HOUR)
    taken.storage.put("mine", 1)
    (failed,) = confirm(admin_client, Scripted, "copy_objects", [obj.pk], name="two")
    assert "Not done for one: tests.Scripted 'two' is there already" in failed
    assert taken.storage.list() == {"mine": 1}


def test_who_may_copy() -> None:
    """Whoever may add objects of the class, whether that is registered with the admin or not."""
    obj = scripted("one", HOUR)
    Account.objects.get_by_name("ann").deposit(5)
    account = Object.objects.get(name="ann")
    client = staff(["tests.change_scripted", "tests.view_scripted", "durable_objects.view_object"])
    assert "Copy under another name…" not in text_of(client, page_url(Scripted, obj.pk))
    choose(client, Object, "copy_objects", [obj.pk, account.pk], confirmed="yes", name="two")
    assert Object.objects.count() == 2
    client = staff(
        ["tests.add_scripted", "tests.view_scripted", "tests.add_account", "durable_objects.view_object"], "ann"
    )
    for row in (obj, account):
        confirm(client, Object, "copy_objects", [row.pk], name="two")
    assert Object.objects.filter(name="two").count() == 2
