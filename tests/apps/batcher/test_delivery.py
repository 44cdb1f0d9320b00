"""Batcher: what becomes of a batch that the upstream does not take at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batcher.models import Batch, Batcher
from durable_objects import InvalidInput
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock
from tests.support.passing_time import follow, pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
WINDOW = timedelta(seconds=10)


def test_a_5xx_is_not_delivered(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """The seed takes a 500 for delivered: ours comes again after 2, 4, 8 s with the same key, items and body."""
    upstream.script(500, 502, 503)
    batcher.add_items(["a", "b"])
    gaps = follow(alarm_clock, batcher, alarm_clock.now() + MINUTE)
    assert gaps == [WINDOW, SECOND * 2, SECOND * 4, SECOND * 8]
    assert len(upstream.received) == 4
    assert len(set(upstream.keys)) == 1
    assert len({request.body for request in upstream.received}) == 1
    batch = Batch.objects.get()
    assert (batch.status, batch.attempts, batch.status_code) == ("delivered", 4, 200)


def test_the_buffer_is_not_emptied_after_three_retries(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """The seed drops all items after 3 retries: ours are set aside and delivered when the upstream is back."""
    upstream.default = Answer(500)
    batcher.add_item("precious")
    start = alarm_clock.now()
    gaps = follow(alarm_clock, batcher, start + timedelta(hours=5))
    quick, slow = gaps[:4], gaps[4:12]
    assert quick == [WINDOW, SECOND * 2, SECOND * 4, SECOND * 8]
    assert slow == [MINUTE * minutes for minutes in (1, 2, 4, 8, 16, 32, 60, 60)]
    assert Batch.objects.get().status == "set_aside"
    upstream.default = Answer(200)
    follow(alarm_clock, batcher, start + timedelta(hours=6))
    assert Batch.objects.get().status == "delivered"
    assert set(upstream.items) == {"precious"}
    assert len(set(upstream.keys)) == 1
    assert batcher.get_alarm_time() is None


def test_a_batch_is_kept_when_it_is_given_up(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """After give_up_after, with a last try at its end, a batch is failed and kept, and can be replayed."""
    upstream.default = Answer(503, body=b"closed\0for good")
    batcher.configure(give_up_after=timedelta(minutes=5))
    batcher.add_item("a")
    sealed = alarm_clock.now() + WINDOW
    follow(alarm_clock, batcher, sealed + timedelta(days=2))
    batch = Batch.objects.get()
    assert (batch.status, batch.finished_at) == ("failed", sealed + timedelta(minutes=5))
    assert (batch.items, batch.status_code) == (["a"], 503)
    assert "closed" in batch.answer
    upstream.default = Answer(200)
    batcher.replay(str(batch.id))
    pass_time(alarm_clock)
    batch.refresh_from_db()
    assert (batch.status, set(upstream.keys)) == ("delivered", {str(batch.id)})


def test_items_wait_behind_a_batch_in_its_quick_retries(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Newer items do not overtake a batch that is retried quickly; they go as soon as it is delivered or set aside."""
    upstream.script(500, 500, 500, 500, 200)
    batcher.add_item("old")
    pass_time(alarm_clock, WINDOW)
    batcher.configure(max_items=2)
    batcher.add_items(["new", "newer"])  # full, which does not help
    for pause in (2, 4):
        pass_time(alarm_clock, SECOND * pause)
    assert set(upstream.items) == {"old"}
    assert batcher.queued() == 2
    pass_time(alarm_clock, SECOND * 8)  # the last quick retry fails: set aside
    assert upstream.received[-1].items == ["new", "newer"]
    pass_time(alarm_clock, MINUTE)
    assert upstream.received[-1].items == ["old"]
    assert set(Batch.objects.values_list("status", flat=True)) == {"delivered"}


def test_a_window_is_kept_while_an_old_batch_is_set_aside(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """The try of a batch that was set aside neither takes newer items along nor cuts their window short."""
    batcher.configure(max_retries=0)
    upstream.script(500)
    batcher.add_item("old")
    pass_time(alarm_clock, WINDOW)
    pass_time(alarm_clock, SECOND * 55)
    batcher.add_item("new")
    pass_time(alarm_clock, SECOND * 5)
    assert [request.items for request in upstream.received] == [["old"], ["old"]]
    pass_time(alarm_clock, SECOND * 5)
    assert upstream.received[-1].items == ["new"]


def test_flush_tries_at_once_what_was_set_aside(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """flush() does not wait for the pause of a batch that was not delivered yet."""
    batcher.configure(max_retries=0)
    upstream.script(500)
    batcher.add_item("old")
    pass_time(alarm_clock, WINDOW)
    batcher.flush()
    pass_time(alarm_clock)
    assert Batch.objects.get().status == "delivered"


def test_replay_sends_any_batch_under_its_key(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """A delivered batch can be sent again too: same key, same items. An id of another batcher is refused."""
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    batcher.replay(batch.id)
    pass_time(alarm_clock)
    assert upstream.keys == [str(batch.id)] * 2
    assert upstream.items == ["a", "a"]
    for wrong in (batch.id, "not an id", None, 5):
        with pytest.raises(InvalidInput, match="has no batch"):
            Batcher.objects.get_by_name("another").replay(wrong)  # type: ignore[arg-type]  # refused is what is tested


def test_cancelling_stops_the_retries_too(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """After cancel_alarm() an undelivered batch waits as well, until the next item; it then goes first."""
    upstream.script(500)
    batcher.add_item("old")
    pass_time(alarm_clock, WINDOW)
    batcher.cancel_alarm()
    pass_time(alarm_clock, timedelta(days=1))
    assert len(upstream.received) == 1
    batcher.add_item("new")
    pass_time(alarm_clock, WINDOW)
    assert [request.items for request in upstream.received] == [["old"], ["old"], ["new"]]


def test_a_long_outage_ends_without_a_dead_alarm(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """An upstream that is down for hours uses up no retries of the engine: nothing is dead, nothing needs a person."""
    upstream.default = Answer(500)
    start = alarm_clock.now()
    for hour in range(3):
        batcher.add_item(hour)
        follow(alarm_clock, batcher, start + timedelta(hours=hour + 1))
    upstream.default = Answer(200)
    follow(alarm_clock, batcher, start + timedelta(hours=6))
    assert set(Batch.objects.values_list("status", flat=True)) == {"delivered"}
    assert set(AlarmRun.objects.values_list("outcome", flat=True)) == {"succeeded"}
    assert Alarm.objects.get().state == "idle"
