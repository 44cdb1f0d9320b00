"""Batchers and batches in a real browser, as an operator uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from batcher.models import Batch, Batcher
from durable_objects import now
from durable_objects.testing import FakeClock, run_due_alarms
from tests.browser.conftest import PASSWORD, log_in
from tests.support.upstream import Answer, Upstream

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Screenshot = Callable[[str], None]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream of the test's own."""
    with Upstream() as server:
        yield server


def test_an_item_goes_from_the_form_to_the_upstream(
    admin: Page, live_server: LiveServer, screenshot: Screenshot, upstream: Upstream
) -> None:
    """An operator sets the upstream, adds an item, flushes after a question, and sees the batch delivered."""
    Batcher.objects.get_by_name("orders").save()
    admin.goto(f"{live_server.url}/admin/batcher/batcher/")
    admin.get_by_role("link", name="orders").click()
    admin.fill("#id_settings-0-upstream_url", upstream.url)
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.locator(".messagelist")).to_contain_text("was changed successfully")
    admin.get_by_label("Add an item").fill('{"id": 7}')
    admin.get_by_role("button", name="Add item").click()
    expect(admin.locator(".messagelist")).to_contain_text("Added. Items waiting: 1.")
    screenshot("batcher-waiting")
    admin.get_by_role("button", name="Flush").click()
    expect(admin.locator("#content")).to_contain_text("Send the waiting items of these batchers now")
    admin.get_by_role("button", name="Yes: flush").click()
    expect(admin.locator(".messagelist")).to_contain_text("Flush requested: orders.")
    run_due_alarms()
    admin.reload()
    expect(admin.locator(".do-batching")).to_contain_text("delivered")
    screenshot("batcher-delivered")
    assert upstream.items == [{"id": 7}]
    assert {entry.get_change_message() for entry in LogEntry.objects.all()} >= {"Added an item.", "Flush requested."}


def test_a_refused_batch_is_read_downloaded_and_replayed(
    admin: Page, live_server: LiveServer, screenshot: Screenshot, upstream: Upstream, tmp_path: Path
) -> None:
    """An operator reads why a batch failed, keeps the items as a file, and replays the batch."""
    orders = Batcher.objects.get_by_name("orders")
    orders.configure(upstream_url=upstream.url, window=timedelta(0))
    upstream.script(Answer(400, body=b"<b>bad</b> batch"))
    orders.add_items([{"id": 1}, "two"])
    run_due_alarms()
    admin.goto(f"{live_server.url}/admin/batcher/batch/?status=failed")
    screenshot("batches-failed")
    admin.locator("#result_list a").first.click()
    expect(admin.locator("#content")).to_contain_text("<b>bad</b> batch")
    screenshot("batch-failed")
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download the items").click()
    download.value.save_as(tmp_path / "items.json")
    assert (tmp_path / "items.json").read_text() == '[{"id":1},"two"]'
    admin.get_by_role("button", name="Replay").click()
    question = admin.locator(".do-preview")
    expect(question).to_contain_text(f"POST {upstream.url}")
    expect(question).to_contain_text('"items":[{"id":1},"two"]')
    screenshot("batch-replay-question")
    assert len(upstream.keys) == 1
    admin.get_by_role("button", name="Yes: replay").click()
    expect(admin.locator(".messagelist")).to_contain_text("Replay requested: orders.")
    run_due_alarms()
    admin.reload()
    expect(admin.locator("#content")).to_contain_text("The upstream has all 2 items, by try 2.")
    expect(admin.locator(".do-line")).to_contain_text("Try 1: 400")
    screenshot("batch-replayed")
    assert len(upstream.keys) == 2
    assert len(set(upstream.keys)) == 1


def test_without_javascript_a_batch_is_given_up(
    browser: Browser, live_server: LiveServer, alarm_clock: FakeClock
) -> None:
    """With scripts off a batch that is set aside is failed by the same clicks."""
    User.objects.create_superuser("ada", password=PASSWORD)
    orders = Batcher.objects.get_by_name("orders")
    orders.save()
    batch = Batch.objects.create(
        batcher_id=orders.pk, items_json="[1]", item_count=1, status="set_aside", sealed_at=now(), next_try_at=now(),
        give_up_at=now() + timedelta(days=1),
    )  # fmt: skip
    with browser.new_context(java_script_enabled=False) as context:
        page = log_in(context.new_page(), f"{live_server.url}/admin/batcher/batch/{batch.pk}/change/")
        page.get_by_role("button", name="Fail now").click()
        page.get_by_role("button", name="Yes: fail now").click()
        expect(page.locator(".messagelist")).to_contain_text("Given up: orders.")
    assert Batch.objects.get().status == "failed"


def test_an_item_that_spoils_its_batch_is_dropped(
    admin: Page, live_server: LiveServer, screenshot: Screenshot, upstream: Upstream
) -> None:
    """From the failed batch: the item is dropped with a reason, the others are delivered, and it is kept with why."""
    orders = Batcher.objects.get_by_name("orders")
    orders.configure(upstream_url=upstream.url, window=timedelta(0))
    upstream.script(Answer(422, body=b"no such sku"))
    orders.add_items(["tea", "poison", "milk"])
    run_due_alarms()
    admin.goto(f"{live_server.url}/admin/batcher/batch/{Batch.objects.get().pk}/change/")
    expect(admin.locator("#content")).to_contain_text("Known: the upstream has none of the items.")
    admin.get_by_role("row", name="poison").get_by_role("link", name="Drop…").click()
    expect(admin.locator(".do-preview")).to_have_text('"poison"')
    screenshot("batch-drop-question")
    admin.get_by_role("button", name="Yes: drop the item").click()
    expect(admin.locator(".messagelist")).to_have_count(0)
    admin.get_by_label("Reason").fill("discontinued")
    admin.get_by_role("button", name="Yes: drop the item").click()
    expect(admin.locator(".messagelist")).to_contain_text("Item dropped: orders (item 1, 'discontinued', kept as batch")
    run_due_alarms()
    admin.reload()
    screenshot("batch-was-split")
    assert upstream.items[3:] == ["tea", "milk"]
    assert [row.answer for row in Batch.objects.filter(status="failed", was_split=False)] == ["dropped: discontinued"]
    assert "discontinued" in LogEntry.objects.get().get_change_message()


def test_what_waits_for_an_upstream_is_tried_now(
    admin: Page, live_server: LiveServer, screenshot: Screenshot, upstream: Upstream
) -> None:
    """From the list of upstreams to the one that is left alone, and with one button and a yes the probe goes."""
    orders = Batcher.objects.get_by_name("orders")
    orders.configure(upstream_url=upstream.url, window=timedelta(0), max_retries=0)
    upstream.default = Answer(503, body=b"down")
    orders.add_items(["tea"])
    run_due_alarms()
    for _ in range(5):
        orders.flush()
        run_due_alarms()
    upstream.default = Answer(200)
    admin.goto(f"{live_server.url}/admin/batcher/upstream/")
    expect(admin.locator("#result_list")).to_contain_text("open")
    screenshot("upstreams")
    admin.locator("#result_list a").first.click()
    expect(admin.locator("#content")).to_contain_text("A batch waits for it, of orders.")
    screenshot("upstream-open")
    admin.get_by_role("button", name="Try now…").click()
    admin.get_by_role("button", name="Yes: flush").click()
    expect(admin.locator(".messagelist")).to_contain_text("Flush requested: orders.")
    run_due_alarms()
    admin.goto(f"{live_server.url}/admin/batcher/upstream/")
    expect(admin.locator("#result_list")).to_contain_text("closed")
    assert upstream.items[-1] == "tea"
