"""Batcher: receipts, and how long batches are kept to give them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from ninja.testing import TestClient

from batcher.api import router
from batcher.models import Batch, Batcher, ItemState, Receipt
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from tests.support import http_settings
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)
DAY = timedelta(days=1)


def test_a_receipt_from_beginning_to_end(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """submit() gives a number, and receipt() says of it at any time where the item is."""
    upstream.script(500, 500)
    batcher.configure(max_retries=1)
    first, second = batcher.submit("a"), batcher.submit("b")
    assert (first.state, second.position, second.item) == (ItemState.WAITING, 2, first.item + 1)
    assert batcher.receipt(second.item) == second
    pass_time(alarm_clock, WINDOW)
    key = Batch.objects.get().pk
    assert batcher.receipt(second.item) == Receipt(second.item, ItemState.OPEN, batch=key, attempt=1, why="ok")
    pass_time(alarm_clock, SECOND * 2)
    assert batcher.receipt(second.item).state is ItemState.SET_ASIDE
    pass_time(alarm_clock, SECOND * 60)
    assert batcher.receipt(first.item) == Receipt(first.item, ItemState.DELIVERED, batch=key, attempt=3)
    (third,) = batcher.submit_all(["c"])
    upstream.script(Answer(422, body=b"no such sku"))
    pass_time(alarm_clock, WINDOW)
    failed = batcher.receipt(third.item)
    assert (failed.state, failed.why, failed.outcome_unknown) == (ItemState.FAILED, "no such sku", False)


@pytest.mark.parametrize("item", [0, -1, 3, 2**63, 2**70, True, "1", None], ids=repr)
def test_what_was_never_accepted_is_unknown(batcher: Batcher, item: Any) -> None:
    """A number that was never given, or no number at all, is unknown; asking makes no row."""
    batcher.add_items(["a", "b"])
    assert batcher.receipt(item).state is ItemState.UNKNOWN
    assert Batcher.objects.get_by_name("never used").receipt(item).state is ItemState.UNKNOWN
    assert not Object.objects.filter(name="never used").exists()


def test_an_entry_deleted_by_hand_does_not_shift_the_others(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Numbers stay with their items: a gap in the line ends a batch, and all that is left still goes."""
    numbers = [receipt.item for receipt in batcher.submit_all(list("abcde"))]
    batcher.storage.delete_many([f"item:{numbers[0]:020d}", f"item:{numbers[2]:020d}"])
    pass_time(alarm_clock, WINDOW)
    pass_time(alarm_clock)
    assert [request.items for request in upstream.received] == [["b"], ["d", "e"]]
    found = {item: batcher.receipt(number) for item, number in zip("abcde", numbers, strict=True)}
    assert [item for item, receipt in found.items() if receipt.state is ItemState.UNKNOWN] == ["a", "c"]
    assert found["d"].batch == found["e"].batch != found["b"].batch
    assert (batcher.queued(), batcher.get_alarm_time()) == (0, None)


def test_a_receipt_is_looked_up(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """The same few statements for the first, a middle and the last of many, none of which counts, skips or sorts."""
    with CaptureQueriesContext(connection) as few:
        batcher.receipt(1)
    batcher.configure(max_items=7)
    batcher.add_items(range(100))
    pass_time(alarm_clock)
    for number in [1, 50, 100]:
        with CaptureQueriesContext(connection) as asked:
            batcher.receipt(number)
        assert len(asked) <= len(few) + 1
        assert not [query for query in asked.captured_queries if "COUNT" in query["sql"] or "OFFSET" in query["sql"]]


def test_receipts_over_http(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """POST answers as ever and says by Location where the receipt is; GET gives it, 404 for what is not known."""
    client: Any = TestClient(router)
    posted = client.post("/orders", data=b"a", content_type="text/plain")
    assert posted.json() == {"queued": 1}
    assert posted["Location"].endswith("/orders/items/1")
    assert client.get("/orders/items/1").json() == {
        "item": 1, "state": "waiting", "position": 1, "batch": None, "attempt": None, "why": "",
        "outcome_unknown": False,
    }  # fmt: skip
    pass_time(alarm_clock, WINDOW)
    assert client.get("/orders/items/1").json()["batch"] == str(Batch.objects.get().pk)


@pytest.mark.urls("project.urls")
def test_unknown_receipts_over_http(client: Client, settings: Any, alarm_clock: FakeClock) -> None:
    """The Location can be followed as it is, whatever the name; unknown is 404 and no number 422, in our form."""
    http_settings.change(settings, TOKENS=["t"])
    headers = {"Authorization": "Bearer t"}
    posted = client.post("/batcher/a%20%C3%BC%3F", "x", content_type="text/plain", headers=headers)
    assert client.get(posted["Location"], headers=headers).json()["state"] == "waiting"
    for path, status, code in [("2", 404, "not_found"), ("0", 422, "refused"), ("x", 422, "refused")]:
        answer = client.get(f"/batcher/orders/items/{path}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_delivered_batches_go_in_time(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, settings: Any
) -> None:
    """Delivered batches over their age are deleted as others are delivered, failed ones never; their items' receipts
    are then unknown.
    """
    settings.BATCHER = {"KEEP_DELIVERED": DAY * 30}
    upstream.script(400)
    for day in range(3):
        batcher.add_item(day)
        pass_time(alarm_clock, DAY)
    assert Batch.objects.count() == 3
    alarm_clock.advance(DAY * 30)
    batcher.add_item("last")
    pass_time(alarm_clock, WINDOW)
    assert [batch.items for batch in Batch.objects.order_by("first_item")] == [[0], ["last"]]
    assert batcher.receipt(2).why == "no longer on record"


def test_delivered_batches_go_by_number(batcher: Batcher, alarm_clock: FakeClock, settings: Any) -> None:
    """However quickly they come, only the batches of the last n items are kept, and few are deleted at once."""
    settings.BATCHER = {"KEEP_DELIVERED_ITEMS": 3, "MAX_ITEMS": 1}
    for number in range(8):
        batcher.add_item(number)
        pass_time(alarm_clock)
    assert [batch.items for batch in Batch.objects.order_by("first_item")] == [[5], [6], [7]]


def test_pruning_is_bounded(
    batcher: Batcher, alarm_clock: FakeClock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One delivery deletes no more than PRUNED_AT_ONCE: a long backlog never makes one turn long."""
    settings.BATCHER = {"MAX_ITEMS": 1}
    batcher.add_items(range(6))
    pass_time(alarm_clock)
    settings.BATCHER = {"KEEP_DELIVERED_ITEMS": 1}
    monkeypatch.setattr("batcher.batch_lifecycle.PRUNED_AT_ONCE", 2)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert Batch.objects.count() == 5
