"""Pages by keyboard alone: Tab reaches all that can be used, shows where it is, and is caught nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from batcher.models import Batch, Batcher
from durable_objects.http.models import ApiToken
from durable_objects.tables import Entry, Object, Operation
from reminders.models import AlertRule, Recipient, Reminder
from tests.support.admin_addresses import Rows
from tests.support.admin_pages import page_url
from tests.support.row_of_each_model import row_of_each_model

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: Marks what can be used, with how it looks while it is not focused. Of radio buttons Tab reaches one of a group.
MARK = """() => {
  const inputs = "input:not([type=hidden]):not([type=radio]), select, textarea";
  const usable = `a[href], button, summary, [tabindex='0'], ${inputs}`;
  const closed = (each) => each.parentElement.closest("details:not([open])") &&
      !(each.tagName === "SUMMARY" && !each.parentElement.parentElement.closest("details:not([open])"));
  window.looks = (each) => { const style = getComputedStyle(each);
    return [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor, style.backgroundColor].join() };
  document.activeElement.blur();  // what the page itself has focused looks so
  let number = 0;
  for (const each of document.querySelectorAll(usable)) {
    const isShown = each.checkVisibility({visibilityProperty: true}) && !closed(each);
    if (each.disabled || each.tabIndex < 0 || !isShown) continue;
    each.dataset.number = number++;
    each.looked = looks(each);
  }
  return number;
}"""
#: What has the focus: the number that it was marked with, whether it looks otherwise than before, and where it is.
FOCUSED = """() => {
  const each = document.activeElement;
  if (!each || each === document.body) return null;
  const place = each.getBoundingClientRect();
  const isInView = place.bottom > 0 && place.top < innerHeight && place.right > 0 && place.left < innerWidth;
  const html = each.outerHTML.slice(0, 150);
  return {number: Number(each.dataset.number ?? -1), isSeen: looks(each) !== each.looked, html, isInView};
}"""
#: What was marked, by its number.
HTML = "number => document.querySelector(`[data-number='${number}']`).outerHTML.slice(0, 150)"


def walk(page: Page, most: int) -> list[dict[str, Any]]:
    """What has the focus after each Tab, from where the page put it around until it is there again."""
    found: list[dict[str, Any]] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:  # between the end of the page and its beginning
            continue
        if found and focused["number"] == found[0]["number"]:
            return found
        found.append(focused)
    raise AssertionError(f"{most} times Tab do not lead around: {found[-5:]}")


def urls(rows: Rows) -> list[str]:
    """The pages that people work with: overview, object, list, operations with their question, edit of an entry, pause,
    batch, reminder, recipient, token, alert rule, the choice of a zone.
    """
    question = f"{reverse('admin:durable_objects_operation_start')}?verb=cancel&selection=state:armed"
    return [
        reverse("admin:app_list", args=["durable_objects"]),
        page_url(Batcher, rows[Batcher].pk),
        reverse("admin:durable_objects_alarm_changelist"),
        question,
        reverse("admin:durable_objects_operation_start"),
        page_url(Entry, rows[Entry].pk),
        f"{reverse('admin:durable_objects_entry_add')}?object={rows[Object].pk}",
        reverse("admin:durable_objects_pause_add"),
        *(page_url(model, rows[model].pk) for model in (Operation, Batch, Reminder, Recipient, ApiToken, AlertRule)),
        reverse("admin:durable_objects_zone"),
    ]


@pytest.mark.parametrize("width", [1440, 390])
def test_tab_reaches_everything(admin: Page, live_server: LiveServer, width: int) -> None:
    """Whatever can be used has the focus once, is in view then and looks otherwise; then it begins again."""
    rows = row_of_each_model()
    admin.context.add_cookies([{"name": "durable_objects_refresh", "value": "0", "url": live_server.url}])
    admin.set_viewport_size({"width": width, "height": 900})
    wrong: dict[str, Any] = {}
    for url in urls(rows):
        admin.goto(live_server.url + url)
        marked = admin.evaluate(MARK)
        assert marked > 5, url
        reached = walk(admin, 2 * marked + 20)
        missed = set(range(marked)) - {each["number"] for each in reached}
        # A field for a time has parts, the last of which shows by itself that it has the focus.
        seen = {each["number"] for each in reached if each["isSeen"] and each["isInView"]}
        unseen = [each["html"] for each in reached if each["number"] not in seen]
        if missed or unseen:
            wrong[url] = {"missed": [admin.evaluate(HTML, number) for number in sorted(missed)], "unseen": unseen}
    assert wrong == {}


def test_a_verb_by_keyboard(admin: Page, live_server: LiveServer) -> None:
    """From an object's page its alarm is cancelled with Tab, Enter and Space alone; the question takes the focus."""
    rows = row_of_each_model()
    admin.goto(live_server.url + page_url(Batcher, rows[Batcher].pk))
    press(admin, "button[name=action][value=cancel_alarms]", "Enter")
    expect(admin.locator(".do-question")).to_be_focused()
    press(admin, "input[type=submit][value^=Yes]", "Space")
    admin.wait_for_selector("text=Alarm cancelled: shop.")


def press(page: Page, selector: str, key: str) -> None:
    """Go there by Tab and press a key."""
    page.wait_for_selector(selector)
    for _ in range(300):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return page.keyboard.press(key)
    raise AssertionError(f"300 times Tab do not lead to {selector}")
