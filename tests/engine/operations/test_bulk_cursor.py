"""Operations do what goes on matching once as well: they go by primary key, forward only."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Alarm, Operation
from tests.models import Script, Scripted
from tests.support.many_alarms import dead_alarms

pytestmark = pytest.mark.django_db(transaction=True)

#: Of what a test makes, more than there are chunks.
BOUND = 10


def test_what_goes_on_matching_is_done_once(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alarm is moved once, though it matches before and after, and another worker goes on in the middle."""
    monkeypatch.setattr(bulk_chunks, "CHUNK", 3)
    dead_alarms(Scripted, 10)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    Alarm.objects.update(state="armed", due_at=at, scheduled_at=at)
    operation = bulk.start("move", "class:tests.Scripted", by="ada", arguments={"by": "1h"})
    cursors: list[int] = []

    def watch(at: Operation) -> None:
        cursors.append(at.cursor)
        assert len(cursors) < BOUND, "it does not come to an end"
        if len(cursors) == 2:
            bulk.stop(at)

    bulk_chunks.drive(operation.pk, operation.fence, watch=watch)
    assert bulk.go_on(operation)
    bulk_chunks.drive(operation.pk, bulk.get(operation.pk).fence, watch=watch)
    assert cursors == sorted(set(cursors))
    assert bulk.get(operation.pk).done == 10
    assert {f"{at:%H}" for at in Alarm.objects.values_list("due_at", flat=True)} == {"01"}
