"""Two sessions of PostgreSQL at one object: who waits for the lock decides on what was committed meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection
from pytest_django import Settings

from durable_objects import AlarmInfo, ObjectBusy, now
from durable_objects.alarms import leases
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Object
from tests.models import Counter, Script, Scripted
from tests.support.database_sessions import one_value, waiting
from tests.support.threads import InThread, await_event, await_that

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "postgresql",
        reason="needs two sessions of PostgreSQL: set TEST_DATABASE_URL=postgresql://…",
    ),
]

NOW, HOUR = timedelta(0), timedelta(hours=1)


@pytest.mark.parametrize("change", ["disarmed", "put off", "disarmed by its run"])
def test_alarm_changed_while_another_waits_for_the_lock(obj: Scripted, script: Script, change: str) -> None:
    """A wake-up that waited for the lock sees the alarm as the one who held it left it, and does not run it."""
    obj.storage.set_alarm(NOW)
    runs = []
    beside: list[InThread[Verdict]] = []

    def keep_locked(obj: Scripted, info: AlarmInfo | None = None) -> None:
        runs.append(info)
        beside.append(InThread(lambda: fire(obj.pk).verdict))
        await_that(waiting())
        if change == "disarmed":
            obj.storage.delete_alarm()
        elif change == "put off":
            obj.storage.set_alarm(HOUR)

    script.alarm = keep_locked
    if change == "disarmed by its run":
        assert fire(Alarm.objects.get().pk).verdict is Verdict.SUCCEEDED
    else:
        obj.run_exclusive(lambda: keep_locked(obj))
    assert beside[0].result() is Verdict.DROPPED
    assert len(runs) == 1
    assert AlarmRun.objects.count() == (change == "disarmed by its run")


def test_alarm_set_while_another_waits_for_the_lock(obj: Scripted, script: Script) -> None:
    """One who waited to set an alarm ``if get_alarm() is None`` sees the one that was set meanwhile."""
    obj.storage.put("k", 1)

    def add() -> bool:
        if obj.storage.get_alarm() is None:
            obj.storage.set_alarm(2 * HOUR)
            return True
        return False

    with obj.storage.transaction():
        beside = InThread(lambda: Scripted.objects.get_by_name("a").run_exclusive(add))
        await_that(waiting())
        obj.storage.set_alarm(HOUR)
        at = obj.storage.get_alarm()
    assert beside.result() is False
    assert obj.storage.get_alarm() == at


def cross(first: Counter, second: Counter, gate: threading.Barrier, *, in_block: bool = False) -> Callable[[], int]:
    """Locks ``first``, meets the other who locked ``second``, locks ``second``; answers how often it was run."""
    tries = []

    def work() -> int:
        tries.append(first.add())
        if len(tries) == 1:
            gate.wait()
        second.add()
        return len(tries)

    def call() -> int:
        if not in_block:
            return first.run_exclusive(work)
        with first.storage.transaction():
            return work()

    return call


def test_deadlocked_turn_is_run_again() -> None:
    """Of two turns that wait for each other's objects one gives way and is run again: both end well, once."""
    one, other = Counter.objects.get_by_name("one"), Counter.objects.get_by_name("other")
    gate = threading.Barrier(2, timeout=5)
    beside = [InThread(cross(one, other, gate)), InThread(cross(other, one, gate))]
    assert sorted(each.result() for each in beside) == [1, 2]
    assert (one.storage.get("count"), other.storage.get("count")) == (2, 2)


def test_deadlock_that_cannot_be_run_again_is_busy() -> None:
    """A ``transaction()`` block, whose code the engine cannot run again, raises ``ObjectBusy`` and wrote nothing."""
    one, other = Counter.objects.get_by_name("one"), Counter.objects.get_by_name("other")
    gate = threading.Barrier(2, timeout=5)
    beside = [
        InThread(cross(one, other, gate, in_block=True)),
        InThread(cross(other, one, gate, in_block=True)),
    ]
    ended: list[object] = []
    for each in beside:
        try:
            ended.append(each.result())
        except ObjectBusy as error:
            ended.append(type(error))
    assert sorted(ended, key=str) == [1, ObjectBusy]
    assert (one.storage.get("count"), other.storage.get("count")) == (1, 1)


