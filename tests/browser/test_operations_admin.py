"""A person revives all of a group of errors in a browser: question, progress, stop, go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Alarm, Operation
from tests.models import Counter, Script, Scripted
from tests.support.many_alarms import dead_alarms

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser, pytest.mark.urls("tests.admin_urls")]

Screenshot = Callable[[str], None]


@pytest.fixture(autouse=True)
def _script() -> None:
    """Every test has a script of its own."""
    Scripted.script = Script()


def test_all_of_a_group_of_errors_is_revived(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """From a list over the question to the page that follows it, which can stop it and go on with it."""
    dead_alarms(Scripted, 700)
    admin.goto(live_server.url + reverse("admin:durable_objects_alarm_changelist") + "?state=dead")
    admin.locator("#action-toggle").check()
    admin.get_by_text("Select all 700 alarms").click()
    admin.get_by_label("Action:").select_option("revive")
    admin.get_by_role("button", name="Run", exact=True).or_(admin.get_by_role("button", name="Go", exact=True)).click()
    expect(admin.locator("#content")).to_contain_text("Revive 700 alarms (dead)?")
    screenshot("operation-question")
    admin.get_by_label("Reason").fill("the stock is back")
    admin.get_by_role("button", name="Yes: revive 700").click()
    expect(admin.locator(".do-operation")).to_contain_text("0 of 700")
    bulk_chunks.drive(Operation.objects.get().pk, 0, seconds=0)
    expect(admin.locator(".do-operation")).to_contain_text("200 of 700")
    screenshot("operation-running")
    admin.get_by_role("button", name="Stop").click()
    expect(admin.locator(".messagelist")).to_contain_text("It stops after the chunk that is under way.")
    screenshot("operation-stopped")
    admin.get_by_role("button", name="Go on").click()
    expect(admin.locator(".messagelist")).to_contain_text("It goes on")
    operation = Operation.objects.get()
    failure = {"object": 1, "class": "tests.Scripted", "name": "n000203", "error": "ValueError: the stock is empty"}
    Operation.objects.update(failures=[failure], failed=1)
    bulk_chunks.drive(operation.pk, operation.fence, seconds=600)  # to its end
    expect(admin.locator(".do-operation")).to_contain_text("701 of 700")
    expect(admin.locator(".do-badge").first).to_have_text("done")
    screenshot("operation-done")
    assert Alarm.objects.filter(state="armed").count() == 700
    admin.goto(live_server.url + reverse("admin:durable_objects_operation_changelist"))
    expect(admin.locator("#result_list")).to_contain_text("the stock is back")
    screenshot("operation-list")


def test_a_verb_that_takes_more(admin: Page, live_server: LiveServer, screenshot: Screenshot) -> None:
    """What is to be done to what can be typed too; a mistake is explained at its field."""
    Counter.objects.get_by_name("a").add()
    admin.goto(live_server.url + reverse("admin:durable_objects_operation_start"))
    admin.get_by_label("Verb").select_option("pause")
    admin.get_by_label("Selection").fill("class:tests.Counter colour:red")
    admin.get_by_role("button", name="Show what matches").click()
    expect(admin.locator(".errorlist")).to_contain_text("Allowed")
    screenshot("operation-choose")
    admin.get_by_label("Selection").fill("class:tests.Counter")
    admin.get_by_role("button", name="Show what matches").click()
    admin.get_by_label("For:", exact=True).fill("15m")
    screenshot("operation-pause")
    admin.get_by_role("button", name="Yes: pause 1").click()
    expect(admin.locator(".do-operation")).to_contain_text("Pause for 15m 1 object ")
    assert bulk.latest()[0].arguments == {"lasts": 900.0}
