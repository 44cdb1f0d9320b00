"""Storage edited in admin: typed, through a turn, refused when it changed meanwhile, logged, and by permission."""

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client

from durable_objects.tables import Entry, Object
from tests.models import Script, Scripted
from tests.support.admin_pages import form_of, list_url, page_url, park, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

ADD = "/admin/durable_objects/entry/add/?object={}"


@pytest.fixture
def obj(script: Script) -> Scripted:
    """An object with one value."""
    one = scripted("one")
    one.storage.put("n", 1)
    return one


def edit(obj: Scripted, key: str = "n") -> str:
    """The address of the page of a key."""
    return page_url(Entry, Entry.objects.get(object=obj.pk, key=key).pk)


def seen_on(client: Client, away: str) -> str:
    """The version of the value that the question before deleting shows."""
    return str(client.get(away).context["seen"])


def told(response: Any) -> list[str]:
    """The messages that an answer leaves."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_a_value_is_changed_and_logged(admin_client: Client, obj: Scripted) -> None:
    """The form shows type and text; what is saved has the chosen type; the log has old and new."""
    shown = form_of(admin_client, edit(obj))
    assert (shown["value_type"], shown["value_text"]) == (["number"], ["1"])
    done = admin_client.post(edit(obj), {**shown, "value_type": "span", "value_text": "1h 30m"})
    assert done["Location"] == f"{page_url(Object, obj.pk)}#storage"
    assert told(done) == ["Saved: n."]
    assert obj.storage.get("n") == timedelta(minutes=90)
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.content_type_id) == (str(obj.pk), Scripted.kind_pk())
    assert entry.change_message == 'Storage, n: 1 → {"$type":"timedelta","value":5400000000}'


def test_what_changed_meanwhile_is_refused(admin_client: Client, obj: Scripted) -> None:
    """A page that was open while the value changed saves nothing, keeps what was typed, and says what is there now."""
    shown = form_of(admin_client, edit(obj))
    obj.storage.put("n", [2])
    again = admin_client.post(edit(obj), {**shown, "value_text": "5"}).content.decode()
    assert "The value was changed meanwhile, and yours is not stored." in again
    assert "It is now: [2]" in again
    assert '<a href="">Open the page again</a>' in again
    assert ">\n5</textarea>" in again
    assert obj.storage.get("n") == [2]
    assert not LogEntry.objects.exists()


def test_a_race_is_refused_by_the_turn(admin_client: Client, obj: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what changes between the form's own look and the turn is refused: the turn compares under the lock."""
    from durable_objects.admin.entries import EntryForm

    shown = form_of(admin_client, edit(obj))
    monkeypatch.setattr(EntryForm, "refuse_changed", lambda form, seen: None)
    obj.storage.put("n", 2)
    done = admin_client.post(edit(obj), {**shown, "value_text": "5"})
    assert told(done) == ["n of tests.Scripted 'one' was changed meanwhile: it is now 2. Nothing was written."]
    assert obj.storage.get("n") == 2


def test_a_bad_value_is_said_beside_the_field(admin_client: Client, obj: Scripted) -> None:
    """What is no value of its type is refused with what one looks like, and nothing changes."""
    shown = form_of(admin_client, edit(obj))
    page = admin_client.post(edit(obj), {**shown, "value_type": "date", "value_text": "soon"}).content.decode()
    assert "of the type date looks like: 2031-01-31" in page
    assert obj.storage.get("n") == 1


@pytest.mark.parametrize("text", ["[" * 300 + "]" * 300, '"a\\u0000"', '["\\ud800"]'])
def test_what_cannot_be_stored_is_said_beside_the_field(admin_client: Client, obj: Scripted, text: str) -> None:
    """What is JSON, but no value that storage takes, is refused with the form, which keeps what was typed."""
    page = admin_client.post(
        edit(obj), {**form_of(admin_client, edit(obj)), "value_type": "json", "value_text": text}
    ).content.decode()
    assert "Allowed: None, bool, int" in page
    assert text in html.unescape(page)
    assert obj.storage.get("n") == 1


