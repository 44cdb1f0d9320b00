"""The engine's admin in a real browser: what an operator sees, asks and does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects import now
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Object
from durable_objects.testing import run_due_alarms
from tests.browser.conftest import PASSWORD, log_in
from tests.models import Counter, Impatient, Script, Scripted

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Screenshot = Callable[[str], None]


@pytest.fixture(autouse=True)
def _script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted objects do nothing when they are woken."""
    monkeypatch.setattr(Scripted, "script", Script(), raising=False)


def dead(name: str) -> Impatient:
    """An object whose only retry has failed."""
    obj = Impatient.objects.get_by_name(name)
    obj.storage.put_many({"tries": 2, "since": now(), "token": b"\0secret"})
    obj.storage.set_alarm(timedelta(0))
    run_due_alarms()
    Alarm.objects.update(due_at=now())
    run_due_alarms()
    return obj


def page_of(server: LiveServer, obj: Object) -> str:
    """The page of an object of any class."""
    return server.url + reverse("admin:durable_objects_object_change", args=[obj.pk])


def test_a_dead_alarm_is_understood_and_revived(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """From the overview to the dead alarm, why it died, and after a question it lives again, which is on record."""
    obj = dead("orders")
    admin.goto(live_server.url + reverse("admin:durable_objects_overview"))
    expect(admin.locator("#do-dead")).to_contain_text("ValueError: no patience")
    screenshot("overview-dead")
    admin.locator(".do-tile", has_text="Dead").get_by_role("link").click()
    screenshot("alarms-dead")
    admin.get_by_role("link", name="orders").click()
    card = admin.locator(".do-alarm")
    expect(card).to_contain_text("at retry 1: ValueError: no patience")
    card.get_by_text("The last run, step by step").click()
    expect(card).to_contain_text("handler")
    screenshot("object-dead")
    card.get_by_role("button", name="Revive").click()
    expect(admin.locator("#content")).to_contain_text("Revive these dead alarms?")
    assert Alarm.objects.get().state == "dead"
    screenshot("question")
    admin.get_by_role("button", name="Yes: revive").click()
    expect(admin.locator(".messagelist")).to_contain_text("Revived: orders.")
    screenshot("object-revived")
    assert (Alarm.objects.get().state, Alarm.objects.get().retry_count) == ("armed", 0)
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_id, entry.get_change_message()) == ("ada", str(obj.pk), "Revived.")


def test_fire_now_and_cancel_without_javascript(browser: Browser, live_server: LiveServer) -> None:
    """With scripts off an alarm is fired and another cancelled by the same clicks, and the overview is all there."""
    User.objects.create_superuser("ada", password=PASSWORD)
    far = Scripted.objects.get_by_name("far")
    far.storage.set_alarm(timedelta(days=1))
    with browser.new_context(java_script_enabled=False) as context:
        page = log_in(context.new_page(), page_of(live_server, far))
        page.locator(".do-alarm").get_by_role("button", name="Run now").click()
        page.get_by_role("button", name="Yes: run now").click()
        expect(page.locator(".messagelist")).to_contain_text("Set to run now: far.")
        assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
        far.storage.set_alarm(timedelta(days=1))
        page.goto(page_of(live_server, far))
        page.locator(".do-alarm").get_by_role("button", name="Cancel alarm").click()
        page.get_by_role("link", name="No, take me back").click()
        assert far.storage.get_alarm() is not None
        page.locator(".do-alarm").get_by_role("button", name="Cancel alarm").click()
        page.get_by_role("button", name="Yes: cancel alarm").click()
        expect(page.locator(".messagelist")).to_contain_text("Alarm cancelled: far.")
        assert far.storage.get_alarm() is None
        page.goto(live_server.url + reverse("admin:durable_objects_overview"))
        expect(page.locator(".do-tile", has_text="Next day")).to_contain_text("0")
        expect(page.locator(".do-figures")).to_contain_text("p95")
    assert sorted(entry.get_change_message() for entry in LogEntry.objects.all()) == [
        "Alarm cancelled.",
        "Set to run now.",
    ]


def test_the_overview_keeps_up(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """The figures change by themselves within seconds, without the page being loaded again."""
    Dispatcher.objects.create(process="web-1:4711", started_at=now(), last_pass_at=now())
    for number in range(40):
        Scripted.objects.get_by_name(f"ran {number}").storage.set_alarm(timedelta(0))
    run_due_alarms()
    for number in range(60):
        after = timedelta(minutes=1 + 59 * (number % 9) / 9)
        Scripted.objects.get_by_name(f"due {number}").storage.set_alarm(after)
    admin.goto(live_server.url + reverse("admin:durable_objects_overview"))
    expect(admin.locator("#do-sentence")).to_contain_text("Nothing is late, and a dispatcher passes.")
    admin.evaluate("window.loadedOnce = true")
    screenshot("overview-fine")
    dead("orders")
    expect(admin.locator(".do-tile.do-bad", has_text="Dead")).to_contain_text("1")
    assert admin.evaluate("window.loadedOnce") is True


def test_pages_are_good_to_look_at(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """Narrow and in the dark no page of the engine is wider than the screen, whatever it holds."""
    obj = dead("a rather long name that goes on and on " + "x" * 80)
    runs = AlarmRun.objects.get(outcome="dead")
    for number in range(18):
        moved = timedelta(seconds=2 ** (number % 9) / 10)
        AlarmRun.objects.create(
            object_id=obj.pk, scheduled_at=runs.scheduled_at, due_at=runs.due_at, wake_up_for=runs.due_at,
            picked_up_at=runs.due_at + moved / 2, started_at=runs.due_at + moved, ended_at=runs.due_at + 2 * moved,
            retry_count=0, fence=number, outcome="succeeded",
        )  # fmt: skip
    Counter.objects.get_by_name("plain").add(3)
    urls = {
        "narrow-overview": reverse("admin:durable_objects_overview"),
        "narrow-object": reverse("admin:durable_objects_object_change", args=[obj.pk]),
        "narrow-alarms": reverse("admin:durable_objects_alarm_changelist"),
    }
    for mode in ("light", "dark"):
        admin.emulate_media(color_scheme=mode)
        for name, url in urls.items():
            admin.set_viewport_size({"width": 1280, "height": 900})
            admin.goto(live_server.url + url)
            screenshot(f"{mode}-{name.replace('narrow', 'wide')}")
            admin.set_viewport_size({"width": 390, "height": 800})
            admin.goto(live_server.url + url)
            screenshot(f"{mode}-{name}")
            assert admin.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_an_object_is_copied(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """Its page asks for a name, says beside it what is wrong with one, and reports the copy, which is paused."""
    obj = Scripted.objects.get_by_name("one")
    obj.storage.put("key", (1, 2))
    obj.storage.set_alarm(timedelta(hours=1))
    admin.goto(page_of(live_server, obj))
    screenshot("object-to-copy")
    admin.get_by_role("button", name="Copy under another name…").click()
    expect(admin.locator("#content")).to_contain_text("Store this object again under another name")
    screenshot("copy-question")
    admin.get_by_label("Name of the copy").fill("two")
    admin.get_by_role("button", name="Yes: copy").click()
    expect(admin.locator(".messagelist")).to_contain_text("Copied: one (to two, paused, entries: 1).")
    admin.goto(page_of(live_server, Object.objects.get(name="two")))
    expect(admin.locator(".do-alarm")).to_contain_text("copied from one")
    screenshot("object-copied")
