"""The plan after an outage, in admin: what is late, the order and the rate, the question, the plan on its pages."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from durable_objects.admin.overview import sentence
from durable_objects.operations import bulk, bulk_chunks, pauses
from durable_objects.tables import Alarm, Operation
from tests.models import Grouped, Scripted
from tests.support.admin_pages import page_url, staff, text_of
from tests.support.many_alarms import late_alarms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

HOUR = timedelta(hours=1)
URL = reverse("admin:durable_objects_operation_outage", urlconf="tests.admin_urls")


@pytest.fixture(autouse=True)
def late() -> None:
    """40 of Scripted late by two hours, 20 by two days, and 30 of Grouped by 5 minutes."""
    late_alarms(Scripted, 40, 2 * HOUR)
    late_alarms(Scripted, 20, 48 * HOUR, prefix="old")
    late_alarms(Grouped, 30, HOUR / 12)


def places(scripted: str = "2", grouped: str = "1", **more: str) -> dict[str, str]:
    """What a person types: Grouped first, unless other places are given."""
    return {f"place_{Scripted.kind_pk()}": scripted, f"place_{Grouped.kind_pk()}": grouped, "rate": "10", **more}


def test_the_pile_and_the_question(admin_client: Client) -> None:
    """The page has what is late by class and age; the question the exact numbers, times and a sample, and changes
    nothing.
    """
    page = text_of(admin_client, URL)
    assert "tests.Scripted 60 0 0 40 20 2d" in page
    assert "tests.Grouped 30 30 0 0 0 5m" in page
    page = text_of_post(admin_client, places(skip="1d"))
    assert "Drain 70 alarms at 10 a second, and cancel 20 as too late?" in page
    assert page.index("tests.Grouped 30 0 0") < page.index("tests.Scripted 40 20 0")
    assert "old000000" in page
    assert (
        'value="Yes: drain 70, cancel 20" class="do-danger"'
        in admin_client.post(URL, places(skip="1d")).content.decode()
    )
    assert 'value="Yes: drain 90">' in admin_client.post(URL, places()).content.decode()
    page = text_of_post(admin_client, places(skip="1d", mark="1h"))
    assert "and cancel 20 as too late? 40 of them are marked as late." in page
    assert "tests.Scripted 40 20 40" in page
    assert not Operation.objects.exists()
    asked = places(skip="1d", reason="the bank was down")
    page = admin_client.post(URL, asked).content.decode()
    brought_along = dict(re.findall(r'type="hidden" name="(place_\w+|rate|skip|reason)" value="([^"]*)"', page))
    assert brought_along == asked  # a yes says all of it again


def text_of_post(client: Client, given: dict[str, str]) -> str:
    """What the page says that answers a form."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", client.post(URL, given).content.decode())).split())


def test_a_yes_starts_the_plan(admin_client: Client) -> None:
    """A yes pauses the classes and starts the operations by whoever said so; each one's page shows the plan, and stops
    and goes on with any of it.
    """
    answer = admin_client.post(URL, places(skip="1d", mark="1h", reason="the bank was down", confirmed="yes"))
    plan = list(Operation.objects.order_by("pk"))
    assert answer["Location"] == page_url(Operation, plan[0].pk)
    assert [(each.verb, each.by, each.reason) for each in plan] == [
        (verb, "admin", "the bank was down")
        for verb in ("cancel", "cancel", "mark_late", "mark_late", "spread", "spread")
    ]
    assert len(pauses.in_force().kinds) == 2
    page = text_of(admin_client, page_url(Operation, plan[5].pk))
    assert "Cancel: alarms (of tests.Grouped" in page
    assert "running 0 of 0 Stop" in page
    admin_client.post(reverse("admin:durable_objects_operation_steer", args=[plan[0].pk]), {"what": "stop"})
    assert "stopped 0 of 0 Go on" in text_of(admin_client, page_url(Operation, plan[5].pk))
    assert bulk.go_on(plan[0])
    while running := Operation.objects.filter(state="running").first():
        bulk_chunks.drive(running.pk, running.fence)
    assert not pauses.in_force().is_any
    assert Alarm.objects.filter(state="armed", due_at__gt=plan[0].asked_at).count() == 70
    assert Alarm.objects.filter(state="idle").count() == 20
    assert LogEntry.objects.filter(change_message__contains="the bank was down", object_repr="old000003").exists()
    assert LogEntry.objects.filter(change_message__startswith="Marked as late: by 2h", object_repr="n000003").exists()
    assert "Nothing is late" in text_of(admin_client, URL)


