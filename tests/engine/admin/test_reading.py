"""How pages read to whoever has not seen them before: what matters first, nothing empty, nothing told twice."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from durable_objects import now
from durable_objects.operations import bulk, bulk_chunks, pauses
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Operation, Pause, Schedule
from durable_objects.testing import FakeClock
from tests.models import Counter, Script, Scripted
from tests.support.admin_pages import choose, list_url, page_url, scripted, staff, text_of
from tests.support.many_alarms import dead_alarms

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""
    cache.clear()


def panel(name: str) -> str:
    """The address of a panel of the overview."""
    return f"{reverse('admin:durable_objects_overview_panels')}?panel={name}"


def buttons(client: Client, obj: Scripted) -> list[str]:
    """The verbs on an object's page, in their order."""
    page = client.get(page_url(Scripted, obj.pk)).content.decode()
    return re.findall(r'name="action" value="(\w+)"', page)


def test_what_trouble_asks_for_comes_first(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The first button of a dead alarm revives it, the first of a paused object resumes it; neither is a quiet one."""
    (dead,) = [Scripted.objects.get(name=name) for name in dead_alarms(Scripted, 1)]
    paused = scripted("paused", HOUR)
    pauses.pause(paused)
    assert buttons(admin_client, dead)[0] == "revive"
    assert buttons(admin_client, paused)[0] == "resume_objects"
    page = admin_client.get(page_url(Scripted, paused.pk)).content.decode()
    assert 'value="resume_objects" class="button"' in page


@pytest.mark.parametrize(("verb", "becomes"), [("cancel_alarms", "dead → not set"), ("move_alarms", "Currently dead")])
def test_a_dead_alarm_is_not_said_to_be_unset(verb: str, becomes: str, admin_client: Client) -> None:
    """The question about a dead alarm says from which state to which."""
    dead_alarms(Scripted, 1)
    pk = Object.objects.get().pk
    assert becomes in choose(admin_client, Scripted, verb, [pk]).content.decode()


def test_an_operation_is_one_thing_that_was_done(admin_client: Client) -> None:
    """Of an operation the overview lists that it was started, and not each object; to who may not see operations those
    are all there is.
    """
    dead_alarms(Scripted, 3)
    user = admin_client.session["_auth_user_id"]
    operation = bulk.start("revive", "state:dead", by="admin", user=user, reason="stock is (nearly) back")
    bulk_chunks.drive(operation.pk, 0)
    admin_client.post(
        list_url(Scripted),
        {"action": "fire_now", "_selected_action": Object.objects.get(name="n000000").pk, "confirmed": "yes"},
    )
    text = text_of(admin_client, panel("people"))
    assert "Started: stock is (nearly) back." in text
    assert "Set to run now. n000000" in text
    assert "Revived" not in text
    seen = text_of(staff(["durable_objects.view_alarm", "tests.view_scripted"]), panel("people"))
    assert seen.count("Revived (operation") == 3


def test_only_what_the_user_may_do_is_offered(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Who may only view is led to lists, and to no question that would be refused; the page of a pause does not tell
    them to delete it.
    """
    dead_alarms(Scripted, 1)
    scripted("late", HOUR)
    alarm_clock.advance(2 * HOUR)
    pauses.pause(Counter)
    engine = [f"durable_objects.view_{name}" for name in ("alarm", "operation", "pause")]
    viewer = staff([*engine, "tests.view_scripted"])
    offers = ["Revive these…", "Discard with reason…", "Run all…"]
    seen, own = (text_of(client, panel("dead") + "&panel=late") for client in (viewer, admin_client))
    for offer in offers:
        assert offer in own
        assert offer not in seen
    assert "ValueError: the stock is empty" in seen
    page = page_url(Pause, Pause.objects.get().pk)
    assert "Resume…" in text_of(admin_client, page)
    assert "Resume…" not in text_of(viewer, page)


def test_nothing_has_no_picture(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Where nothing ran and nothing comes, that is said, and no empty axes are drawn."""
    for name, says in [("runs", "Nothing ran, and nothing waits."), ("ahead", "Nothing comes due within this time.")]:
        page = admin_client.get(panel(name)).content.decode()
        assert says in page
        assert "<svg" not in page


def test_a_pause_says_what_and_until_when(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Its page names what is paused and how it ends, as its list does, and has a button that ends it."""
    pauses.pause(Scripted)
    text = text_of(admin_client, page_url(Pause, Pause.objects.get().pk))
    for shown in ("pause of tests.Scripted", "Until: it is resumed", "Resume…"):
        assert shown in text
    pauses.pause(Scripted, until=HOUR)
    assert f"Until: {alarm_clock.now() + HOUR:%Y-%m-%d %H:%M:%S}" in text_of(
        admin_client, page_url(Pause, Pause.objects.get().pk)
    )
    pauses.resume(Scripted)
    pauses.pause(scripted("one", HOUR))
    text = text_of(admin_client, page_url(Pause, Pause.objects.get().pk))
    assert "pause of an object" in text
    assert "Paused: one" in text


def test_operations_are_listed_with_when_and_what(admin_client: Client) -> None:
    """The list says when each was asked for, and filters by the words of the buttons."""
    dead_alarms(Scripted, 1)
    bulk.start("revive", "state:dead", by="a")
    Operation.objects.update(asked_at=now() - HOUR)
    page = admin_client.get(list_url(Operation)).content.decode()
    assert "1h ago" in page
    assert re.search(r'<a href="\?verb=revive"[^>]*>\s*Revive</a>', page)


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (Alarm, "name, or state:dead tried&gt;3"),
        (Scripted, "name, or state:dead tried&gt;3"),
        (Entry, "name, or value:tea"),
        (AlarmRun, "name, or error:&quot;timed out&quot;"),
        (Schedule, "name, or error:&quot;timed out&quot;"),
    ],
)
def test_an_empty_search_shows_what_can_be_typed(model: type[Alarm], example: str, admin_client: Client) -> None:
    """Each list's own example is in its box, and can be typed there."""
    assert f'placeholder="{example}"' in admin_client.get(list_url(model)).content.decode()
    typed = example.removeprefix("name, or ").replace("&gt;", ">").replace("&quot;", '"')
    assert "errornote" not in (page := admin_client.get(list_url(model), {"q": typed}).content.decode())
    assert 'class="error"' not in page


def test_sizes_are_written_alike(admin_client: Client) -> None:
    """An object's page groups the digits of a size as the list of entries does."""
    obj = scripted("one", HOUR)
    obj.storage.put("long", "x" * 10_000)
    assert "The first 2,000 characters of its JSON." in text_of(admin_client, page_url(Scripted, obj.pk))
    for url in (page_url(Scripted, obj.pk), list_url(Entry)):
        assert "10,002\u00a0B" in admin_client.get(url).content.decode(), url
