"""Names and texts that would be markup, templates, commands to a terminal or lines of their own, on every page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.test import Client

from tests.support.admin_pages import choose, list_url, page_url
from tests.support.row_of_each_model import row_of_each_model

pytestmark = pytest.mark.django_db

REGISTERED = admin.site._registry
NAME = '<h0stile onh0stile="\'">&amp;{{ 31337|add:1 }}{% now "Y" %}\x1b[31mred\r\nForged: line\u202e'
TEXT = f"\"'></pre></textarea></script>{NAME}\x1b]0;title\x07\x9b"
#: Characters that no page has: they show nothing, and command a terminal that the source is sent to.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e]")


class Tags(HTMLParser):
    """Reads which tags and attributes a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


def pages_of(client: Client, model: type[Model], row: Any) -> dict[str, str]:
    """The list, the pages of one row, and the question of each action, by address."""
    urls = [list_url(model), *(page_url(model, quote(row.pk), page) for page in ("change", "history", "delete"))]
    answers = {url: client.get(url) for url in urls}
    for action in REGISTERED[model].get_actions(answers[list_url(model)].wsgi_request):
        answers[f"{list_url(model)} {action}"] = choose(client, model, action, [row.pk])
    return {url: answer.content.decode() for url, answer in answers.items()}


@pytest.mark.slow
def test_no_name_is_more_than_text(admin_client: Client) -> None:
    """Whatever people and upstreams write stays text: no tag, nothing evaluated, nothing that cannot be seen."""
    rows, wrong = row_of_each_model(NAME, TEXT), []
    pages = {"/admin/": admin_client.get("/admin/").content.decode()}
    for model in REGISTERED:
        pages |= pages_of(admin_client, model, rows[model])
    for url, page in pages.items():
        tags = Tags()
        tags.feed(page)
        found = {name for name in tags.found if "h0stile" in name} | {*map(repr, CONTROLS.findall(page))}
        found |= {"evaluated"} if "31338" in page else set()
        wrong += [(url, sorted(found))] if found else []
    assert wrong == []
    assert sum("h0stile" in page for page in pages.values()) > 60
