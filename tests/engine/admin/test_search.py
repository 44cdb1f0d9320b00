"""Lists are searched by a selection: typed, chosen among the filters, or both."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client, RequestFactory

from durable_objects.admin import DurableObjectAdmin
from durable_objects.admin.base import BoundedPaginator
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Impatient, Script, Scripted
from tests.support.admin_pages import choose, list_url, scripted, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def rows(alarm_clock: FakeClock, script: Script) -> None:
    """Objects of three classes, with alarms, entries and runs that differ."""
    Counter.objects.get_by_name("eu-counter").add(5)
    for number, name in enumerate(["eu-1", "eu-2", "us-1"]):
        scripted(name, (9 - number) * MINUTE).storage.put("customer", f"ann {number}")
    scripted("eu-2").schedules.set("daily", "scheduled", after=MINUTE)
    Impatient.objects.get_by_name("eu-dead").storage.set_alarm(timedelta(0))
    run_due_alarms()
    alarm_clock.advance(timedelta(seconds=2))
    run_due_alarms()


def found(client: Client, model: type[Model], **query: str) -> list[str]:
    """The names of the objects that the list shows, in its order; nothing is wrong with the question."""
    response = client.get(list_url(model), query)
    assert [str(message) for message in response.context["messages"]] == []
    listed: list[Any] = list(response.context["cl"].result_list)
    return [row.name if isinstance(row, Object) else row.object.name for row in listed]


@pytest.mark.parametrize(
    ("model", "query", "names"),
    [
        (Object, "state:dead", ["eu-dead"]),
        (Object, "eu- class:tests.Scripted", ["eu-2", "eu-1"]),
        (Object, "due<1h", ["eu-2", "us-1", "eu-1"]),
        (Object, 'key:customer value:"ann 1"', ["eu-2"]),
        (Object, "error:patience", ["eu-dead"]),
        (Scripted, "due>8m", ["eu-1"]),
        (Scripted, "name:eu-1", ["eu-1"]),
        (Alarm, "", ["eu-2", "us-1", "eu-1"]),
        (Alarm, "eu-", ["eu-dead", "eu-2", "eu-1"]),
        (Alarm, "due<1h name:eu*", ["eu-2", "eu-1"]),
        (Entry, "customer", []),
        (Entry, "key:customer class:tests.Scripted eu-", ["eu-1", "eu-2"]),
        (Entry, 'value:"ann 2"', ["us-1"]),
        (AlarmRun, "class:tests.Impatient", ["eu-dead", "eu-dead"]),
        (AlarmRun, "error:patience eu-", ["eu-dead", "eu-dead"]),
        (AlarmRun, "class:tests.Scripted", []),
        (Schedule, "class:tests.Scripted eu-", ["eu-2"]),
    ],
)
def test_a_list_is_searched_by_qualifiers(
    model: type[Model], query: str, names: list[str], admin_client: Client
) -> None:
    """Each list finds by the qualifiers that make sense there, by due time where that is the question."""
    assert found(admin_client, model, q=query) == names


def test_filters_and_what_is_typed_hold_together(admin_client: Client) -> None:
    """Filters narrow what is typed; a group of errors is a filter that the list offers by what it says."""
    group = Alarm.objects.get(object__name="eu-dead").error_group
    page = text_of(admin_client, list_url(Alarm))
    assert "ValueError: no patience" in page
    assert found(admin_client, Alarm, error=group) == ["eu-dead"]
    assert found(admin_client, Alarm, q="eu-", state="armed") == ["eu-2", "eu-1"]
    assert found(admin_client, Object, q="eu-", state="dead", error=group) == ["eu-dead"]
    assert found(admin_client, Alarm, state="all") == ["eu-dead", "us-1", "eu-2", "eu-1"]


@pytest.mark.parametrize(
    ("model", "query", "words"),
    [
        (Object, {"q": "state:deaf"}, "&quot;state:deaf&quot; names no state. Allowed: idle, armed"),
        (Object, {"q": 'name:"open'}, "cannot be read"),
        (
            Object,
            {"q": "state:dead", "state": "dead"},
            "Both the search and a filter beside the list have state: leave out",
        ),
        (Object, {"class": "99999999"}, "There is no class with the number 99999999"),
        (Entry, {"q": "state:dead"}, "This list cannot be searched by state: Allowed: class: name: key: value:."),
        (AlarmRun, {"q": "a b"}, "is the second name: here"),
    ],
)
def test_what_means_nothing_is_a_message(
    model: type[Model], query: dict[str, str], words: str, admin_client: Client
) -> None:
    """A search that means nothing lists nothing, and says what is allowed."""
    response = admin_client.get(list_url(model), query)
    assert response.status_code == 200
    assert words in response.content.decode()
    assert not response.context["cl"].result_list


@pytest.mark.parametrize("query", ["o=1", "o=-1", "o=99.-2", "class=99999999999999999999999", "state=x", "p=999999"])
@pytest.mark.parametrize("model", [Object, Alarm, AlarmRun, Entry, Schedule])
def test_no_address_of_a_list_fails(model: type[Model], query: str, admin_client: Client) -> None:
    """Sorting that is not offered, and numbers that no row has, are answered with a list."""
    assert admin_client.get(f"{list_url(model)}?{query}").status_code in {200, 302, 400}


def test_the_box_suggests_what_goes_on_from_what_is_typed(admin_client: Client) -> None:
    """Suggestions are complete texts, so that they need no script; the box says in words what was found."""
    page = admin_client.get(list_url(Alarm), {"q": "eu-"}).content.decode()
    assert '<option value="eu- state:dead">Dead</option>' in page
    assert '<option value="eu- class:tests.Scripted">' in page
    assert "3 alarms with a name that begins with eu-." in page


def test_one_that_was_found_is_not_many(admin_client: Client) -> None:
    """What was found is said in the singular where it is one."""
    assert "1 alarm with a name that begins with us-." in text_of(admin_client, f"{list_url(Alarm)}?q=us-")


def test_a_class_offers_the_errors_of_its_own_objects(admin_client: Client) -> None:
    """The list of a class has no filter and no suggestion by an error that only objects of others died of."""
    assert "no patience" in admin_client.get(list_url(Object)).content.decode()
    assert "no patience" not in admin_client.get(list_url(Counter)).content.decode()


def test_a_count_that_is_cut_says_so(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a list counts no further, the number has a plus."""
    assert " 3 alarms " in text_of(admin_client, list_url(Alarm))
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 2)
    assert " 2+ alarms " in text_of(admin_client, list_url(Alarm))


