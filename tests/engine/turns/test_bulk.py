"""Many alarms set by one call: the same as set one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from durable_objects import AlarmHandlerMissing, InvalidAlarmTime, InvalidName
from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock
from tests.models import Counter, Script, Scripted

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def test_each_object_gets_its_time(clock: FakeClock, script: Script) -> None:
    """New objects and old ones, times and spans, a past time: all as by ``set_alarm``, ``initialize()`` included."""
    seen: list[str] = []
    old = Scripted.objects.get_by_name("old")
    old.storage.put("k", 1)
    old.storage.set_alarm(HOUR)

    def initialize(obj: Scripted) -> None:
        seen.append(obj.name)
        obj.storage.put("seen", True)

    script.initialize = initialize
    Scripted.objects.set_alarms({"new": HOUR, "old": 2 * HOUR, "past": -HOUR, "at": datetime(2030, 1, 1, tzinfo=UTC)})
    script.initialize = lambda obj: None
    got = {obj.name: obj.storage.get_alarm() for obj in Scripted.objects.all()}
    now = clock.now()
    assert got == {"new": now + HOUR, "old": now + 2 * HOUR, "past": now, "at": datetime(2030, 1, 1, tzinfo=UTC)}
    assert sorted(seen) == ["at", "new", "old", "past"]
    assert old.storage.list() == {"k": 1, "seen": True}
    assert Alarm.objects.get(object__name="old").generation == 2


@pytest.mark.parametrize(
    ("name", "when", "error"),
    [("", HOUR, InvalidName), ("b", 5, InvalidAlarmTime), ("b", timedelta.max, InvalidAlarmTime)],
)
def test_bad_input_changes_nothing(clock: FakeClock, name: str, when: timedelta, error: type[Exception]) -> None:
    """One bad name or time refuses the whole call before anything is set."""
    with pytest.raises(error):
        Scripted.objects.set_alarms({"a": HOUR, name: when})
    assert not Object.objects.exists()


def test_class_without_handler_is_refused() -> None:
    """As by ``set_alarm``."""
    with pytest.raises(AlarmHandlerMissing):
        Counter.objects.set_alarms({"a": HOUR})
    Counter.objects.set_alarms({})


def test_is_part_of_the_callers_transaction(clock: FakeClock, script: Script) -> None:
    """Rolled back with it, however many."""
    with transaction.atomic():
        Scripted.objects.set_alarms({str(number): HOUR for number in range(1_001)})
        assert Alarm.objects.count() == 1_001
        transaction.set_rollback(True)
    assert not Object.objects.exists()
