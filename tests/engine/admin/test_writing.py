"""Who may see and change what in admin, and what can be written there at all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Account, Counter, Script, Scripted
from tests.support.admin_pages import list_url, page_url, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


def test_who_may_see_what(client: Client, alarm_clock: FakeClock) -> None:
    """A class's pages are for those with its view permission; the engine's tables have permissions of their own."""
    obj = scripted("one", MINUTE)
    for model in [Scripted, Object, Alarm]:
        assert client.get(list_url(model)).status_code == 302
        assert client.get(page_url(model, obj.pk)).status_code == 302
    viewer = staff(["tests.view_scripted"])
    assert "armed Runs in 1m." in text_of(viewer, page_url(Scripted, obj.pk))
    assert viewer.get(list_url(Object)).status_code == 403
    assert viewer.get(page_url(Alarm, obj.pk)).status_code == 403
    assert viewer.get(list_url(Counter)).status_code == 403


@pytest.mark.parametrize("model", [Object, Alarm, AlarmRun])
def test_the_tables_are_read_only(
    model: type[Object | Alarm | AlarmRun], admin_client: Client, alarm_clock: FakeClock
) -> None:
    """Nobody adds or changes rows of the engine's tables, and only objects can be deleted."""
    obj = scripted("one", timedelta(0))
    obj.storage.put("k", 1)
    run_due_alarms()
    row = model._default_manager.get()
    add = list_url(model) + "add/"
    assert admin_client.get(add).status_code == 403
    assert admin_client.post(page_url(model, row.pk), {"name": "two"}).status_code == 403
    if model is not Object:
        assert admin_client.post(page_url(model, row.pk, "delete")).status_code == 403


def test_own_fields_are_edited_in_a_turn(admin_client: Client) -> None:
    """A class with fields of its own has them on its page; saving stores just these."""
    account = Account.objects.get_by_name("ann")
    account.deposit(5)
    response = admin_client.post(page_url(Account, account.pk), {"owner": "Ann", "balance": "7", "name": "other"})
    assert response.status_code == 302
    assert Account.objects.values_list("name", "owner", "balance").get() == ("ann", "Ann", 7)
    assert "Changed Owner and Balance" in text_of(admin_client, page_url(Account, account.pk, "history"))


def test_adding_makes_the_object(admin_client: Client) -> None:
    """Adding asks for a name, refuses what the engine refuses and what is there, and makes the row by a turn."""
    add = list_url(Scripted) + "add/"
    for name, refusal in {"": "This field is required", "x" * 513: "at most 512", "a\0": "Null characters"}.items():
        assert refusal in admin_client.post(add, {"name": name}).content.decode()
    assert admin_client.post(add, {"name": " new "}).status_code == 302
    assert [row.name for row in Scripted.objects.all()] == [" new "]
    assert "An object with this name exists already" in admin_client.post(add, {"name": " new "}).content.decode()
    assert staff(["tests.view_scripted"]).get(add).status_code == 403


def test_an_initialize_that_refuses_is_shown(admin_client: Client, script: Script) -> None:
    """What the engine or the class refuses when adding is shown on the page, and nothing is created."""

    def refuse(obj: Scripted) -> None:
        obj.storage.put("k", object())

    script.initialize = refuse
    response = admin_client.post(list_url(Scripted) + "add/", {"name": "new"}, follow=True)
    assert "object" in "".join(str(message) for message in response.context["messages"])
    assert not Scripted.objects.exists()
