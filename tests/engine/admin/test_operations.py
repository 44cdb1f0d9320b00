"""Verbs on everything that matches, in admin: the question, who may, the page of an operation, stop and go on."""

from __future__ import annotations

from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from durable_objects.admin import actions
from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Alarm, Object, Operation
from tests.models import Grouped, Scripted
from tests.support.admin_pages import choose, list_url, page_url, staff, text_of
from tests.support.another_class import make_of
from tests.support.many_alarms import dead_alarms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

DEAD = "class:tests.Scripted state:dead"
START = reverse("admin:durable_objects_operation_start", urlconf="tests.admin_urls")


def ask(client: Client, verb: str = "revive", selection: str = DEAD) -> str:
    """What the question says."""
    return text_of(client, f"{START}?{'&'.join([f'verb={verb}', f'selection={selection}'])}")


def say_yes(client: Client, verb: str = "revive", selection: str = DEAD, **more: str) -> Operation | None:
    """The operation that a yes started."""
    client.post(START, {"verb": verb, "selection": selection, "confirmed": "yes", **more})
    return Operation.objects.order_by("-pk").first()


def test_the_question_has_the_exact_number_and_a_sample(admin_client: Client) -> None:
    """Before anything is done, the page says how many match, what would be done, and shows some with their errors."""
    dead_alarms(Scripted, 1_234)
    page = ask(admin_client)
    assert "Revive 1,234 alarms (of tests.Scripted, dead)? They run now, with all their retries." in page
    assert "The first 10 of 1,234" in page
    assert "n000009" in page
    assert "n000010" not in page
    assert "ValueError: the stock is empty" in page
    assert "Yes: revive 1,234" in unescape(
        admin_client.get(START, {"verb": "revive", "selection": DEAD}).content.decode()
    )
    assert not Operation.objects.exists()


def test_nothing_is_wrong_before_a_verb_is_chosen(admin_client: Client) -> None:
    """A link from a list brings what matches along, and the form asks for the verb without complaint."""
    page = admin_client.get(START, {"selection": DEAD}).content.decode()
    assert f'value="{DEAD}"' in page
    assert "This field is required." not in page
    assert "This field is required." in admin_client.post(START, {"selection": DEAD}).content.decode()


def test_its_page_leads_to_what_matches(admin_client: Client) -> None:
    """The page of an operation has a link to the list of what its selection matches now, in any state."""
    dead_alarms(Scripted, 3)
    operation = say_yes(admin_client, selection="")
    assert operation is not None
    Alarm.objects.update(state="idle")  # such as a list does not show at first
    page = admin_client.get(page_url(Operation, operation.pk)).content.decode()
    address = unescape(page.split('">Show what matches now')[0].rsplit('"', 1)[-1])
    assert {row.object.name for row in admin_client.get(address).context["cl"].result_list} == {
        "n000000",
        "n000001",
        "n000002",
    }


def test_one_is_not_many(admin_client: Client) -> None:
    """A question about a single alarm says so in the singular."""
    dead_alarms(Scripted, 1)
    assert "Cancel 1 alarm (of tests.Scripted, dead)?" in ask(admin_client, "cancel")


def test_a_yes_starts_it(admin_client: Client) -> None:
    """A yes makes the operation, by whoever said so, with reason and rate, and leads to its page."""
    dead_alarms(Scripted, 250)
    operation = say_yes(admin_client, reason="stock is back", rate="1000")
    assert operation is not None
    assert (operation.by, operation.user) == ("admin", str(User.objects.get().pk))
    assert (operation.reason, operation.rate, operation.total) == ("stock is back", 1000, 250)
    page = text_of(admin_client, page_url(Operation, operation.pk))
    assert "Revive 250 alarms (of tests.Scripted, dead), by admin: stock is back" in page
    assert "0 of 250" in page
    assert "Stop" in page
    bulk_chunks.drive(operation.pk, 0)
    page = text_of(admin_client, page_url(Operation, operation.pk))
    assert "250 of 250" in page
    assert "Stop" not in page
    assert "Revive: alarms (of tests.Scripted, dead)" in text_of(admin_client, list_url(Operation))


