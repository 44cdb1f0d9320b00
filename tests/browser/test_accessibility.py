"""Every page of admin, judged by axe: wide and light, narrow and dark; none asks for more than the policy allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from project.csp import POLICY
from tests.browser.conftest import FORMS, show_as
from tests.support.admin_addresses import shown
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SERIOUS = {"serious", "critical"}
#: What Django's own pages lack, here as on any site: links in breadcrumbs and beside a search that only their colour
#: shows, a search that only its help names, dates and times without labels, tooltips without a role.
OF_DJANGO = [".breadcrumbs", "#changelist-search", ".vDateField", ".vTimeField", ".help-tooltip"]

#: Each page in these two forms, of which every rule of style is in one.
JUDGED = [form for form in FORMS if form[0] in ("wide-light", "narrow-dark")]


def serious(page: Page) -> Iterator[tuple[str, str]]:
    """What axe finds on the page that is at least serious: the rule, and the element."""
    context, options = {"exclude": OF_DJANGO}, {"resultTypes": ["violations"]}
    found: dict[str, Any] = Axe().run(page, context=context, options=options).response
    for each in found["violations"]:
        if each["impact"] in SERIOUS:
            for node in each["nodes"]:
                yield each["id"], node["html"][:160]


@pytest.mark.parametrize("forms", [1, pytest.param(len(JUDGED), marks=pytest.mark.chaos)])
def test_no_page_has_a_serious_fault(
    forms: int, browser: Browser, live_server: LiveServer, admin_client: Client
) -> None:
    """What cannot be reached by keyboard, read by contrast, or named by a screen reader, on any page that answers: each
    in one of the forms, by turns, or in both.
    """
    urls = shown(admin_client, row_of_each_model())
    assert len(urls) > 50
    # axe itself sets styles, which the policy forbids.
    context = browser.new_context(bypass_csp=True)
    context.add_cookies(
        [{"name": "sessionid", "value": admin_client.cookies["sessionid"].value, "url": live_server.url}]
    )
    page = context.new_page()
    found: dict[str, list[tuple[str, str]]] = {}
    for number, url in enumerate(urls):
        page.goto(live_server.url + url)
        for name, size, scheme in (JUDGED + JUDGED)[number % 2 :][:forms]:
            show_as(page, size, scheme)
            if faults := list(serious(page)):
                found[f"{url} {name}"] = faults
    context.close()
    assert found == {}


def test_no_page_asks_for_more_than_the_policy(admin: Page, live_server: LiveServer, admin_client: Client) -> None:
    """Each is sent with it, and neither style nor script of its own is refused, nor does a script fail."""
    for url in shown(admin_client, row_of_each_model()):
        answer = admin.goto(live_server.url + url)
        assert answer is not None
        assert answer.headers["content-security-policy"] == POLICY, url