def test_run_that_the_database_made_give_way_is_not_counted(obj: Scripted, script: Script) -> None:
    """A handler that lost a deadlock is tried again, uncounted."""
    other, inside = Counter.objects.get_by_name("other"), threading.Event()

    def keep_locked() -> None:
        def work() -> None:
            inside.set()
            await_that(waiting())
            obj.storage.put("by", "the other")

        other.run_exclusive(work)

    script.alarm = lambda obj, info: other.add()
    obj.storage.set_alarm(NOW)
    beside = InThread(keep_locked)
    await_event(inside)
    fired = fire(Alarm.objects.get().pk)
    beside.result()
    assert fired.verdict is Verdict.AGAIN
    assert (Alarm.objects.get().retry_count, AlarmRun.objects.count()) == (0, 0)
    assert fire(Alarm.objects.get().pk).verdict is Verdict.SUCCEEDED
    assert other.storage.get("count") == 1


def test_handler_waits_for_other_objects_as_long_as_any_call(obj: Scripted, script: Script) -> None:
    """That a wake-up waits briefly for its own object does not cut its handler's waits short."""
    other, inside = Counter.objects.get_by_name("other"), threading.Event()

    def keep_locked() -> None:
        with other.storage.transaction():
            inside.set()
            await_that(waiting())
            one_value("SELECT 1 FROM pg_sleep(1.2)")

    script.alarm = lambda obj, info: Counter.objects.get_by_name("other").add()
    obj.storage.set_alarm(NOW)
    beside = InThread(keep_locked)
    await_event(inside)
    assert fire(Alarm.objects.get().pk).verdict is Verdict.SUCCEEDED
    beside.result()


def test_database_that_goes_away_is_not_counted(obj: Scripted, script: Script) -> None:
    """Where the connection broke nothing is counted: the run never happened, and comes again."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        if len(script.infos) == 1:
            pid = one_value("SELECT pg_backend_pid()")
            InThread(lambda: one_value(f"SELECT pg_terminate_backend({pid})")).result()
        obj.storage.get("other")

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Alarm.objects.get().pk
    with pytest.raises(DatabaseError):
        InThread(lambda: fire(pk)).result()
    assert (Alarm.objects.get().retry_count, AlarmRun.objects.count(), obj.storage.list()) == (0, 0, {})
    assert fire(pk).verdict is Verdict.SUCCEEDED


def test_rows_that_point_to_an_object_do_not_wait_for_its_turn(obj: Scripted) -> None:
    """The lock on an object keeps no foreign key to it waiting."""
    obj.storage.set_alarm(HOUR)
    at = Alarm.objects.get().due_at
    times = dict.fromkeys(("scheduled_at", "due_at", "picked_up_at", "started_at", "ended_at"), at)
    with obj.storage.transaction():
        obj.storage.put("k", 1)
        InThread(lambda: AlarmRun.objects.create(object_id=obj.pk, retry_count=0, fence=0, **times)).result()


def test_limits_are_the_turns_alone(obj: Scripted) -> None:
    """The server frees the object of a worker that vanished; the session's own settings are back afterwards."""
    names = ("lock_timeout", "idle_in_transaction_session_timeout")
    before = [one_value(f"SELECT current_setting('{name}')") for name in names]
    with obj.storage.transaction():
        assert [one_value(f"SELECT current_setting('{name}')") for name in names] == ["5s", "15min"]
    assert [one_value(f"SELECT current_setting('{name}')") for name in names] == before


def test_a_locked_slot_keeps_no_other_lease_waiting(obj: Scripted, settings: Settings) -> None:
    """The heartbeat waits a twentieth of a lease for one slot that another session has locked, then renews the rest."""
    settings.DURABLE_OBJECTS = {"LEASE": timedelta(seconds=10)}
    obj.storage.set_alarm(timedelta(0))
    pk = Object.objects.get().pk
    Alarm.objects.update(leased_until=now() + HOUR)
    other = connection.copy()
    run: Any = SimpleNamespace(object_id=pk, fence=0)

    def renew() -> None:
        connection.ensure_connection()  # a session that is new has begun a transaction to be set up
        leases._renew(run)

    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM durable_objects_alarm WHERE object_id = %s FOR UPDATE", [pk])
        began = time.monotonic()
        InThread(renew).result()
        assert time.monotonic() - began < 4
    finally:
        other.close()