def test_keys_are_added_and_deleted(admin_client: Client, obj: Scripted) -> None:
    """A key is added on its object's page, unless it is there; deleting asks first; both are in the object's log."""
    url = ADD.format(obj.pk)
    given = {**form_of(admin_client, url), "value_type": "text", "value_text": "tea"}
    assert "There is a value under this key already" in admin_client.post(url, {**given, "key": "n"}).content.decode()
    admin_client.post(url, {**given, "key": "drink"})
    assert obj.storage.list() == {"drink": "tea", "n": 1}
    away = edit(obj, "n").replace("change", "delete")
    assert "Are you sure" in text_of(admin_client, away)
    done = admin_client.post(away, {"post": "yes", "seen": seen_on(admin_client, away)})
    assert done["Location"] == f"{page_url(Object, obj.pk)}#storage"
    assert obj.storage.list() == {"drink": "tea"}
    messages = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert list(messages) == ['Storage, drink: added, "tea"', "Storage, n: deleted, it was 1"]


def test_what_changed_meanwhile_is_not_deleted(admin_client: Client, obj: Scripted) -> None:
    """Deleting asks with the value, and deletes that one only: not another that is there by now, nor one unseen."""
    away = edit(obj).replace("change", "delete")
    assert "with this value? 1 " in text_of(admin_client, away)
    seen = seen_on(admin_client, away)
    obj.storage.put("n", 2)
    for sent in ({"post": "yes", "seen": seen}, {"post": "yes"}):
        done = admin_client.post(away, sent)
        assert told(done) == ["n of tests.Scripted 'one' was changed meanwhile: it is now 2. Nothing was written."]
        admin_client.cookies.pop("messages", None)
    assert obj.storage.get("n") == 2
    assert not LogEntry.objects.exists()


def test_masked_values_are_neither_shown_nor_changed(
    admin_client: Client, obj: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the class masks has no form, cannot be deleted or added, and its value is on no page and in no log."""
    monkeypatch.setattr(Scripted, "masked_keys", ("n", "secret"))
    obj.storage.put("n", "hush")
    for url in (edit(obj), page_url(Object, obj.pk), list_url(Entry)):
        assert "hush" not in admin_client.get(url, follow=True).content.decode()
    assert "value_text" not in admin_client.get(edit(obj)).content.decode()
    sent = {"value_type": "text", "value_text": "x", "seen": ""}
    assert admin_client.post(edit(obj), sent).status_code == 403
    assert admin_client.post(edit(obj).replace("change", "delete"), {"post": "yes"}).status_code == 403
    refused = admin_client.post(ADD.format(obj.pk), {**sent, "key": "secret"}).content.decode()
    assert "is masked (masked_keys)" in refused
    assert obj.storage.list() == {"n": "hush"}
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("missing", ["durable_objects.change_entry", "tests.change_scripted"])
def test_who_may_edit(obj: Scripted, missing: str) -> None:
    """Changing takes the permission for entries and that for the object's class; else the value is only shown."""
    all_of = {"durable_objects.view_entry", "durable_objects.change_entry", "tests.change_scripted"}
    client = staff(all_of - {missing})
    assert "value_text" not in client.get(edit(obj)).content.decode()
    assert client.post(edit(obj), {"value_type": "number", "value_text": "2", "seen": ""}).status_code == 403
    assert client.get(ADD.format(obj.pk)).status_code == 403
    able = staff(all_of, "ann")
    shown = form_of(able, edit(obj))
    able.post(edit(obj), {**shown, "value_text": "7"})
    assert obj.storage.get("n") == 7
    assert able.post(edit(obj).replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_entries_of_parked_objects_stay(admin_client: Client) -> None:
    """Without its class an entry has no form, and none can be added."""
    row = park("lost")
    entry = Entry.objects.get(object=row)
    assert "value_text" not in admin_client.get(page_url(Entry, entry.pk)).content.decode()
    assert admin_client.get(ADD.format(row.pk)).status_code == 403
