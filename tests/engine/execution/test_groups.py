"""Alarms that share a transaction: each runs once or not at all, and one that is odd does not spoil the others."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection

from durable_objects import AlarmInfo, CannotUnlock
from durable_objects.delivery.dispatcher import run_pass
from durable_objects.execution import groups
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at
from durable_objects.turns.bulk import BulkTransaction
from tests.engine.execution.conftest import Messages
from tests.models import Counter, Grouped, Note, Script
from tests.support.threads import InThread, await_event

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = timedelta(minutes=1)
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def alarms(script: Script, messages: Messages) -> list[tuple[int, int]]:
    """Four alarms that are due, published in one message; the message's pairs."""
    Grouped.objects.set_alarms(dict.fromkeys(NAMES, timedelta(0)))
    (message,) = messages
    messages.clear()
    return [(wake_up.object_id, wake_up.wake_up_number) for wake_up in message]


def count(obj: Any, info: AlarmInfo) -> None:
    """What every handler does here."""
    obj.storage.put("runs", obj.storage.get("runs", 0) + 1)
    Note.objects.create(text=f"{obj.name} ran")


def runs() -> dict[str, int]:
    """How often each object's handler has run, by its own storage."""
    return {name: Grouped.objects.get_by_name(name).storage.get("runs", 0) for name in NAMES}


def odd_one(oddly: Callable[[Any], object]) -> Callable[[Any, AlarmInfo], None]:
    """A handler that does what all do, and in "b" something odd first."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        if obj.name == "b":
            Note.objects.create(text="left behind")
            obj.storage.put("left behind", 1)
            oddly(obj)
        count(obj, info)

    return alarm


def test_group_runs_in_one_transaction(alarms: list[tuple[int, int]], script: Script, messages: Messages) -> None:
    """All handlers of a message run, in order of their keys, by one commit; a second delivery does nothing."""
    inside: list[int] = []

    def alarm(obj: Any, info: AlarmInfo) -> None:
        count(obj, info)
        inside.append(AlarmRun.objects.count())

    script.alarm = alarm
    assert fire_group(alarms, LIMIT) == 4
    assert runs() == dict.fromkeys(NAMES, 1)
    assert inside == [0, 0, 0, 0], "none was committed before all had run"
    assert [run.outcome for run in AlarmRun.objects.all()] == ["succeeded"] * 4
    assert not Alarm.objects.exclude(state="idle").exists()
    assert fire_group(alarms, LIMIT) == 0
    assert messages == []


def swallow(obj: Any) -> None:
    """An error of the database that is not reported."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
    except DatabaseError:
        obj.storage.put("left behind", 2)


def unlock(obj: Any) -> None:
    """Unlock the object in between."""
    with obj.unlocked():
        pass


def unlock_quietly(obj: Any) -> None:
    """The same, though it could not be done."""
    try:
        unlock(obj)
    except CannotUnlock:
        obj.storage.put("left behind", 3)


def fail(obj: Any) -> None:
    """Raise."""
    raise ValueError("b")


def call_another(obj: Any) -> None:
    """A turn of another object in this one."""
    Counter.objects.get_by_name("other").add()


@pytest.mark.parametrize("oddly", [fail, unlock, unlock_quietly, call_another, swallow])
def test_odd_one_is_undone_and_woken_alone(
    alarms: list[tuple[int, int]], script: Script, messages: Messages, oddly: Callable[[Any], object]
) -> None:
    """A handler that raises, unlocks, calls another object or hides an error of the database leaves nothing behind and
    costs nothing; its neighbours run once each.
    """
    script.alarm = odd_one(oddly)
    if oddly is swallow and connection.vendor == "sqlite":
        pytest.skip("SQLite goes on after an error")
    assert fire_group(alarms, LIMIT) == 3
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 1}
    b = Alarm.objects.get(object__name="b")
    assert (b.state, b.retry_count, b.crashed_starts) == ("armed", 0, 0)
    assert b.pk in messages.alone()
    assert not Note.objects.filter(text="left behind").exists()
    assert Counter.objects.get_by_name("other").storage.get("count") is None


def test_one_that_fails_in_a_group_counts_once_alone(
    alarms: list[tuple[int, int]], script: Script, messages: Messages
) -> None:
    """What was woken alone fails there, once: its retry comes as always."""
    script.alarm = odd_one(fail)
    fire_group(alarms, LIMIT)
    ((wake_up,),) = messages
    fired = fire(wake_up.object_id, wake_up.wake_up_number)
    assert (fired.verdict.value, fired.delay) == ("failed", timedelta(seconds=2))
    assert [run.retry_count for run in AlarmRun.objects.filter(outcome="failed")] == [0]


def test_many_failures_break_the_group_up(alarms: list[tuple[int, int]], script: Script, messages: Messages) -> None:
    """A group in which everything fails is not run over and over: the rest is woken one by one."""
    script.alarm = lambda obj, info: fail(obj)
    assert fire_group(alarms, LIMIT) == 0
    assert sorted(messages.alone()) == sorted(object_id for object_id, _ in alarms)
    assert len(script.infos) == groups.MOST_UNDONE


