"""At home in django-unfold, where a project has it: each page answers, lists run actions, all of it can be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import ConsoleMessage, Page
from pytest_django.live_server_helper import LiveServer

from batcher.models import Batch, Batcher
from durable_objects.tables import Alarm, Object, Operation, Process
from reminders.models import AlertRule
from tests.browser.conftest import NARROW, WIDE
from tests.support.admin_addresses import addresses
from tests.support.admin_pages import list_url, page_url
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not os.environ.get("TEST_UNFOLD"), reason="for `scripts/matrix unfold`: django-unfold is not here"
    ),
]

#: Of parts that are ours: what a browser that has their style computes. A theme knows nothing of them.
STYLED = """() => {
  const faults = [], clear = "rgba(0, 0, 0, 0)";
  const check = (selector, isStyled) => document.querySelectorAll(selector).forEach(each => {
    if (each.checkVisibility() && !isStyled(getComputedStyle(each), each)) faults.push(each.outerHTML.slice(0, 160));
  });
  const px = text => parseFloat(text) || 0;
  const buttons = ".do-verbs :is(.button, button, input[type=submit]), .do-overview a.button";
  check(buttons, own => own.backgroundColor !== clear);
  check(".do-badge", own => own.backgroundColor !== clear && px(own.borderTopLeftRadius) > 0);
  check(".do-wide :is(td, th)", own => px(own.paddingLeft) >= 6);
  check(".do-wide .do-number", own => own.textAlign === "right");
  check(".do-wide", own => own.overflowX === "auto");
  check(".do-tile", own => px(own.borderTopWidth) >= 1 && own.listStyleType === "none");
  check(".do-statement, .do-finding", own => px(own.borderLeftWidth) >= 4);
  check(":is(.do-card, .do-alarm, .do-runs, .do-storage) summary", own => own.display === "list-item");
  check(".do-given :is(input[type=text], select, textarea)", own => px(own.borderTopWidth) >= 1);
  check(".do-how summary", own => own.cursor === "pointer");
  check(".do-chart", (own, each) => each.getBoundingClientRect().height > 0);
  check("#changelist-search input:is([type=search], [type=submit])", own => px(own.borderTopLeftRadius) >= 1);
  check(".do-copy", own => own.backgroundColor !== clear);
  return faults;
}"""
#: By how much a page is wider than the window.
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_an_action_is_run_from_a_list(admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]) -> None:
    """Rows are chosen, the button to run the action appears, its question is answered, and it is done."""
    for name in ("ada", "bob"):
        batcher = Batcher.objects.get_by_name(name)
        batcher.add_item("tea")
        batcher.storage.set_alarm(timedelta(hours=1))
    admin.goto(f"{live_server.url}/admin/durable_objects/alarm/")
    for box in admin.query_selector_all("input.action-select"):
        box.check()
    admin.select_option("select[name=action]", "cancel_alarms")
    screenshot("unfold-list")
    admin.click("button[name=index]")
    admin.wait_for_selector("input[type=submit][value^=Yes]")
    screenshot("unfold-question")
    admin.click("input[type=submit][value^=Yes]")
    admin.wait_for_selector("text=Alarm cancelled: ")
    assert set(Alarm.objects.values_list("state", flat=True)) == {"idle"}


def test_every_page_is_shown(admin: Page, live_server: LiveServer, admin_client: Client) -> None:
    """Each address that answers does so in a browser too: no script fails, our parts have their style, and at 390 px
    nothing is cut off.
    """
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            said.append(f"{admin.url}: {message.text}")

    admin.on("console", hear)
    pages = list(shown(admin_client))
    assert len(pages) > 50
    unstyled: dict[str, list[str]] = {}
    wide: dict[str, int] = {}
    for url in pages:
        answer = admin.goto(live_server.url + url)
        assert answer is not None
        assert answer.status == 200, url
        if faults := admin.evaluate(STYLED):
            unstyled[url] = faults
        admin.set_viewport_size(NARROW)
        if over := admin.evaluate(TOO_WIDE):
            wide[url] = over
        admin.set_viewport_size(WIDE)
    assert (said, unstyled, wide) == ([], {}, {})


def test_pages_can_be_looked_at(admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]) -> None:
    """Our own parts are on the pages that are theirs: without one, what is judged of its style would be nothing."""
    rows = row_of_each_model()
    for name, url, part in [
        ("overview", reverse("admin:durable_objects_overview"), ".do-tile"),
        ("object", page_url(Object, rows[Object].pk), ".do-storage .do-wide"),
        ("batcher", page_url(Batcher, rows[Batcher].pk), ".do-verbs .button"),
        ("batch", page_url(Batch, rows[Batch].pk), ".do-point"),
        ("search", f"{list_url(Alarm)}?q=name:shop", ".do-how summary"),
        ("operation", page_url(Operation, rows[Operation].pk), ".do-figures"),
        ("start", f"{reverse('admin:durable_objects_operation_start')}?verb=run", ".do-given input"),
        ("outage", reverse("admin:durable_objects_operation_outage"), ".do-verbs .button"),
        ("processes", list_url(Process), ".do-badge"),
        ("silence", f"{page_url(AlertRule, rows[AlertRule].pk).removesuffix('change/')}silence/", ".do-verbs"),
    ]:
        admin.goto(live_server.url + url)
        screenshot(f"unfold-{name}")
        assert admin.locator(part).count(), (url, part)


def shown(client: Client) -> Iterator[str]:
    """Every address that answers with a page; none fails."""
    client.raise_request_exception = False
    for url in addresses(row_of_each_model()):
        answer = client.get(url)
        assert answer.status_code < 500, url
        if answer.status_code == 200 and b"<html" in answer.content:
            yield url
