"""Batchers and batches in admin."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from batcher.admin import batches
from batcher.models import Batch, Batcher, BatcherSettings, Upstream
from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock
from tests.support.admin_pages import choose, confirm, list_url, page_url, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

FIELDS = ["upstream_url", "window", "quiet", "max_items", "max_bytes", "max_queued", "max_retries", "give_up_after"]
SETTINGS = dict.fromkeys([*FIELDS, "headers", "secret"], "") | dict.fromkeys(["gzip", "bisect"], "unknown")
SECRET = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"


@pytest.fixture
def orders(alarm_clock: FakeClock) -> Batcher:
    """A batcher with one item waiting and a secret among its settings."""
    batcher = Batcher.objects.get_by_name("orders")
    batcher.configure(headers={"Authorization": "Bearer s3cret"}, upstream_url="http://127.0.0.1:9/in")
    batcher.add_item({"n": 1})
    return batcher


def batch_of(batcher: Object, clock: FakeClock, **fields: object) -> Batch:
    """A failed batch of two items."""
    values = {
        "items_json": '[{"n":"<b>"},2]',
        "item_count": 2,
        "status": "failed",
        "attempts": 4,
        "status_code": 503,
        "answer": "<h1>down</h1>",
    }
    moments = {"sealed_at": clock.now(), "give_up_at": clock.now(), "finished_at": clock.now()}
    return Batch.objects.create(batcher_id=batcher.pk, **values | moments | fields)


def form(pk: int, **settings: str) -> dict[str, str]:
    """The page's form, filled in so."""
    management = {"TOTAL_FORMS": "1", "INITIAL_FORMS": str(BatcherSettings.objects.filter(pk=pk).count())}
    rows = {"object": str(pk), **SETTINGS, **settings}
    return {f"settings-{n}": v for n, v in management.items()} | {f"settings-0-{n}": v for n, v in rows.items()}


def test_a_batcher_without_its_secrets(admin_client: Client, orders: Batcher) -> None:
    """The page tells how much waits and which settings are its own; what is secret in them is on no page."""
    orders.configure(secret=SECRET)
    text = text_of(admin_client, page_url(Batcher, orders.pk))
    assert "Items waiting 1 " in text
    assert "Authorization: ••••••" in text
    for url in [list_url(Batcher), page_url(Batcher, orders.pk), page_url(Object, orders.pk)]:
        page = admin_client.get(url).content.decode()
        assert [secret for secret in ("s3cret", SECRET, SECRET[6:]) if secret in page] == []