def test_object_that_somebody_has_is_not_waited_for(
    alarms: list[tuple[int, int]], script: Script, messages: Messages
) -> None:
    """A group leaves out what is locked, and wakes it alone."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one lock for all")
    locked, release = threading.Event(), threading.Event()
    holder = Grouped.objects.get_by_name("b")

    def keep() -> None:
        locked.set()
        await_event(release)

    keeper = InThread(lambda: holder.run_exclusive(keep))
    await_event(locked)
    script.alarm = count
    try:
        assert fire_group(alarms, LIMIT) == 3
    finally:
        release.set()
    keeper.result()
    assert messages.alone() == [holder.pk]
    assert runs()["b"] == 0


def test_slow_neighbour_holds_up_one_transaction_only(
    alarms: list[tuple[int, int]], script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has run is committed when the time for a transaction is over; the others go on in the next ones."""
    monkeypatch.setattr(groups, "SECONDS_PER_TRANSACTION", 60)
    committed: list[int] = []

    def alarm(obj: Any, info: AlarmInfo) -> None:
        committed.append(AlarmRun.objects.count())
        if len(committed) == 2:
            groups.SECONDS_PER_TRANSACTION = 0
        count(obj, info)

    script.alarm = alarm
    assert fire_group(alarms, LIMIT) == 4
    assert committed == [0, 0, 2, 3]
    assert runs() == dict.fromkeys(NAMES, 1)


def test_slow_group_locks_few_more_than_it_runs(
    script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time for a transaction was over, the next one locks as many as that has run, not all that are left, so
    that nobody waits for objects that do not run; where runs are quick again, each locks twice as many.
    """
    names = [f"one{number}" for number in range(40)]
    Grouped.objects.set_alarms(dict.fromkeys(names, timedelta(0)))
    (message,) = messages
    locked: list[int] = []
    lock = BulkTransaction.lock

    def counted(bulk: BulkTransaction, where: str, params: Sequence[Any], *args: Any, **options: Any) -> list[Any]:
        locked.append(len(re.findall(r"\d+", str(params))))  # keys, each a parameter or all in one
        monkeypatch.setattr(groups, "SECONDS_PER_TRANSACTION", 0 if len(locked) < 10 else 60)
        return lock(bulk, where, params, *args, **options)

    monkeypatch.setattr(BulkTransaction, "lock", counted)
    script.alarm = count
    assert fire_group([(each.object_id, each.wake_up_number) for each in message], LIMIT) == 40
    assert {Grouped.objects.get_by_name(name).storage.get("runs") for name in names} == {1}
    assert locked[:10] == [40, 1, 2, 1, 2, 1, 2, 1, 2, 1]
    assert locked[10:] == [2, 4, 8, 16]


@pytest.mark.parametrize("point", ["firing.after_handler", "bell.before_publish"])
def test_death_in_a_group_is_as_if_it_never_ran(
    alarms: list[tuple[int, int]], script: Script, messages: Messages, point: str
) -> None:
    """A process that dies inside a group leaves all its alarms armed, for the dispatcher."""
    script.alarm = odd_one(fail)
    with crash_at(point), pytest.raises(SimulatedCrash):
        fire_group(alarms, LIMIT)
    assert runs()["b"] == 0
    assert Alarm.objects.get(object__name="b").state == "armed"
    assert set(runs().values()) == ({0} if point == "firing.after_handler" else {0, 1})


def test_early_ones_are_waited_for_and_far_ones_are_not(script: Script, messages: Messages) -> None:
    """Never early: what is due in a moment runs then; what was moved away is woken alone, or not at all."""
    Grouped.objects.set_alarms(dict.fromkeys(NAMES, timedelta(seconds=0.2)))
    (message,) = messages
    Grouped.objects.get_by_name("c").storage.set_alarm(timedelta(hours=1))
    Grouped.objects.get_by_name("d").storage.delete_alarm()
    messages.clear()
    script.alarm = count
    assert fire_group([(each.object_id, each.wake_up_number) for each in message], LIMIT) == 2
    assert runs() == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert all(run.started_at >= run.due_at for run in AlarmRun.objects.all())


@pytest.mark.parametrize(("number", "sizes"), [(250, [100, 100, 50]), (600, [120] * 5), (1_000, [200] * 5)])
def test_groups_are_larger_where_many_are_due(messages: Messages, number: int, sizes: list[int]) -> None:
    """A message carries up to 200, but more than 100 only where five messages are left for several processes."""
    Grouped.objects.set_alarms({str(each): timedelta(0) for each in range(number)})
    assert [len(message) for message in messages] == sizes


def test_dispatcher_publishes_groups_in_one_message(script: Script, messages: Messages) -> None:
    """Alarms of such classes that are due together go in one message, retries and rescues in their own."""
    with FakeClock():
        Grouped.objects.set_alarms(dict.fromkeys(NAMES, timedelta(0)))
    Alarm.objects.filter(object__name="a").update(retry_count=1)
    Alarm.objects.filter(object__name="b").update(wake_up_for="2020-01-01T00:00:00Z")
    done = run_pass()
    assert (done.published, done.rescued) == (4, 1)
    assert sorted(map(len, messages)) == [1, 1, 2]
