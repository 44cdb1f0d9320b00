"""Batcher: windows, order, what waits and what goes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batcher.models import Batch, Batcher
from durable_objects import InvalidValue
from durable_objects.operations import actions
from durable_objects.tables import Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.support.passing_time import pass_time
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)


def test_one_window_is_one_batch(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """What comes within 10 s of the first item goes as one batch, in order, under a key; then nothing is set."""
    first = alarm_clock.now()
    assert batcher.add_item("a") == 1
    alarm_clock.advance(SECOND * 9)
    assert batcher.add_items([{"b": 1}, None]) == 3
    assert batcher.get_alarm_time() == first + WINDOW
    assert run_due_alarms() == []
    pass_time(alarm_clock, SECOND)
    (request,) = upstream.received
    batch = Batch.objects.get()
    assert request.json == {"batcher": "orders", "batch": str(batch.id), "items": ["a", {"b": 1}, None]}
    assert request.key == str(batch.id)
    assert (batch.status, batch.attempts, batch.item_count, batch.status_code) == ("delivered", 1, 3, 200)
    assert batcher.queued() == 0
    assert batcher.get_alarm_time() is None


def test_items_keep_their_order_over_ten_and_over_batches(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Number keys sort as text in the seed, so item 10 was overwritten after a restart: 25 items all come, in order."""
    for number in range(12):
        # A fresh handle each time: nothing may hang on what an instance remembers.
        Batcher.objects.get_by_name("orders").add_item(number)
    pass_time(alarm_clock, WINDOW)
    for number in range(12, 25):
        Batcher.objects.get_by_name("orders").add_item(number)
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == list(range(25))
    assert len(set(upstream.keys)) == 2


def test_a_full_batch_goes_at_once(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """At max_items a batch does not wait for its window; what is beyond it has a window of its own."""
    batcher.configure(max_items=3)
    batcher.add_items(["a", "b"])
    pass_time(alarm_clock, SECOND * 4)
    assert upstream.received == []
    batcher.add_items(["c", "d"])
    pass_time(alarm_clock, timedelta(0))
    assert upstream.items == ["a", "b", "c"]
    assert batcher.queued() == 1
    assert batcher.get_alarm_time() == alarm_clock.now() + WINDOW
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["a", "b", "c", "d"]


def test_a_batch_holds_at_most_max_bytes(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Batches are cut by bytes too, each item goes once, and one that no batch could hold is refused."""
    batcher.configure(max_bytes=100)
    items = [letter * 30 for letter in "abcdefg"]
    batcher.add_items(items)
    pass_time(alarm_clock, timedelta(0))
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == items
    assert [len(request.items) for request in upstream.received] == [3, 3, 1]
    with pytest.raises(InvalidValue, match="at most max_bytes, 100"):
        batcher.add_items(["fits", "x" * 200])
    assert batcher.queued() == 0


def test_many_items_are_cut_into_full_batches(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """However many wait, each batch is full but the last, and none is lost or doubled at the edges."""
    batcher.configure(max_items=7)
    batcher.add_items(range(50))
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == list(range(50))
    assert [len(request.items) for request in upstream.received] == [7] * 7 + [1]


def test_cancelled_items_wait_for_the_next_one(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """After cancel_alarm() nothing goes until an item or a flush; then all that waits goes together."""
    batcher.add_item("a")
    assert batcher.cancel_alarm() is True
    assert batcher.cancel_alarm() is False
    pass_time(alarm_clock, WINDOW * 2)
    assert (upstream.received, batcher.queued()) == ([], 1)
    batcher.add_item("b")
    assert batcher.get_alarm_time() == alarm_clock.now() + WINDOW
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["a", "b"]


def test_flush_sends_at_once_also_what_was_cancelled(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """flush() is the alarm now; with nothing to send it sets none."""
    batcher.add_item("a")
    batcher.cancel_alarm()
    batcher.flush()
    pass_time(alarm_clock, timedelta(0))
    assert upstream.items == ["a"]
    batcher.flush()
    assert batcher.get_alarm_time() is None


def test_flush_sends_all_that_waits(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Also the last batch, which is not full, goes at once; what comes after the flush has its own window."""
    batcher.configure(max_items=4)
    batcher.add_items(range(10))
    batcher.flush()
    pass_time(alarm_clock)
    assert [len(request.items) for request in upstream.received] == [4, 4, 2]
    batcher.add_item("later")
    assert batcher.get_alarm_time() == alarm_clock.now() + WINDOW


def test_an_alarm_run_or_taken_away_by_hand(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """An operator's "fire now" sends before the window is over; after an operator's cancel the next item opens one."""
    batcher.add_item("a")
    actions.fire_now(batcher)
    pass_time(alarm_clock, timedelta(0))
    assert upstream.items == ["a"]
    batcher.add_item("b")
    actions.cancel(batcher)
    pass_time(alarm_clock, WINDOW * 2)
    batcher.add_item("c")
    assert batcher.get_alarm_time() == alarm_clock.now() + WINDOW
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["a", "b", "c"]


def test_an_alarm_moved_by_hand_stays_moved(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """An item that joins a window leaves the alarm where somebody put it."""
    batcher.add_item("a")
    actions.move(batcher, timedelta(hours=1))
    batcher.add_item("b")
    assert batcher.get_alarm_time() == alarm_clock.now() + timedelta(hours=1)


def test_questions_make_no_row() -> None:
    """A batcher that was never used answers with zeros, and neither asking nor cancelling nor flushing makes it."""
    batcher = Batcher.objects.get_by_name("never used")
    assert (batcher.queued(), batcher.get_alarm_time(), batcher.cancel_alarm()) == (0, None, False)
    batcher.flush()
    assert batcher.add_items([]) == 0
    assert not Object.objects.filter(name="never used").exists()
