"""Views of a list under a name: saved, shared, opened by a link, removed; by those who may see the list."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from durable_objects.admin import saved_views
from durable_objects.tables import Alarm, Entry, SavedView
from tests.models import Script
from tests.support.admin_pages import list_url, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

DEAD = "q=eu-&state=dead"


def send(client: Client, **given: str) -> list[str]:
    """Post to the views of the list of alarms; answers the messages."""
    client.cookies.pop("messages", None)
    response = client.post(f"{list_url(Alarm)}views/", given)
    assert response.status_code == 302, response.status_code
    assert response["Location"].startswith(list_url(Alarm))
    return [str(message) for message in get_messages(response.wsgi_request)]


def views(client: Client, query: str = "") -> list[dict[str, Any]]:
    """The views that the list of alarms offers."""
    response = client.get(f"{list_url(Alarm)}?{query}")
    found: list[dict[str, Any]] = response.context["cl"].saved["views"]
    return found


@pytest.fixture
def onlooker() -> Client:
    """Somebody else who may see alarms."""
    return staff(["durable_objects.view_alarm"])


def test_a_view_is_saved_opened_and_removed(admin_client: Client, script: Script) -> None:
    """A list is saved as it is shown, whatever page of it; its link shows it again; saving again replaces it."""
    scripted("eu-1")
    page = admin_client.get(f"{list_url(Alarm)}?{DEAD}&p=1").content.decode()
    assert 'name="query" value="q=eu-&amp;state=dead"' in page
    assert send(admin_client, name="Dead in Europe", query=f"{DEAD}&p=3") == ["Saved the view Dead in Europe."]
    (view,) = views(admin_client, DEAD)
    assert (view["query"], view["is_shown"]) == (DEAD, True)
    assert '<a href="?q=eu-&amp;state=dead" aria-current="page">Dead in Europe</a>' in page_of(admin_client, DEAD)
    assert not views(admin_client)[0]["is_shown"]
    send(admin_client, name="Dead in Europe", query="state=dead")
    (view,) = views(admin_client)
    assert view["query"] == "state=dead"
    assert send(admin_client, remove=view["pk"], query=DEAD) == ["Removed the view Dead in Europe."]
    assert views(admin_client) == []


def page_of(client: Client, query: str) -> str:
    """The list of alarms."""
    return client.get(f"{list_url(Alarm)}?{query}").content.decode()


def test_who_sees_a_view(admin_client: Client, onlooker: Client) -> None:
    """A view is seen by who saved it, and one that is shared by all who may see that list, on no other list."""
    send(admin_client, name="mine", query=DEAD)
    send(admin_client, name="ours", query=DEAD, is_shared="on")
    assert [view["name"] for view in views(onlooker)] == ["ours"]
    assert "ours by admin" in text_of(onlooker, list_url(Alarm))
    assert "ours" not in text_of(admin_client, list_url(Entry))
    assert [view["name"] for view in views(admin_client)] == ["mine", "ours"]


def test_who_removes_a_view(admin_client: Client, onlooker: Client) -> None:
    """Only who saved a view removes it, or a superuser."""
    send(admin_client, name="ours", query=DEAD, is_shared="on")
    send(onlooker, name="theirs", query=DEAD, is_shared="on")
    ours, theirs = (str(SavedView.objects.get(name=name).pk) for name in ("ours", "theirs"))
    assert send(onlooker, remove=ours) == ["ours is a view of admin: only they can remove it."]
    assert send(onlooker, remove="9" * 30) == ["There is no such view any more."]
    assert SavedView.objects.count() == 2
    assert send(admin_client, remove=theirs) == ["Removed the view theirs."]


def test_who_may_not_see_the_list_saves_nothing() -> None:
    """Views are for who may see the list."""
    for client in (staff(["durable_objects.view_entry"], "vera"), Client()):
        assert client.post(f"{list_url(Alarm)}views/", {"name": "a", "query": DEAD}).status_code in {302, 403}
    assert not SavedView.objects.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "", "query": DEAD}, "name: This field is required."),
        ({"name": "x" * 61, "query": DEAD}, "at most 60 characters"),
        ({"name": "a", "query": "q=" + "x" * 4000}, "at most 4000 characters"),
    ],
)
def test_what_is_no_view_is_refused(given: dict[str, str], words: str, admin_client: Client) -> None:
    """A bad name or an address that is too long is a message, and nothing is saved."""
    (told,) = send(admin_client, **given)
    assert words in told
    assert not SavedView.objects.exists()


def test_views_are_bounded(admin_client: Client, onlooker: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's views of a list are bounded, and so are those that are shared."""
    monkeypatch.setattr(saved_views, "MOST_SAVED", 2)
    monkeypatch.setattr(saved_views, "MOST_SHARED", 1)
    send(admin_client, name="a", query=DEAD, is_shared="on")
    send(admin_client, name="b", query=DEAD)
    assert send(admin_client, name="c", query=DEAD) == [
        "You have 2 views of this list: remove one before you save another."
    ]
    assert send(admin_client, name="a", query="", is_shared="on") == ["Saved the view a."]
    assert send(onlooker, name="d", query="", is_shared="on") == [
        "This list has 1 shared views, and no more: save it for yourself alone."
    ]
