"""Admin in languages that write 1.234.567, and addresses with numbers and texts that no row has."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote as urlquote

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from batcher.models import Batch, Batcher
from durable_objects.admin import OperableAdmin
from durable_objects.tables import Entry, Object
from durable_objects.testing import FakeClock
from tests.support.admin_pages import choose, confirm, form_of, list_url, page_url, text_of
from tests.support.row_of_each_model import FIRST_KEY, row_of_each_model

pytestmark = pytest.mark.django_db

REGISTERED = admin.site._registry
LANGUAGES = ["de", "ar", pytest.param("fr", marks=pytest.mark.chaos)]
#: What a page says to machines: by attribute, or for inputs that nobody types into.
ADDRESSES = {"href", "action", "src", "name", "form", "for", "datetime", "x", "y", "width", "height", "viewbox"}
UNTYPED = {"hidden", "checkbox", "radio", "number"}
#: The moment at which an address was signed, and its signature: others in the next second.
SIGNED = re.compile(r":\w{6}:[\w-]{43}")


@pytest.fixture(autouse=True)
def _answers(many_requests: None, admin_client: Client) -> None:
    """What fails answers 500, as it would to a browser."""
    admin_client.raise_request_exception = False


@pytest.fixture
def rows() -> dict[type[Model], Any]:
    """A row of every registered class, with a key over a million where keys are numbers."""
    return row_of_each_model()


class Machine(HTMLParser):
    """Reads what a page says to machines."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag in {"link", "script", "meta"} or name == "csrfmiddlewaretoken" or name.startswith("initial-"):
            return  # style and scripts differ by language; dates are typed as people there write them
        self.found |= {(tag, attr, SIGNED.sub("", value)) for attr, value in given.items() if attr in ADDRESSES}
        if tag in {"option", "button"} or (tag == "input" and given.get("type") in UNTYPED):
            self.found.add((tag, name, given.get("value", "")))


def said_to_machines(client: Client, url: str) -> set[tuple[str, str, str]]:
    """What the page says to machines."""
    response = client.get(url, follow=True)
    assert response.status_code == 200, url
    machine = Machine()
    machine.feed(response.content.decode())
    return machine.found


def speak(settings: Settings, language: str) -> None:
    """The site is in this language, with separators between thousands."""
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = language, True


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_number_for_machines_is_written_for_machines(
    language: str, admin_client: Client, settings: Settings, alarm_clock: FakeClock, rows: dict[type[Model], Any]
) -> None:
    """Every address and every value that a page sends back is the same in a language that separates thousands."""
    pages = ("change",) if language == "de" else ("change", "history")
    urls = ["/admin/", reverse("admin:app_list", args=["durable_objects"])]
    for model, row in rows.items():
        urls += [list_url(model), *(page_url(model, quote(row.pk), page) for page in pages)]
    plain = {url: said_to_machines(admin_client, url) for url in urls}
    assert any(str(FIRST_KEY) in value for _, _, value in plain[page_url(Batcher, rows[Batcher].pk)])
    speak(settings, language)
    wrong = {url: sorted(said_to_machines(admin_client, url) ^ plain[url]) for url in urls}
    assert {url: found for url, found in wrong.items() if found} == {}


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_verb_reaches_its_row(
    language: str, admin_client: Client, settings: Settings, rows: dict[type[Model], Any]
) -> None:
    """Each button of each page finds its row again, whatever language the page and its question are in."""
    speak(settings, language)
    tried = 0
    for model, each in REGISTERED.items():
        url = page_url(model, rows[model].pk)
        if isinstance(each, OperableAdmin) and admin_client.get(url).status_code == 200:  # not the page of another list
            page = said_to_machines(admin_client, url)
            (key,) = (value for tag, name, value in page if (tag, name) == ("input", "_selected_action"))
            for verb in (value for tag, name, value in page if (tag, name) == ("button", "action")):
                question = choose(admin_client, model, verb, [key], from_page="yes")
                assert question.status_code == 200, (model, verb)
                asked = Machine()
                asked.feed(question.content.decode())
                assert ("input", "_selected_action", str(rows[model].pk)) in asked.found, (model, verb)
                tried += 1
    assert tried > 10
    assert confirm(admin_client, Batch, "replay", [rows[Batch].pk]) == ["Replay requested: shop."]


