"""Batcher: an upstream that says of each item what became of it, or does not say enough."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from batcher.models import Batch, Batcher
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.support.passing_time import follow, pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)


def answering(*statuses: int, code: int = 207, wrap: str = "items") -> Answer:
    """An answer that names a status for each item."""
    outcomes = [{"status": status, "error": f"error {status}" if status >= 300 else ""} for status in statuses]
    return Answer(code, body=json.dumps({wrap: outcomes} if wrap else outcomes).encode())


def states(batcher: Batcher, count: int) -> list[str]:
    """The receipts' states of the first items."""
    return [batcher.receipt(number).state.value for number in range(1, count + 1)]


@pytest.mark.parametrize(
    "answer",
    [
        answering(200, 201, 204),
        answering(200, 200, 200, code=200),
        answering(200, 200, 200, wrap="results"),
        answering(200, 200, 200, wrap="outcomes", code=202),
        answering(200, 200, 200, wrap=""),
        Answer(207, body=b'{"items":[{"index":{"status":201}},{"create":{"status":201}},{"status":200}]}'),
        Answer(200, body=b'{"items": ["a", "b", "c"]}'),
        Answer(200, body=b'{"batcher": "orders", "items": [{"status": 500}, {"status": 500}, {"status": 500}]}'),
        Answer(204, body=b""),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:40]!r}",
)
def test_all_taken(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, answer: Answer) -> None:
    """Every item accepted, in any form that is understood, is a delivered batch; so is a 2xx that says nothing of
    items, or sends back what it got.
    """
    upstream.script(answer)
    batcher.add_items(["a", "b", "c"])
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    assert (batch.status, batch.failed_items, batch.attempts) == ("delivered", 0, 1)
    assert states(batcher, 3) == ["delivered"] * 3


@pytest.mark.parametrize(
    "answer",
    [
        Answer(207, body=b"ok"),
        Answer(207, body=b'{"items": []}'),
        answering(200),
        answering(200, 200, code=200),
        answering(200, 200, 200, 200),
        Answer(207, body=b'{"items": [{"status": 200}, {"status": true}, {"status": 99}]}'),
        Answer(207, body=b'{"items": [{"status": 200}, {"status": 200}, "fine"]}'),
        Answer(207, body=b"[" * 5000),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:60]!r}",
)
def test_an_unknown_207_is_no_success(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, answer: Answer
) -> None:
    """No map, one of another length or of another form: tried again under the same key, and when it stays so kept as
    failed with its outcome shown as unknown.
    """
    upstream.default = answer
    batcher.configure(give_up_after=SECOND * 3)
    batcher.add_items(["a", "b", "c"])
    start = alarm_clock.now()
    follow(alarm_clock, batcher, start + timedelta(minutes=1))
    batch = Batch.objects.get()
    assert (batch.status, batch.failed_items, batch.outcome_unknown, batch.attempts) == ("failed", 3, True, 3)
    assert len({request.body for request in upstream.received}) == 1
    assert batcher.receipt(1).outcome_unknown