def test_what_waits_is_listed(admin_client: Client, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has the first items that wait, with their numbers, ages and keys, and says how many more there are; what
    somebody has written among them by hand is left out. Hidden keys stay hidden, and it takes who may see storage.
    """
    orders = Batcher.objects.get_by_name("orders")
    orders.add_items([{"n": f"<{at}>"} for at in range(23)])
    orders.storage.put("item:00000000000000000002a", "no item")
    alarm_clock.advance(timedelta(seconds=4))
    page = text_of(admin_client, page_url(Batcher, orders.pk))
    assert "Waiting items Item Came Value Key 1 4s ago" in page
    assert '{"n": "<18>"} item:00000000000000000019' in page
    assert '{"n": "<20>"} item:' not in page.partition("Storage")[0]
    assert "The oldest first; 4 more wait." in page
    vic = staff(["batcher.view_batcher"])
    assert "Waiting items" not in text_of(vic, page_url(Batcher, orders.pk))
    monkeypatch.setattr(Batcher, "masked_keys", ("item:*",))
    hidden = text_of(admin_client, page_url(Batcher, orders.pk))
    assert "<18>" not in hidden
    assert "hidden by masked_keys item:00000000000000000019" in hidden


def test_large_items_are_read_in_part(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Of large items the page reads about a megabyte, and shows the beginning of each."""
    orders = Batcher.objects.get_by_name("orders")
    orders.add_items(["x" * 400_000] * 4)
    page = text_of(admin_client, page_url(Batcher, orders.pk)).partition("Storage")[0]
    assert "The oldest first; 2 more wait." in page
    assert "x" * 300 not in page


def test_what_the_batcher_keeps_for_itself_is_folded(admin_client: Client, orders: Batcher) -> None:
    """Its items stand open in the storage, its own book behind a word."""
    page = admin_client.get(page_url(Batcher, orders.pk)).content.decode()
    _, _, storage = page.partition("item:0000")
    item, _, book = storage.partition(">line</a>")
    assert ("the app's own" in item, "the app's own" in book) == (False, True)


def test_secrets_are_typed_and_kept(admin_client: Client, orders: Batcher) -> None:
    """Empty fields for secrets change nothing; what is typed takes the place of what was set."""
    url, address = page_url(Batcher, orders.pk), "http://127.0.0.1:9/in"
    assert admin_client.post(url, form(orders.pk, upstream_url=address, secret=SECRET)).status_code == 302
    assert admin_client.post(url, form(orders.pk, upstream_url=address, max_items="7")).status_code == 302
    row = BatcherSettings.objects.get()
    assert (row.secret, row.headers, row.max_items) == (SECRET, {"Authorization": "Bearer s3cret"}, 7)
    assert admin_client.post(url, form(orders.pk, upstream_url=address, headers='{"X-Key": "k"}')).status_code == 302
    row = BatcherSettings.objects.get()
    assert (row.secret, row.headers) == (SECRET, {"X-Key": "k"})
    response = admin_client.post(url, form(orders.pk, upstream_url=address, secret="plain"))
    assert "Allowed: " in response.content.decode()
    assert BatcherSettings.objects.get().secret == SECRET


def test_settings_are_edited_by_configure(admin_client: Client, orders: Batcher) -> None:
    """Saving changes what was changed, keeps the secret, and empty puts a setting back to the project's."""
    url = page_url(Batcher, orders.pk)
    response = admin_client.post(url, form(orders.pk, upstream_url="http://127.0.0.1:9/in", max_items="7"))
    assert response.status_code == 302
    row = BatcherSettings.objects.get()
    assert (row.max_items, row.upstream_url, row.headers) == (
        7,
        "http://127.0.0.1:9/in",
        {"Authorization": "Bearer s3cret"},
    )
    assert admin_client.post(url, form(orders.pk, window="00:00:03")).status_code == 302
    row = BatcherSettings.objects.get()
    assert (row.max_items, row.upstream_url, row.window) == (None, None, timedelta(seconds=3))


def test_bad_settings_are_refused(admin_client: Client, orders: Batcher) -> None:
    """What ``configure()`` refuses the form refuses, in its words, and nothing is changed."""
    before = BatcherSettings.objects.values().get()
    for settings in [{"upstream_url": "ftp://x"}, {"max_items": "0"}, {"window": "-1 00:00:00"}]:
        response = admin_client.post(page_url(Batcher, orders.pk), form(orders.pk, **settings))
        assert response.status_code == 200
        assert "Allowed: " in response.content.decode()
    assert BatcherSettings.objects.values().get() == before


def test_a_batch(admin_client: Client, orders: Batcher, alarm_clock: FakeClock) -> None:
    """List and page tell status, items, tries, answer and key; nothing of it becomes markup, nothing can be edited."""
    batch = batch_of(orders, alarm_clock)
    listed = text_of(admin_client, list_url(Batch))
    assert f"{str(batch.pk)[:8]} failed orders 2 0 4 503" in listed
    page = text_of(admin_client, page_url(Batch, batch.pk))
    for text in ["<h1>down</h1>", '0 {"n": "<b>"}', "Tries: 4", "Replay", f"Idempotency-Key: {batch.pk}"]:
        assert text in page
    assert admin_client.post(page_url(Batch, batch.pk), {"status": "delivered"}).status_code == 403
    assert admin_client.post(page_url(Batch, batch.pk, "delete")).status_code == 403


@pytest.mark.parametrize("most", [0, batches.MOST_NAMED])
def test_batches_are_found(
    admin_client: Client, orders: Batcher, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """By key, by the beginning of the batcher's name, however many have it, by status."""
    monkeypatch.setattr(batches, "MOST_NAMED", most)
    batch = batch_of(orders, alarm_clock)
    other = Batcher.objects.get_by_name("other")
    other.save()
    batch_of(other, alarm_clock, status="delivered")
    for query in [f"q={batch.pk}", "q=ord", "status=failed"]:
        rows = admin_client.get(f"{list_url(Batch)}?{query}").context["cl"].result_list
        assert [row.pk for row in rows] == [batch.pk], query


def test_batches_of_a_name_are_those_of_its_batchers(
    admin_client: Client, orders: Batcher, alarm_clock: FakeClock
) -> None:
    """The batchers of a name are found first, so that PostgreSQL knows how many there are, and goes by age."""
    batch_of(orders, alarm_clock)
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get(f"{list_url(Batch)}?q=ord").context["cl"].result_count == 1
    of_batches = [each["sql"] for each in captured if '"batcher_batch"' in each["sql"]]
    assert of_batches
    for sql in of_batches:
        assert f'"batcher_id" IN ({orders.pk})' in sql
        assert '"name" LIKE' not in sql
        assert '"name"::text LIKE' not in sql


def test_replay(admin_client: Client, orders: Batcher, alarm_clock: FakeClock) -> None:
    """After a yes the batch is to be tried now, under the same key, and the batcher's history has it."""
    batch = batch_of(orders, alarm_clock)
    assert str(batch.pk) in choose(admin_client, Batch, "replay", [batch.pk]).content.decode()
    assert Batch.objects.get().status == "failed"
    assert confirm(admin_client, Batch, "replay", [batch.pk]) == ["Replay requested: orders."]
    again = Batch.objects.get()
    assert (again.pk, again.next_try_at, again.items_json) == (batch.pk, alarm_clock.now(), batch.items_json)
    assert orders.storage.get_alarm() == alarm_clock.now()
    assert f"Replay requested (batch {batch.pk})." in text_of(admin_client, page_url(Batcher, orders.pk, "history"))


def test_who_may_replay(orders: Batcher, alarm_clock: FakeClock) -> None:
    """Replaying takes the change permission of batchers; with view permissions all is seen and nothing done."""
    batch = batch_of(orders, alarm_clock)
    viewer = staff(["batcher.view_batch", "batcher.view_batcher", "batcher.change_batch"])
    assert "Replay" not in text_of(viewer, page_url(Batch, batch.pk))
    assert "s3cret" not in viewer.get(page_url(Batcher, orders.pk)).content.decode()
    choose(viewer, Batch, "replay", [batch.pk], confirmed="yes")
    assert Batch.objects.get().status == "failed"
    assert not LogEntry.objects.exists()
    operator = staff(["batcher.view_batch", "batcher.change_batcher"], "olga")
    assert confirm(operator, Batch, "replay", [batch.pk]) == ["Replay requested: orders."]


def test_a_list_of_batches_asks_little(
    admin_client: Client,
    orders: Batcher,
    alarm_clock: FakeClock,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """A list of 50 batches takes a fixed, small number of queries, and reads no items."""
    for _ in range(50):
        batch_of(orders, alarm_clock, items_json='["unread"]')
    with django_assert_max_num_queries(14) as queries:
        admin_client.get(list_url(Batch))
    assert not [query for query in queries.captured_queries if "items_json" in query["sql"]]


def test_fail_now(admin_client: Client, orders: Batcher, alarm_clock: FakeClock) -> None:
    """After a yes a batch that is set aside is kept as failed, and the page offers that no more."""
    batch = batch_of(orders, alarm_clock, status="set_aside", finished_at=None, next_try_at=alarm_clock.now())
    assert "Fail now…" in text_of(admin_client, page_url(Batch, batch.pk))
    assert confirm(admin_client, Batch, "fail", [batch.pk]) == ["Given up: orders."]
    assert Batch.objects.get().status == "failed"
    assert "Fail now…" not in text_of(admin_client, page_url(Batch, batch.pk))
    refused = confirm(admin_client, Batch, "fail", [batch.pk])
    assert refused[0].startswith("Not done for orders: ")


def test_download(orders: Batcher, alarm_clock: FakeClock) -> None:
    """Who may view batches gets the items as a file, byte for byte; nobody else does."""
    batch = batch_of(orders, alarm_clock)
    url = reverse("admin:batcher_batch_items", args=[batch.pk])
    response = staff(["batcher.view_batch"]).get(url)
    assert response.content.decode() == batch.items_json
    assert response["Content-Disposition"] == f'attachment; filename="batch-{batch.pk}.json"'
    assert staff(["batcher.view_batcher"], "eve").get(url).status_code == 403


def test_what_became_of_the_items(admin_client: Client, orders: Batcher, alarm_clock: FakeClock) -> None:
    """The page of a batch tells which items were not accepted and why, and which batches it was split into."""
    whole = batch_of(orders, alarm_clock, was_split=True)
    part = batch_of(orders, alarm_clock, parent=whole, outcomes={"1": {"status": 422, "error": "no <sku>"}})
    page = text_of(admin_client, page_url(Batch, part.pk))
    assert "1 2 422 no <sku>" in page
    assert f"a part of {whole.pk}" in page
    page = text_of(admin_client, page_url(Batch, whole.pk))
    assert f"into {part.pk}" in page
    assert "Replay…" not in page


def test_an_item_is_added(admin_client: Client, orders: Batcher) -> None:
    """JSON is added as its value and anything else as text; it is on record, and takes the permission to change."""
    url = reverse("admin:batcher_batcher_add_item", args=[orders.pk])
    for typed in ['{"n": 2}', "plain text"]:
        assert admin_client.post(url, {"item": typed}).status_code == 302
    items = [entry["item"] for entry in orders.storage.list(prefix="item:").values()]
    assert items == [{"n": 1}, {"n": 2}, "plain text"]
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Added an item."] * 2
    assert staff(["batcher.view_batcher"]).post(url, {"item": "3"}).status_code == 403
    assert admin_client.get(url).status_code == 405
    orders.configure(max_queued=1)
    admin_client.post(url, {"item": "4"})
    assert orders.queued() == 3


def test_flush(admin_client: Client, orders: Batcher, alarm_clock: FakeClock) -> None:
    """After a yes what waits goes now; a batcher with nothing to send says so."""
    assert confirm(admin_client, Batcher, "flush", [orders.pk]) == ["Flush requested: orders."]
    assert orders.storage.get_alarm() == alarm_clock.now()
    idle = Batcher.objects.get_by_name("idle")
    idle.save()
    assert confirm(admin_client, Batcher, "flush", [idle.pk]) == ["Not done for idle: there was nothing to do"]


#: By the breaker's state, the end of its pause, and the batcher's next try, in seconds from now: when the probe goes.
PROBES = {
    ("open", 60, 10): "in 1m, with this batcher's next try (2",
    ("open", 60, 600): "in 10m, with this batcher's next try (2",
    ("open", -54, 120): "in 2m, with this batcher's next try (2",
    ("open", -54, -5): "now, with this batcher's next try (2",
    ("open", None, 120): "in 2m, with this batcher's next try (2",
    ("open", -54, None): "with the next batch that is tried.",
    ("open", 60, None): "in 1m at the earliest (2",
    ("half_open", 20, 120): "under way; it counts as lost in 20s.",
    ("half_open", -20, 120): "in 2m, with this batcher's next try (2",
}


@pytest.mark.parametrize("case", PROBES, ids=str)
def test_an_open_breaker_is_told(
    case: tuple[str, int | None, int | None], admin_client: Client, orders: Batcher, alarm_clock: FakeClock
) -> None:
    """Of an upstream that is left alone batcher and list say so, and when a probe goes: at no time that is over."""
    state, pause, acts = case
    at = {
        seconds: alarm_clock.now() + timedelta(seconds=seconds) for seconds in (pause, acts) if seconds is not None
    } | {None: None}
    Upstream.objects.create(origin="http://127.0.0.1:9", state=state, failures=7, last_error="503", retry_at=at[pause])
    Alarm.objects.filter(pk=orders.pk).update(due_at=at[acts], state="idle" if acts is None else "armed")
    page = text_of(admin_client, page_url(Batcher, orders.pk))
    shown = f"is {state.replace('_', ' ')}: 7 failures in a row, the last: 503. Batches wait, no try is counted."
    assert f"{shown} The next probe: {PROBES[case]}" in page
    listed = text_of(admin_client, list_url(Upstream))
    assert f"http://127.0.0.1:9 {state.replace('_', ' ')} 7 503" in listed
    assert ("ago" in listed, "in 1m at the earliest" in listed) == (False, (state, pause) == ("open", 60))


def test_what_is_to_come_is_never_told_as_past(admin_client: Client, orders: Batcher, alarm_clock: FakeClock) -> None:
    """A try or a window whose time is over is due since then, on the batcher's page and in the list of batches."""
    batch_of(orders, alarm_clock, status="set_aside", finished_at=None, next_try_at=alarm_clock.now())
    alarm_clock.advance(timedelta(seconds=70))
    page = text_of(admin_client, page_url(Batcher, orders.pk))
    assert "Next batch due since 1m" in page
    assert "due since 1m 10s" in page
    assert "due since 1m 10s" in text_of(admin_client, list_url(Batch))


def test_a_breaker_that_closed_awaits_no_probe(admin_client: Client, orders: Batcher) -> None:
    """An upstream that answers again has no next probe."""
    Upstream.objects.create(origin="http://127.0.0.1:9", failures=1, last_error="503")
    assert "http://127.0.0.1:9 closed 1 503 - " in text_of(admin_client, list_url(Upstream))


def test_after_replay_the_last_answer_is_of_before(
    admin_client: Client, orders: Batcher, alarm_clock: FakeClock
) -> None:
    """A failed batch that is to be sent again shows that in lists, until it is tried; its page has both."""
    batch = batch_of(orders, alarm_clock, status_code=422, answer="no such sku", first_item=1)
    for _ in range(2):
        confirm(admin_client, Batch, "replay", [batch.pk])
        for url in [list_url(Batch), list_url(Batcher), page_url(Batcher, orders.pk)]:
            text = text_of(admin_client, url)
            answered = re.search(r"(?<![\w.-])422(?![\w-])", text)  # not a part of a batch's UUID
            assert (answered, "set aside" in text) == (None, True), url
        assert "set aside to be sent again" in text_of(admin_client, list_url(Batcher))
        page = text_of(admin_client, page_url(Batch, batch.pk))
        assert page.count("to be sent again before that: 422 no such sku") == 1


def test_a_list_of_batchers_asks_little(
    admin_client: Client, alarm_clock: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """A list of 20 batchers tells what waits and what went last in a fixed, small number of queries."""
    for number in range(20):
        batcher = Batcher.objects.get_by_name(f"b{number:02d}")
        batcher.add_items(list(range(number + 1)))
        batch_of(batcher, alarm_clock, status_code=400 + number)
    with django_assert_max_num_queries(16):
        text = text_of(admin_client, list_url(Batcher))
    assert "b07 armed 8 in" in text
    assert "failed 407" in text
