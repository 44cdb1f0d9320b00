"""Every page of admin in a browser that runs no scripts: it can be read, and whatever it offers does something."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from tests.support.admin_addresses import shown
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: What Django's own pages leave there without scripts: how its colours and its sidebar are toggled, the sidebar's own
#: filter, the box that ticks all rows, links beside a list of rows that wait for one to be chosen.
OF_DJANGO = [".theme-toggle", "#toggle-nav-sidebar", "#nav-filter", "#action-toggle", ".related-widget-wrapper-link"]
#: What is seen, once all that folds is open, and does nothing without a script.
IDLE = """(ofDjango) => {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const isSeen = (each) => each.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const sends = (each) => each.form && (each.type === "submit" || each.type === "image");
  const leads = (each) => !/^(#$|javascript:)/.test(each.getAttribute("href"));
  const submits = (form) => [...form.elements].some((each) => isSeen(each) && sends(each));
  const does = {
    "a[href]": leads,
    "a:not([href]), [role=button]:not(a)": () => false,
    "button, input[type=button], input[type=submit], input[type=image]": sends,
    "select, textarea, input:not([type=hidden], [type=button], [type=submit], [type=image])":
      (each) => each.form && (each.readOnly || submits(each.form)),
  };
  const idle = [];
  for (const [which, doesSomething] of Object.entries(does))
    for (const each of document.querySelectorAll(which))
      if (isSeen(each) && !doesSomething(each) && !ofDjango.some((one) => each.matches(one)))
        idle.push(each.outerHTML.slice(0, 200));
  return idle;
}"""


def unreadable(page: Page) -> str | None:
    """What is wrong with what the page says, if anything: it has a title, and something below it."""
    title, text = page.title().strip(), page.locator("main, body").first.inner_text().strip()
    return None if title and len(text) > 20 else f"title {title!r}, text {text!r}"


def leads_past_the_head(page: Page) -> bool:
    """Whether the page itself has put the focus past what is on every page, or the first Tab is at the link that skips
    it, which can be seen then and leads there.
    """
    if page.evaluate("document.querySelector('#content-start').contains(document.activeElement)"):
        return True
    page.keyboard.press("Tab")
    link = page.locator(".skip-to-content-link:focus")
    if not link.count() or not link.evaluate("each => each.getBoundingClientRect().left >= 0"):
        return False
    page.keyboard.press("Enter")
    return bool(page.evaluate("document.activeElement.matches('#content-start')"))


def test_every_page_is_all_there(browser: Browser, live_server: LiveServer, admin_client: Client) -> None:
    """Buttons belong to forms, fields can be sent, links lead somewhere; the first Tab leads past the head."""
    urls = shown(admin_client, row_of_each_model())
    assert len(urls) > 50
    wrong: dict[str, Any] = {}
    with browser.new_context(java_script_enabled=False) as context:
        session = admin_client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        page = context.new_page()
        for url in urls:
            page.goto(live_server.url + url)
            found = [unreadable(page), *page.evaluate(IDLE, OF_DJANGO)]
            if page.locator(".skip-to-content-link").count() and not leads_past_the_head(page):
                found.append("the first Tab does not lead past the head")
            if any(found):
                wrong[url] = [each for each in found if each]
    assert {url: str(found)[:300] for url, found in wrong.items()} == {}
