"""Who may only look is offered nothing else: no link leads to a refusal, and no button sends anything."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin

import pytest
from django.contrib.auth.models import Permission

from tests.support.admin_addresses import addresses
from tests.support.admin_pages import shape_of, staff
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("many_requests")]

#: Forms that are about the reader's own: the way out, their password, the zone that they read times in. Beside these
#: the views of a list that they have saved.
OWN = {"/admin/logout/", "/admin/password_change/", "/admin/durable_objects/alarm/zone/"}


class Offered(HTMLParser):
    """Reads where the links of a page lead, and to where its buttons send something."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.url, self.links = url, set[str]()
        self._posts: dict[str, str] = {}
        self._buttons: list[str] = []
        self._within = ""
        self.feed(text)
        self.sends = {self._posts[form] for form in self._buttons if form in self._posts}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and (link := urldefrag(urljoin(self.url, given.get("href", "")))[0]).startswith("/admin/"):
            self.links.add(link)
        if tag == "form":
            self._within = given.get("id", "") or f"form {self.getpos()}"
            if given.get("method", "get").lower() == "post":
                self._posts[self._within] = urljoin(self.url, given.get("action", ""))
        if (tag, given.get("type", "submit")) in {("button", "submit"), ("input", "submit")}:
            self._buttons.append(given.get("form", self._within))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._within = ""


@pytest.mark.parametrize(
    "once", [pytest.param(shape_of, marks=pytest.mark.slow), pytest.param(str, marks=pytest.mark.chaos)]
)
def test_nothing_is_offered_that_would_be_refused(once: Callable[[str], object]) -> None:
    """Each link of each page answers, and the only buttons that send are about the reader's own: pages and links that
    differ in more than what they are asked for, or all, which takes minutes.
    """
    urls = {once(url): url for url in addresses(row_of_each_model())}.values()
    named = Permission.objects.filter(codename__startswith="view_").values_list("content_type__app_label", "codename")
    onlooker = staff((f"{app}.{code}" for app, code in named), "onlooker")
    links: dict[str, str] = {}
    sends: dict[str, set[str]] = {}
    for url in urls:
        answer = onlooker.get(url)
        if answer.status_code != 200 or "html" not in answer["Content-Type"]:
            continue
        page = Offered(url, answer.content.decode())
        links |= {link: url for link in page.links if link not in links}
        if others := {
            each for each in page.sends if each.partition("?")[0] not in OWN and not each.endswith("/views/")
        }:
            sends[url] = others
    links = {link: url for link, url in links.items() if not link.endswith("/password/")}  # Django offers it to all
    asked = {once(link): link for link in links}.values()
    statuses = {link: onlooker.get(link).status_code for link in asked}
    assert len(links) > 100
    refused = {link: (status, links[link]) for link, status in statuses.items() if status >= 400}
    assert (refused, sends) == ({}, {})