NOT_THERE = ["9" * 20, "9" * 5000, "x\0"]
ANY_KEY = ["", "0", "\0", "-1", "1.234.567"]
MORE_KEYS = [*NOT_THERE, "9" * 19, "x", "1\0", "\u0663", "1e9", "'", "_5F", "../"]
KEYS = [*ANY_KEY, *(pytest.param(key, marks=pytest.mark.chaos) for key in MORE_KEYS)]
#: Each address is asked with one key in so many, which ones differs from run to run: 7,000 pages take two minutes.
ONE_IN = 4


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_a_number_that_no_row_has_is_said(key: str, admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """An address with any key answers that there is none; a list asked for any number or text shows what it can."""
    urls, key = list[str](), urlquote(key)
    for model, each in REGISTERED.items():
        if key:
            urls += [f"{list_url(model)}{key}/{page}/" for page in ("change", "delete", "history", "password")]
        named = [getattr(spec, "parameter_name", spec) for spec in each.list_filter]
        urls += [
            f"{list_url(model)}?{name}={key}" for name in ("p", "q", "o", "e", "all", "after", "_to_field", *named)
        ]
    asked = [url for url in urls if not random.randrange(ONE_IN)]
    answers = ((url, admin_client.get(url).status_code) for url in asked)
    assert [(url, status) for url, status in answers if status >= 500] == []


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_a_verb_for_no_row_does_nothing(key: str, admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """Actions with keys that no row has change nothing, and say so."""
    wrong = []
    for model, each in REGISTERED.items():
        for action in each.get_actions(admin_client.get(list_url(model)).wsgi_request):
            status = choose(admin_client, model, action, [key], confirmed="yes", post="yes").status_code
            wrong += [(model.__name__, action, status)] if status != 302 else []
        assert model._default_manager.filter(pk=rows[model].pk).exists()
    assert wrong == []


def test_a_key_that_no_entry_can_have(admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """``?after=`` with a NUL, which no key has, begins where what stands before it ends."""
    batcher = rows[Batcher]
    batcher.storage.put_many({"b": 1, "c": 2})
    for after, shown in {"%00": "bc", "b%00": "c", "b%00z": "c", "zz": ""}.items():
        page = text_of(admin_client, f"{page_url(Object, batcher.pk)}?after={after}")
        assert [key for key in "bc" if f" {key} int" in page] == list(shown), after


UNREADABLE = ["[" * 200_000, '{"a":' * 100_000, "9" * 5_000, "[" + "9" * 5_000 + "]"]
NOT_KEPT = ['{"\\u0000": "x"}', '{"X": "\\u0000"}', '{"\\ud800": "x"}', "NaN"]


@pytest.mark.parametrize("text", [*UNREADABLE, *NOT_KEPT])
def test_json_that_nobody_can_read(text: str, admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """JSON too deep, with a number too long or a text that no database keeps, is refused in words where it is typed."""
    batcher = rows[Batcher]
    queued, add = batcher.queued(), reverse("admin:batcher_batcher_add_item", args=[batcher.pk])
    response = admin_client.post(add, {"item": text}, follow=True)
    assert "Not added: " in "".join(str(message) for message in response.context["messages"])
    assert batcher.queued() == queued
    url = page_url(Batcher, batcher.pk)
    page = admin_client.post(url, form_of(admin_client, url) | {"settings-0-headers": text}).content.decode()
    assert "Enter a valid JSON." in page


@pytest.mark.parametrize("text", ["5", '"text"', "[1]", "true", '{"X": 5}', '{"X\\n": "y"}'])
def test_headers_that_are_none(text: str, admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """JSON that is no set of headers is refused in words, and the page can be shown again."""
    url = page_url(Batcher, rows[Batcher].pk)
    page = admin_client.post(url, form_of(admin_client, url) | {"settings-0-headers": text}).content.decode()
    assert "Allowed: " in page


def test_the_links_of_a_page_lead_somewhere(admin_client: Client, rows: dict[type[Model], Any]) -> None:
    """From an object's page one comes to its runs and batches, and to no others."""
    other = Batcher.objects.get_by_name("other")
    other.add_item(1)
    for model, column in [(Batch, "batcher"), (Entry, "object")]:
        mine = admin_client.get(f"{list_url(model)}?{column}={rows[Batcher].pk}").context["cl"]
        assert {getattr(row, f"{column}_id") for row in mine.result_list} == {rows[Batcher].pk}
        assert "shop" in text_of(admin_client, f"{list_url(model)}?{column}={rows[Batcher].pk}")
        assert list(admin_client.get(f"{list_url(model)}?{column}=7").context["cl"].result_list) == []