def test_accepted_refused_and_tried_again(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """One batch, three fates: what is accepted is delivered at once, what may pass is tried again (the same key, the
    same bytes), what is refused ends as the failed part of the batch, which is kept.
    """
    upstream.script(answering(200, 422, 503), answering(409, 422, 200))
    batcher.add_items(["good", "bad", "later"])
    pass_time(alarm_clock, WINDOW)
    assert states(batcher, 3) == ["delivered", "open", "open"]
    pass_time(alarm_clock, SECOND * 2)
    assert len({request.body for request in upstream.received}) == len(set(upstream.keys)) == 1
    batch = Batch.objects.get()
    assert (batch.status, batch.failed_items, batch.outcome_unknown) == ("failed", 1, False)
    assert batch.outcomes == {"1": {"status": 422, "error": "error 422"}}
    assert states(batcher, 3) == ["delivered", "failed", "delivered"]
    assert batcher.receipt(2).why == "422 error 422"
    assert batcher.get_alarm_time() is None


def test_a_failed_part_can_be_replayed(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """A replay sends the whole batch under its key; what was accepted once stays accepted."""
    upstream.script(answering(200, 422), Answer(400))
    batcher.add_items(["good", "bad"])
    pass_time(alarm_clock, WINDOW)
    for expected in ["failed", "delivered"]:
        batcher.replay(Batch.objects.get().pk)
        pass_time(alarm_clock)
        assert states(batcher, 2) == ["delivered", expected]
    assert Batch.objects.get().failed_items == 0
    assert len({request.body for request in upstream.received}) == 1


def test_a_replayed_delivery_stays_delivered(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """An upstream that refuses what it has already does not make a delivered batch a failed one."""
    upstream.script(200, 409)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    Batch.objects.update(outcomes=None)  # as those have it that were delivered before outcomes were kept
    batcher.replay(Batch.objects.get().pk)
    pass_time(alarm_clock)
    batch = Batch.objects.get()
    assert (batch.status, batch.status_code, batch.failed_items) == ("delivered", 409, 0)


def test_a_part_that_is_given_up(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """When time is up only the items that were never accepted count as failed."""
    upstream.script(answering(200, 503, 200))
    upstream.default = Answer(500)
    batcher.configure(give_up_after=SECOND * 3)
    batcher.add_items(["a", "b", "c"])
    follow(alarm_clock, batcher, alarm_clock.now() + timedelta(minutes=1))
    assert (Batch.objects.get().status, Batch.objects.get().failed_items) == ("failed", 1)
    assert states(batcher, 3) == ["delivered", "failed", "delivered"]


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [(Answer(400), False), (Answer(503), False), (Answer(504), True), (Answer(drop=True), True)],
    ids=repr,
)
def test_proven_undelivered_is_told_from_unknown(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, answer: Answer, *, unknown: bool
) -> None:
    """A refusal is proof; a connection that broke after the body was sent, or a gateway's word, is not."""
    upstream.default = answer
    batcher.configure(give_up_after=timedelta(0))
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert (Batch.objects.get().status, Batch.objects.get().outcome_unknown) == ("failed", unknown)


def test_a_crash_leaves_the_outcome_unknown(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, crash_at: Any
) -> None:
    """A try that was cut off may have been taken: a refusal that follows it proves nothing. A delivery does."""
    batcher.add_item("a")
    alarm_clock.advance(WINDOW)
    with crash_at("batcher.posted"), pytest.raises(SimulatedCrash):
        run_due_alarms()
    upstream.script(400, 200)
    pass_time(alarm_clock, timedelta(minutes=2))
    assert (Batch.objects.get().status, Batch.objects.get().outcome_unknown) == ("failed", True)
    batcher.replay(Batch.objects.get().pk)
    pass_time(alarm_clock)
    assert (Batch.objects.get().status, Batch.objects.get().outcome_unknown) == ("delivered", False)


def test_failed_by_hand(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """fail() gives a batch up now, newer items go on; a finished batch is refused."""
    upstream.script(500)
    batcher.add_item("old")
    pass_time(alarm_clock, WINDOW)
    batcher.add_item("new")
    batch = Batch.objects.get()
    batcher.fail(batch.pk, "sent by mail")
    assert (Batch.objects.get().status, batcher.receipt(1).why) == ("failed", "sent by mail")
    with pytest.raises(ValueError, match="failed already"):
        batcher.fail(batch.pk)
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["old", "new"]


def test_what_waits_goes_in_its_time_once_the_batch_before_it_is_given_up(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Items that waited behind quick retries go when their window ends, and not when the next retry would have been."""
    upstream.default = Answer(500)
    batcher.configure(max_retries=9)
    batcher.add_item("old")
    for _ in range(5):
        alarm_clock.move_to(batcher.get_alarm_time() or alarm_clock.now())
        pass_time(alarm_clock)
    batcher.add_item("new")
    assert batcher.get_alarm_time() == alarm_clock.now() + timedelta(seconds=32)
    batcher.fail(Batch.objects.get().pk)
    assert batcher.get_alarm_time() == alarm_clock.now() + WINDOW