def test_only_who_may_do_it_is_led_on(admin_client: Client) -> None:
    """A plan's page offers to stop its operations to who may change operations, and to go on with one that is stopped
    to those of them only who may do what it does.
    """
    admin_client.post(URL, places(confirmed="yes"))
    first, last = Operation.objects.order_by("pk")
    of_operations = ["durable_objects.view_operation", "durable_objects.change_operation"]
    bob = staff(of_operations, "bob")
    ann = staff([*of_operations, "tests.change_scripted", "tests.change_grouped"], "ann")
    for client in (bob, ann):
        assert "running 0 of 30 Stop" in text_of(client, page_url(Operation, last.pk))
    assert bulk.stop(first)
    assert "stopped 0 of 30 Go on" in text_of(ann, page_url(Operation, last.pk))
    assert "Go on" not in text_of(bob, page_url(Operation, last.pk))
    assert text_of(ann, page_url(Operation, first.pk)).count("Go on") == 1  # its own, and none beside it in the plan


def test_the_page_of_a_step_follows_the_plan(admin_client: Client) -> None:
    """The page of an operation that is done is fetched again while another one of its plan runs."""
    admin_client.post(URL, places(confirmed="yes"))
    first, last = Operation.objects.order_by("pk")
    page = page_url(Operation, first.pk)
    Operation.objects.filter(pk=first.pk).update(state="done")
    assert "data-refresh" in admin_client.get(page).content.decode()
    Operation.objects.filter(pk=last.pk).update(state="done")
    assert "data-refresh" not in admin_client.get(page).content.decode()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"scripted": "", "grouped": ""}, "No class has a place"),
        ({"rate": "0"}, "greater than or equal to 0.01"),
        ({"rate": ""}, "This field is required"),
        ({"skip": "soon"}, "not a span of time"),
        ({"skip": "0s"}, "greater than or equal to"),
        ({"skip": "1d"}, "a reason is required"),
        ({"skip": "1h", "mark": "1d", "reason": "old"}, "mark from a lesser age on"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    admin_client: Client, given: dict[str, str], says: str, settings: Settings
) -> None:
    """A mistake is explained at the form, before the question, and nothing is started; what is cancelled needs a reason
    where all does.
    """
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}
    for answer in (places(**given), places(**given, confirmed="yes")):
        assert says in text_of_post(admin_client, answer)
    assert not Operation.objects.exists()


def test_only_classes_that_the_user_may_change() -> None:
    """Other classes are neither shown nor drained, and that is said; without any there is no page."""
    vic = staff(["tests.change_scripted"])
    page = text_of(vic, URL)
    assert "tests.Grouped" not in page
    assert "Classes that you may not change are left out: 1." in page
    vic.post(URL, places(confirmed="yes"))
    assert set(Operation.objects.values_list("words", flat=True)) == {Operation.objects.get().words}
    assert pauses.in_force().kinds == {Scripted.kind_pk()}
    assert staff(["tests.view_scripted"], "eve").get(URL).status_code == 403


def test_the_overview_leads_there(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Where much is late the overview offers the plan; the page takes few queries, however much is late."""
    overview = reverse("admin:app_list", args=["durable_objects"])
    assert URL not in admin_client.get(overview).content.decode()
    monkeypatch.setattr(sentence, "MANY_LATE", 90)
    assert URL in admin_client.get(overview).content.decode()
    with django_assert_max_num_queries(12):
        admin_client.get(URL)
    with django_assert_max_num_queries(20):
        admin_client.post(URL, places(skip="1d"))
