"""Batcher: what happens while a post is in flight, and when the process dies at each step of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.db import connection

from batcher.models import Batch, Batcher
from durable_objects.operations import actions
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Received, Upstream

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)
CrashAt = Callable[[str], AbstractContextManager[None]]


def in_flight(upstream: Upstream, act: Callable[[], object]) -> None:
    """Do something, in the upstream's own thread, while the next post is in flight."""

    def once(request: Received) -> None:
        upstream.on_request = None
        try:
            act()
        finally:
            connection.close()

    upstream.on_request = once


def test_items_added_while_the_post_is_in_flight_are_kept(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """The seed deletes them unsent: ours are accepted at once and go with the next batch, each under one key only."""
    in_flight(upstream, lambda: batcher.add_items(["during", "and after"]))
    batcher.add_item("before")
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["before"]
    assert batcher.queued() == 2
    assert batcher.get_alarm_time() == alarm_clock.now() + WINDOW
    pass_time(alarm_clock, WINDOW)
    assert [request.items for request in upstream.received] == [["before"], ["during", "and after"]]
    assert len(set(upstream.keys)) == 2
    assert batcher.get_alarm_time() is None


def test_an_item_added_in_flight_does_not_replace_the_retry(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """On the original a set during a failing run cancels its retry: ours comes after 2 s, the item in its window."""
    upstream.script(500)
    in_flight(upstream, lambda: batcher.add_item("during"))
    batcher.add_item("before")
    pass_time(alarm_clock, WINDOW)
    assert batcher.get_alarm_time() == alarm_clock.now() + SECOND * 2
    pass_time(alarm_clock, SECOND * 2)
    assert upstream.items == ["before", "before"]
    pass_time(alarm_clock, SECOND * 8)
    assert upstream.items == ["before", "before", "during"]


def test_a_batch_that_fills_up_in_flight_goes_right_after(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Full is full, also while an older batch is being posted: the next goes as soon as that one is done."""
    batcher.configure(max_items=2)
    in_flight(upstream, lambda: batcher.add_items(["b", "c"]))
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert [request.items for request in upstream.received] == [["a"], ["b", "c"]]


def test_cancelling_in_flight_holds_what_came_meanwhile(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """cancel_alarm() during a post stands when the post is over."""

    def add_and_cancel() -> None:
        batcher.add_item("during")
        batcher.cancel_alarm()

    in_flight(upstream, add_and_cancel)
    batcher.add_item("before")
    pass_time(alarm_clock, WINDOW)
    assert batcher.get_alarm_time() is None
    pass_time(alarm_clock, WINDOW)
    assert (upstream.items, batcher.queued()) == (["before"], 1)
    batcher.flush()
    pass_time(alarm_clock)
    assert upstream.items == ["before", "during"]


def test_flushing_in_flight_sends_right_after(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """flush() during a post sends what came meanwhile as soon as the post is over."""

    def add_and_flush() -> None:
        batcher.add_item("during")
        batcher.flush()

    in_flight(upstream, add_and_flush)
    batcher.add_item("before")
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["before", "during"]


def test_an_alarm_moved_in_flight_stands(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """An operator who sets the alarm during a post gets it, unless the batcher has something to do before."""

    def add_and_move() -> None:
        batcher.add_item("during")
        actions.move(batcher, SECOND * 3)

    in_flight(upstream, add_and_move)
    batcher.add_item("before")
    pass_time(alarm_clock, WINDOW)
    assert batcher.get_alarm_time() == alarm_clock.now() + SECOND * 3
    pass_time(alarm_clock, SECOND * 3)
    assert upstream.items == ["before", "during"]


def test_a_batch_deleted_in_flight_is_left_alone(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Settling is for the batch that is still there; one that a person removed meanwhile stays away."""
    upstream.script(500)
    in_flight(upstream, lambda: Batch.objects.all().delete())
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert not Batch.objects.exists()
    assert batcher.get_alarm_time() is None


@pytest.mark.parametrize(("status", "becomes"), [(200, "delivered"), (500, "failed")])
def test_a_batch_failed_by_hand_in_flight(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, status: int, becomes: str
) -> None:
    """A person's fail() stands, unless the try that was under way delivers the batch; until that is known the upstream
    may have it.
    """
    upstream.script(status)
    meanwhile: list[tuple[str, bool]] = []

    def fail() -> None:
        batcher.fail(Batch.objects.get().pk)
        meanwhile.extend(Batch.objects.values_list("status", "outcome_unknown"))

    in_flight(upstream, fail)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert meanwhile == [("failed", True)]
    assert (Batch.objects.get().status, Batch.objects.get().attempts) == (becomes, 1)
    assert batcher.get_alarm_time() is None


@pytest.mark.parametrize("point", ["turn.before_commit", "batcher.sealed", "batcher.posted", "batcher.settled"])
def test_a_crash_at_any_step_loses_nothing(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, crash_at: CrashAt, point: str
) -> None:
    """Wherever the process dies, the batch comes again with the same key and items, and later items come after it."""
    batcher.add_items(["a", "b"])
    alarm_clock.advance(WINDOW)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    batcher.add_item("c")
    pass_time(alarm_clock, timedelta(minutes=2))  # past the lease of the run that died
    pass_time(alarm_clock, WINDOW)
    contents = {request.key: request.items for request in upstream.received}
    assert len({request.body for request in upstream.received}) == len(contents)
    assert [item for items in contents.values() for item in items] == ["a", "b", "c"]
    assert set(Batch.objects.values_list("status", flat=True)) == {"delivered"}
    assert (batcher.queued(), batcher.get_alarm_time()) == (0, None)


def test_adding_never_waits_for_the_upstream(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """While an upstream hangs, items are accepted in no time: the post is made with the object unlocked."""
    upstream.hold()
    batcher.add_item("before")
    alarm_clock.advance(WINDOW)

    def run() -> None:
        try:
            run_due_alarms()
        finally:
            connection.close()

    worker = threading.Thread(target=run)
    worker.start()
    try:
        upstream.wait_for(1)
        assert [batcher.add_item(number) for number in range(5)] == [1, 2, 3, 4, 5]
    finally:
        upstream.release()
        worker.join(5)
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["before", 0, 1, 2, 3, 4]


def test_an_override_may_do_anything_with_a_batch(
    batcher: Batcher, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """process_batch is the override point: returning delivers, raising is a failed try, and it may use the batcher."""
    seen: list[tuple[str, list[object], int]] = []

    def process_batch(self: Batcher, batch: Batch) -> None:
        seen.append((str(batch.id), batch.items, batch.attempt))
        if len(seen) == 1:
            self.add_item("from inside")
            raise LookupError("not yet\0")

    monkeypatch.setattr(Batcher, "process_batch", process_batch)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert "LookupError: not yet" in Batch.objects.get().answer
    pass_time(alarm_clock, SECOND * 2)
    pass_time(alarm_clock, WINDOW)
    assert [(items, attempt) for _, items, attempt in seen] == [(["a"], 1), (["a"], 2), (["from inside"], 1)]
    assert seen[0][0] == seen[1][0] != seen[2][0]


def test_override_that_was_cancelled_is_a_failed_try(
    batcher: Batcher, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no ``Exception`` but says that asynchronous work ended is a failed try as well."""

    def process_batch(self: Batcher, batch: Batch) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Batcher, "process_batch", process_batch)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert "CancelledError" in Batch.objects.get().answer


def test_items_from_many_threads_all_arrive_once(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Four threads adding while batches go out: every accepted item arrives, each under one key."""
    upstream.default = Answer(200, delay=0.02)
    batcher.configure(max_items=10, window=timedelta(0))

    def add(thread: int) -> None:
        try:
            for number in range(15):
                batcher.add_item(f"{thread}-{number}")
        finally:
            connection.close()

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        run_due_alarms()
    for thread in threads:
        thread.join()
    run_due_alarms()
    assert sorted(upstream.items) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(15))
    for number in range(4):
        own = [item for item in upstream.items if item.startswith(f"{number}-")]
        assert own == [f"{number}-{count}" for count in range(15)]
