"""How fast operations are said to go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Operation
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.many_alarms import dead_alarms

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_time_for_which_it_was_stopped_is_not_its_pace(
    script: Script, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects a second, and the time that is left, go by the time at work: an hour in between makes it no slower."""
    monkeypatch.setattr(bulk_chunks, "CHUNK", 20)
    dead_alarms(Scripted, 60)
    operation = bulk.start("revive", "class:tests.Scripted state:dead", by="ada")

    def stop(at: Operation) -> None:
        alarm_clock.advance(timedelta(seconds=4))
        if at.done == 40:
            assert bulk.stop(at)

    bulk_chunks.drive(operation.pk, operation.fence, watch=stop)
    alarm_clock.advance(timedelta(hours=1))
    before = bulk.speed(bulk.get(operation.pk))
    assert before == 10, "40 in the 4 s from its beginning to its last commit"
    assert bulk.go_on(operation)
    at = bulk.get(operation.pk)
    assert (bulk.speed(at), bulk.time_left(at)) == (before, timedelta(seconds=2))
    bulk_chunks.drive(operation.pk, at.fence)
    assert (bulk.get(operation.pk).state, bulk.get(operation.pk).done) == ("done", 60)
    assert bulk.speed(bulk.get(operation.pk)) == 15