def test_all_of_a_list_are_those_that_it_shows(admin_client: Client) -> None:
    """A verb for all that the list has leaves out what its state at first does; rows that are named are taken."""
    dead = Alarm.objects.get(object__name="eu-dead")
    every = choose(admin_client, Alarm, "cancel_alarms", [dead.pk], select_across="1")
    assert {each["label"] for each in every.context["chosen"]} == {"eu-1", "eu-2", "us-1"}
    one = choose(admin_client, Alarm, "cancel_alarms", [dead.pk])
    assert {each["label"] for each in one.context["chosen"]} == {"eu-dead"}


def test_filters_hold_beside_a_search_of_ones_own(rf: RequestFactory, admin_user: User) -> None:
    """An admin whose ``get_search_results`` does all the searching has working filters nevertheless, and offers no
    operation on what it found, which no selection can say.
    """

    class ByEnding(DurableObjectAdmin):
        def get_search_results(self, request: Any, queryset: Any, search_term: str) -> tuple[Any, bool]:
            return queryset.filter(name__endswith=search_term), False

    shown = ByEnding(Scripted, admin.site)
    scripted("idle-1")

    def list_of(query: str) -> Any:
        request = rf.get(f"/?{query}")
        request.user = admin_user
        return shown.get_changelist_instance(request)

    def names(query: str) -> set[str]:
        return {row.name for row in list_of(query).result_list}

    assert names("q=-1") == {"eu-1", "us-1", "idle-1"}
    assert names("q=-1&state=armed") == {"eu-1", "us-1"}
    assert names("q=idle-1&state=armed") == set()
    assert names("state=armed") == {"eu-1", "eu-2", "us-1"}
    assert "state%3Aarmed" in list_of("state=armed").everything_url
    assert list_of("q=-1").everything_url is None
    asked = list_of("state=dead").revive_url
    assert "verb=revive&selection=" in asked
    assert "state%3Adead" in asked
    assert [list_of(query).revive_url for query in ("state=armed", "q=-1", "")] == [None, None, None]