def test_verbs_that_take_more(admin_client: Client) -> None:
    """What a verb takes is asked for with the question; what cannot be meant is refused there, and starts nothing."""
    dead_alarms(Scripted, 3)
    Alarm.objects.update(state="armed")
    url = {"verb": "spread", "selection": "class:tests.Scripted"}
    answer = admin_client.post(START, {**url, "confirmed": "yes", "over": "soon"})
    assert "not a span of time" in unescape(answer.content.decode())
    answer = admin_client.post(START, {**url, "confirmed": "yes", "over": "1h", "rate": "-1"})
    assert answer.status_code == 200
    assert not Operation.objects.exists()
    operation = say_yes(admin_client, "spread", "class:tests.Scripted", over="1h 30m")
    assert operation is not None
    assert operation.arguments == {"over": 5400.0}
    moved = say_yes(admin_client, "move", "class:tests.Scripted", to="2040-01-01T10:00")
    assert moved is not None
    assert moved.arguments["to"].startswith("2040-01-01T")


@pytest.mark.parametrize("given", [{"verb": "burn"}, {"verb": "revive", "selection": "colour:red"}, {}])
def test_what_cannot_be_meant_is_asked_for_again(admin_client: Client, given: dict[str, str]) -> None:
    """Without a verb, or with a selection that says nothing, the page asks for both, with what is allowed."""
    page = text_of(admin_client, f"{START}?{'&'.join(f'{name}={value}' for name, value in given.items())}")
    assert "Show what matches" in admin_client.get(START, given).content.decode()
    assert ("Allowed" in page) == (given.get("selection") is not None)
    assert "Spread Each is put off by a part of this time that a hash of its object decides" in page


