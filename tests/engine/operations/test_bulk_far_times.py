"""Operations on alarms at the end of time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Alarm
from tests.models import Script, Scripted
from tests.support.many_alarms import dead_alarms

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("verb", "given"), [("move", {"by": "2h"}), ("spread", {"over": "100d"})])
def test_later_than_there_are_times(script: Script, verb: str, given: dict[str, str]) -> None:
    """An alarm that would be put off past the year 9999 fails, and says so; it stays."""
    dead_alarms(Scripted, 1)
    at = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    Alarm.objects.update(state="armed", due_at=at, scheduled_at=at)
    operation = bulk_chunks.drive(bulk.start(verb, "class:tests.Scripted", by="ada", arguments=given).pk, 0)
    assert operation is not None
    (failure,) = operation.failures
    assert "is not between 1970 and the year 9999" in failure["error"]
    assert Alarm.objects.get().due_at == at
