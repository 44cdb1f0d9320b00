"""What a run costs on the way to PostgreSQL and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from benchmarks.counting import CountingWire, counted
from durable_objects import AlarmInfo, tasks
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.shared_messages import fire_each
from durable_objects.tables import Alarm, AlarmRun
from tests.models import Once, Script, Scripted, Ticker

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="PostgreSQL's: set TEST_DATABASE_URL"),
]

MINUTE = timedelta(minutes=1)


def due(model: Any, *names: str) -> list[tuple[int, int, int]]:
    """Set alarms of these objects, which are due; what their wake-ups say."""
    model.objects.set_alarms(dict.fromkeys(names, timedelta(0)))
    return list(Alarm.objects.order_by("pk").values_list("pk", "wake_up_number", "object__kind_id"))


def asked(sql: str) -> int:
    """The number that a query gives."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def warm_up(wire: CountingWire) -> None:
    """Connect by the wire: what a session begins with is not counted."""
    Once.objects.get_by_name("first").storage.put("connected", True)


def test_a_fire_is_two_round_trips() -> None:
    """One begins, locks, reads and opens the savepoint of the handler; one stores all and commits."""
    alarms = due(Once, "a", "b", "c")
    with counted() as wire:
        warm_up(wire)
        assert [wire.during(lambda: fire(*pair, kind_id=kind)) for *pair, kind in alarms] == [2, 2, 2]  # noqa: B023  called at once
    assert AlarmRun.objects.filter(outcome="succeeded").count() == 3


@pytest.mark.parametrize("number", [1, 3, 100])
def test_a_group_is_three_round_trips(number: int) -> None:
    """One locks, one reads, one stores all and commits: however many the group has."""
    alarms = [(pk, wake_up_number) for pk, wake_up_number, _ in due(Ticker, *map(str, range(number)))]
    with counted() as wire:
        warm_up(wire)
        assert wire.during(lambda: fire_group(alarms, MINUTE)) == 3
    assert AlarmRun.objects.filter(outcome="succeeded").count() == number


def test_the_task_takes_the_class_from_the_header() -> None:
    """A message costs one before its alarms, which is the check of the connection (``CONN_HEALTH_CHECKS``): the class
    of the object is not looked up.
    """
    ((*pair, kind),) = due(Once, "a")
    tasks.fire_alarm.push_request(**{tasks.KINDS: [kind]})
    try:
        with counted() as wire:
            warm_up(wire)
            connection.close_at = None  # as a worker keeps it
            assert wire.during(lambda: tasks.fire_alarm.run(*pair)) == 3
    finally:
        tasks.fire_alarm.pop_request()


def test_what_is_stored_takes_no_second_transaction_id(script: Script) -> None:
    """The savepoint of the handler is released first: one that writes would take an id of its own for every run."""
    ids: list[int] = []

    def alarm(obj: Any, info: AlarmInfo) -> None:
        obj.storage.put("ran", True)
        ids.append(asked("SELECT pg_current_xact_id()::text::bigint % 4294967296"))

    script.alarm = alarm
    ((*pair, kind),) = due(Scripted, "a")
    fire(*pair, kind_id=kind)
    assert [asked("SELECT xmin::text::bigint FROM durable_objects_alarmrun")] == ids


def test_a_message_costs_one_for_each_of_its_alarms_and_one_more() -> None:
    """The commit of one begins the next; nothing is looked up for the message as a whole."""
    alarms = due(Once, "a", "b", "c")
    with counted() as wire:
        warm_up(wire)
        assert wire.during(lambda: fire_each(alarms, MINUTE)) == 4


def test_a_run_that_unlocks_is_four(script: Script) -> None:
    """Each time the object is locked and released costs one, the savepoints and commits come along."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        obj.storage.put("before", 1)
        with obj.unlocked():
            pass
        obj.storage.put("after", 1)

    script.alarm = alarm
    ((*pair, kind),) = due(Scripted, "a")
    with counted() as wire:
        warm_up(wire)
        assert wire.during(lambda: fire(*pair, kind_id=kind)) == 4
    assert AlarmRun.objects.get().outcome == "succeeded"


def test_one_that_fails_undoes_its_savepoint(script: Script) -> None:
    """What the handler wrote to its own rows is undone with the lock still held: ROLLBACK TO, RELEASE, the time, and
    the end, beside the beginning.
    """

    def alarm(obj: Any, info: AlarmInfo) -> None:
        raise ValueError

    script.alarm = alarm
    ((*pair, kind),) = due(Scripted, "a")
    with counted() as wire:
        warm_up(wire)
        assert wire.during(lambda: fire(*pair, kind_id=kind)) == 5
    assert Alarm.objects.get().retry_count == 1
