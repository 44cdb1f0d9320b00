"""Pausing in a browser: an object by its button, a class by the list of pauses; the overview says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects.tables import Pause
from durable_objects.testing import run_due_alarms
from tests.models import Script, Scripted

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser, pytest.mark.urls("tests.admin_urls")]

Screenshot = Callable[[str], None]


@pytest.fixture(autouse=True)
def _script() -> None:
    """Every test has a script of its own."""
    Scripted.script = Script()


def test_an_object_and_a_class_are_paused(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """The button asks why and for how long; the class is chosen in a list; both are read on the pages afterwards."""
    obj = Scripted.objects.get_by_name("orders")
    obj.storage.set_alarm(timedelta(0))
    admin.goto(live_server.url + reverse("admin:tests_scripted_change", args=[obj.pk]))
    admin.get_by_role("button", name="Pause…").click()
    admin.get_by_label("Reason").fill("the prices are wrong")
    admin.locator("[name=lasts]").fill("90m")
    screenshot("pause-asked")
    admin.get_by_role("button", name="Yes: pause").click()
    expect(admin.locator(".messagelist")).to_contain_text("Paused: orders.")
    expect(admin.locator(".do-status")).to_contain_text("paused")
    expect(admin.locator(".do-reasons")).to_contain_text("the prices are wrong")
    screenshot("pause-object")
    admin.goto(live_server.url + reverse("admin:durable_objects_pause_add"))
    admin.get_by_label("What").select_option("tests.Scripted")
    admin.get_by_label("Reason").fill("new columns")
    screenshot("pause-add")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator(".messagelist")).to_contain_text("pause of tests.Scripted")
    expect(admin.locator("#result_list")).to_contain_text("new columns")
    screenshot("pause-list")
    admin.goto(live_server.url + reverse("admin:durable_objects_overview"))
    expect(admin.locator("#do-sentence")).to_contain_text("new columns")
    screenshot("pause-overview")
    assert run_due_alarms() == []
    assert Pause.objects.count() == 2