def test_a_list_leads_there(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one request takes, chosen in a list, becomes the question on all that the list shows, counted."""
    monkeypatch.setattr(actions, "AT_MOST", 5)
    dead_alarms(Scripted, 8)
    dead_alarms(Grouped, 2)
    pks = Alarm.objects.values_list("pk", flat=True)
    chosen = {"action": "revive", "_selected_action": [str(pk) for pk in pks], "select_across": "1"}
    answer = admin_client.post(f"{list_url(Alarm)}?state=dead", chosen)
    given = parse_qs(urlsplit(answer["Location"]).query)
    assert given == {"verb": ["revive"], "selection": ["state:dead"]}
    assert "Revive 10 alarms (dead)?" in text_of(admin_client, answer["Location"])
    answer = choose(admin_client, Scripted, "delete_objects", Object.objects.values_list("pk", flat=True)[:8])
    assert parse_qs(urlsplit(answer["Location"]).query)["selection"] == ["class:tests.Scripted"]
    assert "everything that matches" in text_of(admin_client, list_url(Alarm))
    page = unescape(admin_client.get(f"{list_url(Scripted)}?state=dead&q=n00").content.decode())
    assert "selection=class%3Atests.Scripted+state%3Adead+name%3An00%2A" in page
    assert "everything that matches" not in text_of(admin_client, f"{list_url(Alarm)}?q=%22")


@pytest.mark.parametrize("filters", ["class={}", "class={}&state=dead", "class={}&q=state:dead"])
@pytest.mark.parametrize("model", [Object, Alarm])
def test_a_list_of_no_class_of_objects_leads_nowhere(
    model: type[Object | Alarm], filters: str, admin_client: Client
) -> None:
    """Filtered by a class whose rows are no objects, which a selection cannot name, a list offers nothing for all."""
    group = ContentType.objects.get_for_model(Group)
    page = text_of(admin_client, f"{list_url(model)}?{filters.format(group.pk)}")
    assert "everything that matches" not in page
    assert "Revive all" not in page


def test_only_what_the_user_may_change() -> None:
    """Objects of classes that the user may not change are left out, and that is said; without any, nothing is asked."""
    dead_alarms(Scripted, 3)
    dead_alarms(Grouped, 2)
    vic = staff(["tests.change_scripted"])
    page = ask(vic, selection="state:dead")
    assert "Revive 3 alarms (dead)?" in page
    assert "2 more match, of classes that you may not change: they are left out." in page
    operation = say_yes(vic, selection="state:dead")
    assert operation is not None
    bulk_chunks.drive(operation.pk, 0)
    assert Alarm.objects.filter(state="dead").count() == 2
    eve = staff(["tests.view_scripted"], "eve")
    assert eve.get(START).status_code == eve.get(START, {"verb": "revive"}).status_code == 403
    assert vic.get(START, {"verb": "delete", "selection": DEAD}).status_code == 403


def test_the_list_leads_to_what_may_be_done() -> None:
    """Who may do something to objects is led from the list to the question, and to the plan who may change some."""
    for name, permission, offered in (
        ("eve", "tests.view_scripted", []),
        ("vic", "tests.delete_scripted", ["Start an operation"]),
        ("ann", "tests.change_scripted", ["After an outage", "Start an operation"]),
    ):
        page = text_of(staff(["durable_objects.view_operation", permission], name), list_url(Operation))
        assert [link for link in ("After an outage", "Start an operation") if link in page] == offered


def test_a_class_that_is_gone() -> None:
    """For a class that this code lacks, its permissions in the database count, and only verbs that need no class."""
    names = dead_alarms(Scripted, 2)
    gone = ContentType.objects.create(app_label="shop", model="gone")
    make_of(gone, name__in=names)
    vic = staff(["tests.change_scripted"])
    assert "Nothing matches" in ask(vic, "discard", "state:dead")
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    assert "Discard 2 alarms" in ask(root, "discard", "state:dead")
    assert "Nothing matches" in ask(root, "revive", "state:dead")


def test_stop_and_go_on() -> None:
    """Who asked for it may see it, stop it and go on with it, by a POST, which the log has; others need the permission
    to.
    """
    dead_alarms(Scripted, 3)
    vic, eve = staff(["tests.change_scripted"]), staff(["durable_objects.view_operation"], "eve")
    operation = say_yes(vic)
    assert operation is not None
    steer = reverse("admin:durable_objects_operation_steer", args=[operation.pk])
    assert eve.post(steer, {"what": "stop"}).status_code == 403
    assert "Stop" not in text_of(eve, page_url(Operation, operation.pk))
    vic.post(steer, {"what": "stop"})
    assert bulk.get(operation.pk).state == "stopped"
    assert "Go on" in text_of(vic, page_url(Operation, operation.pk))
    vic.post(steer, {"what": "go_on"})
    vic.get(steer, {"what": "stop"})
    assert bulk.get(operation.pk).state == "running"
    its = LogEntry.objects.filter(content_type__model="operation", object_id=str(operation.pk))
    log = list(its.order_by("pk").values_list("user__username", "change_message"))
    assert log == [("vic", "Started."), ("vic", "Stopped."), ("vic", "Gone on with.")]
    pat = staff(["tests.change_scripted"], "pat")
    assert pat.get(page_url(Operation, operation.pk)).status_code in {302, 403}
    assert pat.get(reverse("admin:durable_objects_operation_figures", args=[operation.pk])).status_code == 403


def test_one_that_comes_after_another_goes_on_after_it(admin_client: Client) -> None:
    """Who goes on with an operation before the one that it comes after is done is told that it waits for that; what did
    nothing, as it was not stopped, is not in the log.
    """
    first = bulk.start("revive", DEAD, by="ada")
    then = bulk.start("revive", DEAD, by="ada", after=first)
    assert bulk.stop(then)
    steer = reverse("admin:durable_objects_operation_steer", args=[then.pk])
    answer = admin_client.post(steer, {"what": "go_on"}, follow=True)
    assert [str(each) for each in answer.context["messages"]] == ["It goes on once the one before it is done."]
    assert bulk.get(then.pk).state == "waiting"
    answer = admin_client.post(steer, {"what": "go_on"}, follow=True)
    assert [str(each) for each in answer.context["messages"]] == ["It was not stopped."]
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Gone on with."]


def test_failures_are_on_the_page(admin_client: Client) -> None:
    """The page has the first failures with their errors, in a part that is fetched again every two seconds."""
    operation = bulk.start("revive", DEAD, by="ada")
    failure = {"object": 1, "class": "tests.Scripted", "name": "ada's", "error": "ValueError: <no>"}
    Operation.objects.update(failed=30, failures=[failure] * 20, error="its class is gone", state="stopped")
    figures = reverse("admin:durable_objects_operation_figures", args=[operation.pk])
    page = unescape(admin_client.get(figures).content.decode())
    assert "ValueError: <no>" in page
    assert "And 10 more." in page
    assert "its class is gone" in page
    assert (
        f'data-refresh="{figures}" data-seconds="2"'
        not in admin_client.get(page_url(Operation, operation.pk)).content.decode()
    )
    Operation.objects.update(state="running")
    assert (
        f'data-refresh="{figures}" data-seconds="2"'
        in admin_client.get(page_url(Operation, operation.pk)).content.decode()
    )
