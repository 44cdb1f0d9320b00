"""What a user may neither see nor do on one way is not open on another: storage by search and log, rows, operations."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse

from durable_objects.admin import DurableObjectAdmin
from durable_objects.admin.permissions import kinds_allowed
from durable_objects.operations import bulk
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Operation, Schedule
from durable_objects.testing import run_due_alarms
from tests.admin_urls import site
from tests.models import Account, Counter, Grouped, Script, Scripted
from tests.support.admin_pages import confirm, fail, form_of, list_url, page_url, scripted, staff, text_of
from tests.support.many_alarms import dead_alarms

if TYPE_CHECKING:  # generic in the stubs only
    _ModelAdmin = ModelAdmin[Any]
else:
    _ModelAdmin = ModelAdmin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

START = reverse("admin:durable_objects_operation_start", urlconf="tests.admin_urls")


@pytest.fixture
def obj(script: Script, admin_client: Client) -> Scripted:
    """An object with a value that somebody has edited."""
    one = scripted("one")
    one.storage.put("pin", "quite old")
    url = page_url(Entry, Entry.objects.get(object=one.pk, key="pin").pk)
    admin_client.post(url, {**form_of(admin_client, url), "value_text": "quite new"})
    assert one.storage.get("pin") == "quite new"
    return one


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin of a class that shows its users some objects only."""
    page: Any = site.get_model_admin(Scripted)
    rows = DurableObjectAdmin.get_queryset
    monkeypatch.setattr(page, "get_queryset", lambda request: rows(page, request).filter(name__startswith="own"))


def test_the_log_shows_no_storage(obj: Scripted, admin_client: Client) -> None:
    """What was stored is in the log only for users who may view entries: page, history, overview."""
    pages = [page_url(Scripted, obj.pk), page_url(Scripted, obj.pk, "history"), "/admin/durable_objects/"]
    vic = staff(["tests.view_scripted", "durable_objects.view_alarm"])
    for page in pages:
        assert "quite old" in text_of(admin_client, page)
        text = text_of(vic, page)
        assert "Storage was changed." in text
        assert "quite" not in text


@pytest.mark.parametrize("selection", ["value:quite", "key:pin"])
def test_no_search_tells_of_storage(obj: Scripted, admin_client: Client, selection: str) -> None:
    """Who may not view entries cannot find out by searching what is stored, in no list and by no operation."""
    may = [
        "tests.view_scripted",
        "tests.change_scripted",
        *(f"durable_objects.view_{name}" for name in ("alarm", "object")),
    ]
    vic, eve = staff(may), staff([*may, "durable_objects.view_entry"], "eve")
    for url in (f"{list_url(model)}?state=all&q={selection}" for model in (Scripted, Object)):
        page, others = vic.get(url).content.decode(), eve.get(url).content.decode()
        assert "Only users who may view entries" in page
        assert page_url(Scripted, obj.pk) not in page
        assert "<code>value:" not in page
        assert "Only users" not in others
        assert "<code>value:" in others
    url = f"{START}?verb=pause&selection={selection}"
    assert "Only users who may view entries" in text_of(vic, url)
    assert "Pause 1 object" in text_of(eve, url)
    vic.post(START, {"verb": "pause", "selection": selection, "confirmed": "yes"})
    assert not Operation.objects.exists()


def test_only_who_may_do_it_goes_on() -> None:
    """To go on with an operation takes the permission to do what it does: not that to steer it, nor the one of old."""
    dead_alarms(Scripted, 3)
    dead_alarms(Grouped, 1)
    vic = staff(["tests.change_scripted"])
    vic.post(START, {"verb": "revive", "selection": "class:tests.Scripted", "confirmed": "yes"})
    others = {
        name: bulk.start("revive", text, by="a command")
        for name, text in [("all", ""), ("one", "class:tests.Scripted")]
    }
    mine = Operation.objects.order_by("pk")[0]
    steering = ["durable_objects.view_operation", "durable_objects.change_operation"]
    eve, pat = staff(steering, "eve"), staff([*steering, "tests.change_scripted"], "pat")

    def may(client: Client, operation: Operation) -> bool:
        Operation.objects.update(state="stopped")
        shown = "Go on" in text_of(client, page_url(Operation, operation.pk))
        answer = client.post(reverse("admin:durable_objects_operation_steer", args=[operation.pk]), {"what": "go_on"})
        runs = bulk.get(operation.pk).state == "running"
        assert runs is shown is (answer.status_code == 302)
        return runs

    assert may(vic, mine)
    assert not may(eve, mine)
    User.objects.get(username="vic").user_permissions.clear()
    assert not may(vic, mine)
    assert may(pat, mine)
    assert not may(pat, others["all"])
    assert may(pat, others["one"])
    assert {bulk.get(each.pk).by for each in (mine, others["one"])} == {"pat"}


