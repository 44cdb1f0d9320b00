"""A person searches a list: by typing, by choosing, by keys alone, on a narrow screen, without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.urls import reverse
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects.database import clock
from durable_objects.tables import Alarm, SavedView
from tests.browser.conftest import NARROW, WIDE
from tests.models import Counter, Script, Scripted

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser, pytest.mark.urls("tests.admin_urls")]

Screenshot = Callable[[str], None]
NAMES = "#result_list .field-named"


@pytest.fixture(autouse=True)
def _alarms() -> None:
    """Alarms of two classes."""
    Scripted.script = Script()
    for name in ("eu-1", "eu-2", "us-1"):
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(hours=1))
    Counter.objects.get_by_name("eu-counter").add()
    later = clock.now() + timedelta(days=2)
    Alarm.objects.filter(object__name="eu-2").update(due_at=later, wake_at=later)


@pytest.fixture
def alarms(live_server: LiveServer) -> str:
    """The address of the list of alarms."""
    return live_server.url + reverse("admin:durable_objects_alarm_changelist")


@pytest.fixture
def scriptless(browser: Browser, admin: Page) -> Iterator[Page]:
    """The same user's page in a browser that runs no scripts."""
    context = browser.new_context(java_script_enabled=False, viewport=NARROW)
    context.add_cookies(admin.context.cookies())  # type: ignore[arg-type]  # the stubs tell what is read from what is set
    page = context.new_page()
    yield page
    context.close()


def test_a_list_is_searched(admin: Page, alarms: str, screenshot: Screenshot) -> None:
    """A qualifier that is typed narrows the list, and says so in words; a wrong word says what is allowed; a suggestion
    goes on from what was typed.
    """
    admin.goto(alarms)
    box = admin.get_by_role("combobox", name="Search")
    box.fill("eu- due<2h")
    admin.get_by_role("button", name="Search").click()
    expect(admin.locator(NAMES)).to_have_text(["eu-1"])
    expect(admin.locator("#toolbar")).to_contain_text("1 alarm with a name that begins with eu-, due in less than 2h")
    screenshot("search-found")
    box.fill("eu- state:deaf")
    box.press("Enter")
    expect(admin.locator(".messagelist")).to_contain_text("names no state. Allowed: idle, armed")
    expect(admin.locator(NAMES)).to_have_count(0)
    screenshot("search-refused")
    box.fill("eu-")
    box.press("Enter")
    expect(admin.locator('#do-suggestions option[value="eu- state:armed"]')).to_have_count(1)
    admin.get_by_text("How to search").click()
    screenshot("search-how")
    admin.get_by_role("link", name="state:armed", exact=True).click()
    expect(admin.locator(NAMES)).to_have_text(["eu-1", "eu-2"])
    expect(box).to_have_value("eu- state:armed")


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_the_box_stands_in_line(admin: Page, alarms: str, size: ViewportSize) -> None:
    """The search box is as high as its button, and the lines below begin where it does. With the names, a state and an
    error the list of dead alarms fits beside its filters on a wide screen: no column is cut off.
    """
    Alarm.objects.filter(object__name="eu-1").update(
        state="dead", due_at=None, last_error="ValueError: the payment was declined"
    )
    admin.set_viewport_size(size)
    admin.goto(f"{alarms}?q=state:dead")
    box, button = (admin.get_by_role(role, name="Search").bounding_box() for role in ("combobox", "button"))
    assert box is not None
    assert button is not None
    assert abs(box["height"] - button["height"]) <= 1
    assert abs(box["y"] - button["y"]) <= 1
    words, how = (admin.locator(place).bounding_box() for place in ("p.do-words", ".do-how >> nth=0"))
    assert words is not None
    assert how is not None
    padding = "line => parseFloat(getComputedStyle(line).paddingLeft)"
    assert words["x"] + admin.locator("p.do-words").evaluate(padding) == how["x"]
    if size == WIDE:
        assert admin.locator(".results").evaluate("list => list.scrollWidth <= list.clientWidth")


def test_by_keys_alone(admin: Page, alarms: str) -> None:
    """The box has the focus's place in the order of the page; Enter searches; a suggestion is chosen by keys."""
    admin.goto(alarms)
    box = admin.get_by_role("combobox", name="Search")
    admin.keyboard.press("Tab")  # to the link that skips what is on every page
    admin.keyboard.press("Enter")
    for _ in range(20):
        admin.keyboard.press("Tab")
        if box.evaluate("box => box === document.activeElement"):
            break
    admin.keyboard.type("us-")
    admin.keyboard.press("Enter")
    expect(admin.locator(NAMES)).to_have_text(["us-1"])
    how = admin.locator("summary", has_text="How to search")
    how.focus()
    admin.keyboard.press("Enter")
    chosen = admin.get_by_role("link", name="state:armed", exact=True)
    expect(chosen).to_be_visible()
    chosen.focus()
    admin.keyboard.press("Enter")
    expect(box).to_have_value("us- state:armed")
    expect(admin.locator(NAMES)).to_have_text(["us-1"])


def test_a_view_is_saved_and_opened(admin: Page, alarms: str, screenshot: Screenshot) -> None:
    """What is shown is kept under a name, which stands above the list, and is removed beside it."""
    admin.goto(f"{alarms}?q=eu-&state=armed")
    admin.get_by_text("Save this view").first.click()
    admin.get_by_label("Name", exact=True).fill("Armed in Europe")
    admin.get_by_label("for everybody who may see this list").check()
    screenshot("view-save")
    admin.get_by_role("button", name="Save this view").click()
    expect(admin.locator(".messagelist")).to_contain_text("Saved the view Armed in Europe.")
    admin.goto(alarms)
    admin.get_by_role("link", name="Armed in Europe").click()
    expect(admin.locator(NAMES)).to_have_text(["eu-1", "eu-2"])
    admin.get_by_text("Save or remove views").click()
    screenshot("view-saved")
    admin.get_by_role("button", name="Remove Armed in Europe").click()
    expect(admin.locator(".messagelist")).to_contain_text("Removed the view Armed in Europe.")
    assert not SavedView.objects.exists()


def test_on_a_narrow_screen_without_scripts(scriptless: Page, alarms: str) -> None:
    """Searching, suggestions and views work without scripts; at 390 px the page is not wider than the screen."""
    page = scriptless
    page.goto(alarms)
    page.get_by_label("Search", exact=True).fill("eu-")
    page.get_by_role("button", name="Search").click()
    page.get_by_text("How to search").click()
    page.get_by_role("link", name="state:armed", exact=True).click()
    expect(page.locator(NAMES)).to_have_text(["eu-1", "eu-2"])
    page.get_by_text("Save this view").first.click()
    page.get_by_label("Name", exact=True).fill("Armed in Europe")
    page.get_by_role("button", name="Save this view").click()
    expect(page.get_by_role("link", name="Armed in Europe")).to_be_visible()
    page.get_by_text("Save or remove views").click()
    page.get_by_text("How to search").click()
    assert page.locator("#toolbar").bounding_box()["width"] <= NARROW["width"]  # type: ignore[index]  # it is there
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
