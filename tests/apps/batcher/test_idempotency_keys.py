"""Items with a key of the client's own: a repetition is the same item, for a day."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import Client
from pytest_django import Settings

from batcher.models import Batcher, ItemState, KeyReused
from batcher.tables import ItemKey
from durable_objects import InvalidInput
from durable_objects.testing import FakeClock
from tests.support import http_settings
from tests.support.passing_time import pass_time
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db

WINDOW, DAY = timedelta(seconds=10), timedelta(days=1)


def test_the_same_again_is_the_same_item(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """While it waits, and once it went, a repetition adds nothing and returns what became of the first."""
    first = batcher.submit({"n": 1}, key="k")
    assert batcher.submit({"n": 1}, key="k") == first
    assert batcher.submit({"n": 1}, key="other") != first
    assert batcher.submit({"n": 1}) != first
    assert batcher.queued() == 3
    pass_time(alarm_clock, WINDOW)
    again = batcher.submit({"n": 1}, key="k")
    assert (again.item, again.state) == (first.item, ItemState.DELIVERED)
    assert (batcher.queued(), len(upstream.items)) == (0, 3)


def test_a_key_is_known_for_a_day(batcher: Batcher, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a day it is a new key; old ones are forgotten as new ones come, some at a time."""
    monkeypatch.setattr("batcher.idempotency_keys.FORGET_AT_MOST", 3)
    numbers = [batcher.submit("x", key=f"k{number}").item for number in range(6)]
    alarm_clock.advance(DAY - timedelta(seconds=1))
    assert batcher.submit("x", key="k0").item == numbers[0]
    alarm_clock.advance(timedelta(seconds=1))
    assert batcher.submit("x", key="k0").item == numbers[-1] + 1
    assert ItemKey.objects.count() == 3
    batcher.submit("x", key="new")
    assert set(ItemKey.objects.values_list("key", flat=True)) == {"k0", "new"}


def test_keys_of_one_batcher_are_its_own(alarm_clock: FakeClock) -> None:
    """The same key at another batcher is another item; with its batcher a key goes too."""
    one, other = Batcher.objects.get_by_name("one"), Batcher.objects.get_by_name("other")
    assert [each.submit("x", key="k").position for each in (one, other)] == [1, 1]
    one.delete()
    assert ItemKey.objects.count() == 1


def test_another_item_under_the_same_key(batcher: Batcher) -> None:
    """It is refused with words, and not taken for the first; the order of a dict's keys and its text make another."""
    batcher.submit({"a": 1}, key="k")
    for other in ({"a": 2}, '{"a": 1}', None):
        with pytest.raises(KeyReused, match="used with another item before"):
            batcher.submit(other, key="k")
    assert batcher.queued() == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "a\0b", 5])
def test_what_no_key_can_be(key: Any, batcher: Batcher) -> None:
    """A key is text of 1 to 255 characters."""
    with pytest.raises(InvalidInput, match="text of 1 to 255 characters"):
        batcher.submit("x", key=key)
    assert batcher.queued() == 0


def test_a_key_goes_with_what_is_rolled_back(batcher: Batcher) -> None:
    """Where the item was not added after all, its key was not used."""
    with transaction.atomic():
        batcher.submit("x", key="k")
        transaction.set_rollback(True)
    assert batcher.submit("y", key="k").position == 1


@pytest.mark.parametrize("others", [[], ["z"]], ids=["first", "second"])
def test_keys_go_with_the_storage(batcher: Batcher, alarm_clock: FakeClock, others: list[str]) -> None:
    """After ``delete_all()`` no key is known: what comes with it is added, and has a receipt of its own."""
    batcher.submit("x", key="k")
    batcher.storage.delete_all()
    batcher.cancel_alarm()
    batcher.add_items(others)
    receipt = batcher.submit("x", key="k")
    assert (receipt.position, batcher.queued()) == (len(others) + 1, len(others) + 1)
    assert batcher.submit("x", key="k") == receipt


def test_numbers_go_on_after_the_storage_was_emptied(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """A receipt of an item that went out before is not taken for a later one's."""
    before = batcher.submit_all(["a", "b", "c"])
    pass_time(alarm_clock, WINDOW)
    batcher.storage.delete_all()
    upstream.script(500)
    (after,) = batcher.submit_all(["d"])
    assert after.item == before[-1].item + 1
    pass_time(alarm_clock, WINDOW)
    assert [batcher.receipt(each.item).state.value for each in (before[0], after)] == ["delivered", "open"]


@pytest.mark.django_db(transaction=True)
def test_repetitions_at_the_same_time(batcher: Batcher) -> None:
    """Of several that come at once one is added, and all get its receipt."""
    numbers: list[int] = []
    together = threading.Barrier(6)

    def submit(number: int) -> None:
        together.wait(5)
        numbers.append(Batcher.objects.get_by_name("orders").submit("x", key=f"k{number % 2}").item)
        connections.close_all()

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (sorted(numbers), batcher.queued()) == ([1, 1, 1, 2, 2, 2], 2)


@pytest.mark.urls("project.urls")
def test_over_http(client: Client, settings: Settings) -> None:
    """`Idempotency-Key` on a POST: the same answer with the same Location; 422 with a code of its own otherwise."""
    http_settings.change(settings, TOKENS=["t"])
    headers = {"Authorization": "Bearer t", "Idempotency-Key": "8e03978e"}

    def post(text: str, **more: str) -> Any:
        return client.post("/batcher/orders", text, content_type="text/plain", headers=headers | more)

    first, again = post("x"), post("x")
    assert (first.status_code, first["Location"]) == (200, "/batcher/orders/items/1")
    assert (again.status_code, again["Location"], again.json()) == (200, first["Location"], {"queued": 1})
    refused = post("y")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "key_reused")
    assert post("x", **{"Idempotency-Key": ""}).status_code == 422
    assert post("y", **{"Idempotency-Key": "another"}).json() == {"queued": 2}
