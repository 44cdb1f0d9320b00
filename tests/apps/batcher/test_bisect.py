"""Batcher: a batch that one item spoils is split, by opt-in, until that item is alone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from batcher.models import Batch, Batcher
from durable_objects import InvalidInput
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

WINDOW = timedelta(seconds=10)


def refuse(upstream: Upstream, poison: Any, status: int = 422) -> None:
    """Refuse each batch that holds the item, as a whole."""
    upstream.answer_to = lambda request: Answer(status if poison in request.items else 200)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_poison_ends_up_alone(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, status: int) -> None:
    """All but the poisonous item are delivered, in order, each accepted under one key; it is kept as failed, alone."""
    refuse(upstream, 3, status)
    batcher.configure(bisect=True)
    batcher.add_items(range(7))
    pass_time(alarm_clock, WINDOW)
    delivered = {str(batch.pk) for batch in Batch.objects.filter(status="delivered")}
    accepted = [item for request in upstream.received if request.key in delivered for item in request.items]
    assert accepted == [0, 1, 2, 4, 5, 6]
    alone = Batch.objects.get(status="failed", was_split=False)
    assert (alone.items, alone.failed_items, alone.status_code) == ([3], 1, status)
    split = Batch.objects.filter(was_split=True)
    assert {(batch.status, batch.failed_items, batch.parts.count()) for batch in split} == {("failed", 0, 2)}
    states = [batcher.receipt(number + 1).state.value for number in range(7)]
    assert states == ["delivered"] * 3 + ["failed"] + ["delivered"] * 3
    assert batcher.get_alarm_time() is None


def test_only_by_opt_in(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Without bisect a refused batch is failed as it is: its items are under no second key."""
    refuse(upstream, 1)
    batcher.add_items(range(4))
    pass_time(alarm_clock, WINDOW)
    assert [(batch.status, batch.failed_items) for batch in Batch.objects.all()] == [("failed", 4)]


@pytest.mark.parametrize("status", [401, 404, 409, 410])
def test_other_refusals_do_not_split(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, status: int) -> None:
    """A refusal that is not about what is in the batch would be the same for its halves."""
    upstream.default = Answer(status)
    batcher.configure(bisect=True)
    batcher.add_items(range(4))
    pass_time(alarm_clock, WINDOW)
    assert len(upstream.received) == 1


def test_what_may_have_been_taken_is_not_split(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, crash_at: Any
) -> None:
    """Only a proven refusal allows a second key: after a try of which nobody knows, the batch stays whole."""
    batcher.configure(bisect=True)
    batcher.add_items(range(4))
    alarm_clock.advance(WINDOW)
    with crash_at("batcher.posted"), pytest.raises(SimulatedCrash):
        run_due_alarms()
    upstream.default = Answer(422)
    pass_time(alarm_clock, timedelta(minutes=2))
    assert len(set(upstream.keys)) == 1
    assert (Batch.objects.get().status, Batch.objects.get().outcome_unknown) == ("failed", True)


def test_what_was_answered_item_by_item_is_not_split(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """An upstream that has judged each item before knows the batch by its key: it is not cut for a later refusal."""
    later = {"items": [{"status": 503}, {"status": 503}]}
    upstream.script(Answer(207, body=json.dumps(later).encode()), Answer(422))
    batcher.configure(bisect=True)
    batcher.add_items([1, 2])
    pass_time(alarm_clock, WINDOW)
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    assert (batch.status, batch.status_code, batch.failed_items, batch.was_split) == ("failed", 422, 2, False)


def test_a_split_batch_is_not_sent_again(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Its items are in other batches now: replay() says which."""
    refuse(upstream, 0)
    batcher.configure(bisect=True)
    batcher.add_items(range(2))
    pass_time(alarm_clock, WINDOW)
    parent = Batch.objects.get(was_split=True)
    with pytest.raises(InvalidInput, match="was split") as refused:
        batcher.replay(parent.pk)
    assert all(str(part.pk) in refused.value.allowed for part in parent.parts.all())
