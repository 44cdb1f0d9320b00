"""Batcher: what a batch's own record says of its tries, and of what people did to it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batcher import batch_history
from batcher.batch_history import FIRST, LAST
from batcher.models import Batch, Batcher
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECONDS = timedelta(seconds=1)


def test_each_try_is_on_record_with_its_answer(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """In order: when each try began, what was answered, and that somebody asked for another."""
    upstream.script(Answer(503, body=b"busy"), Answer(422, body=b"no such sku"), Answer(200))
    batcher.add_item(1)
    pass_time(alarm_clock, 10 * SECONDS)
    pass_time(alarm_clock, 2 * SECONDS)
    batcher.replay(Batch.objects.get().pk)
    run_due_alarms()
    batch = Batch.objects.get()
    events = batch_history.of(batch)
    assert [(each.what, each.number, each.status, each.text) for each in events] == [
        ("try", 1, 503, "busy"),
        ("try", 2, 422, "no such sku"),
        ("replayed", None, None, ""),
        ("try", 3, 200, "ok"),
    ]
    assert events[0].at == batch.sealed_at
    assert events[1].at == batch.sealed_at + 2 * SECONDS


def test_a_try_that_was_cut_off_is_on_record(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, crash_at: object
) -> None:
    """A try whose process died before the answer was stored says so, and that its outcome is not known."""
    batcher.add_item(1)
    batcher.flush()
    with pytest.raises(SimulatedCrash), crash_at("batcher.posted"):  # type: ignore[operator]  # a fixture's function
        run_due_alarms()
    pass_time(alarm_clock, 120 * SECONDS)
    events = batch_history.of(Batch.objects.get())
    assert [(each.what, each.number, each.unknown) for each in events] == [("cut off", 1, True), ("try", 2, False)]


def test_the_record_is_bounded(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Of a batch that is tried for days the first tries and the latest are kept, and of a long answer the beginning."""
    upstream.default = Answer(503, body=b"x" * 5_000)
    batcher.configure(give_up_after=timedelta(days=30))
    batcher.add_item(1)
    batch = _sealed(batcher, alarm_clock)
    for _ in range(FIRST + LAST + 5):
        batcher.flush()
        run_due_alarms()
    batch.refresh_from_db()
    events = batch_history.of(batch)
    assert len(events) == FIRST + LAST
    assert [each.number for each in events[:FIRST]] == list(range(1, FIRST + 1))
    assert events[-1].number == batch.attempts
    assert {len(each.text) for each in events} == {batch_history.KEPT_CHARACTERS}


def _sealed(batcher: Batcher, clock: FakeClock) -> Batch:
    batcher.flush()
    run_due_alarms()
    return Batch.objects.get()