def test_nobody_goes_on_with_what_this_code_does_not_have(admin_client: Client) -> None:
    """An operation whose verb is gone with its app is not gone on with, by whoever may do everything."""
    row = bulk.start("revive", "", by="a command")
    Operation.objects.update(verb="gone", state="stopped")
    assert "Go on" not in text_of(admin_client, page_url(Operation, row.pk))
    steer = reverse("admin:durable_objects_operation_steer", args=[row.pk])
    assert admin_client.post(steer, {"what": "go_on"}).status_code == 403


def test_a_plain_admin_that_narrows_keeps_operations_away(
    admin_user: User, rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class whose admin is Django's own, with a ``get_queryset`` of its own, is not among those to all of whose
    objects somebody may do something.
    """

    class Plain(_ModelAdmin):
        def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
            return super().get_queryset(request).filter(name="own")

    for model in (Scripted, Grouped):
        model.objects.get_by_name("one").save()
    some = AdminSite()
    some.register(Scripted, Plain)
    some.register(Grouped, ModelAdmin)
    request = rf.get("/")
    request.user = admin_user
    allowed = kinds_allowed(some, request, "change", needs_class=True)
    assert Grouped.kind_pk() in allowed
    assert Scripted.kind_pk() not in allowed


def test_rows_that_a_class_hides_are_in_no_list(own: None, script: Script, admin_client: Client) -> None:
    """Whom the admin of a class shows some objects only, sees no other by the lists of all classes, of objects, alarms,
    entries, runs and schedules, nor by its address; objects of other classes are as they were.
    """
    script.alarm = fail
    for name in ("own", "secret"):
        obj = Scripted.objects.get_by_name(name)
        obj.storage.put(f"key-of-{name}", 1)
        obj.storage.set_alarm(timedelta(0))
        obj.schedules.set(f"daily-of-{name}", "scheduled", every=timedelta(days=1))
    run_due_alarms()
    Counter.objects.get_by_name("another").storage.put("key-of-another", 1)
    tables = [Object, Alarm, Entry, AlarmRun, Schedule]
    vic = staff(["tests.view_scripted", *(f"durable_objects.view_{table._meta.model_name}" for table in tables)])
    for table in tables:
        text = text_of(vic, list_url(table))
        assert "own" in text, table
        assert "secret" not in text, table
        of_secret = table.objects.filter(**{"name" if table is Object else "object__name": "secret"})  # type: ignore[attr-defined]  # each has rows
        row = of_secret.get()
        assert "secret" not in text_of(vic, page_url(table, row.pk))
    assert "another" in text_of(vic, list_url(Object))
    assert "another" in text_of(vic, list_url(Entry))


def test_rows_that_a_class_hides_are_out_of_reach(own: None, admin_client: Client) -> None:
    """Whom the admin of a class shows some objects only, acts on no other: neither by the lists of all, nor by an
    operation.
    """
    names = dead_alarms(Scripted, 2)
    Object.objects.filter(name=names[0]).update(name="own")
    mine, other = (Object.objects.get(name=name).pk for name in ("own", names[1]))
    may = ["tests.view_scripted", "tests.change_scripted", "durable_objects.view_alarm"]
    vic = staff(may)
    assert confirm(vic, Alarm, "revive", [other]) == ["None of the chosen rows exists any more."]
    assert confirm(vic, Alarm, "revive", [mine]) == ["Revived: own."]
    assert Alarm.objects.get(pk=other).state == "dead"
    page = vic.get(f"{START}?verb=revive&selection=state:dead", follow=True)
    assert page.status_code == 403
    assert vic.post(START, {"verb": "revive", "selection": "", "confirmed": "yes"}).status_code == 403
    assert not Operation.objects.exists()
    assert "everything that matches" not in text_of(vic, list_url(Scripted))


def test_an_admin_that_judges_each_object_is_asked_for_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``has_change_permission`` of a class's own sees the stored row, with its fields, and keeps operations away
    from the class, unless ``may_do_to_all`` lets them.
    """

    class Poor(DurableObjectAdmin):
        def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
            return super().has_change_permission(request, obj) and (obj is None or 0 < obj.balance < 100)

    pks = {}
    for name, balance in (("poor", 50), ("rich", 500)):
        Account.objects.get_by_name(name).deposit(balance)
        pks[name] = Object.objects.get(name=name).pk
    registry: dict[Any, Any] = site._registry
    monkeypatch.setitem(registry, Account, Poor(Account, site))
    vic = staff(["tests.view_account", "tests.change_account", "durable_objects.view_object"])
    for model in (Account, Object):
        assert confirm(vic, model, "pause_objects", [pks["rich"]]) == [
            "Not done for rich: you may not change objects of tests.Account"
        ]
        assert confirm(vic, model, "pause_objects", [pks["poor"]]) == ["Paused: poor."]
    assert vic.get(START, {"verb": "pause", "selection": ""}).status_code == 403
    monkeypatch.setattr(Poor, "may_do_to_all", lambda page, request, permission: True)
    assert "Pause 2 objects" in text_of(vic, f"{START}?verb=pause")
