"""``unlocked()`` commits, releases the lock, and comes back only to an object that is still this run's."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from durable_objects import CannotUnlock, ObjectBusy, RunSuperseded
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Script, Scripted
from tests.support.threads import InThread, await_event

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


def armed(name: str = "a") -> Scripted:
    """An object whose alarm is due."""
    obj = Scripted.objects.get_by_name(name)
    obj.storage.set_alarm(NOW)
    return obj


def test_others_go_in_while_a_turn_is_unlocked() -> None:
    """What was written before the block is committed in it, others' calls run in it, and afterwards both are seen."""
    counter = Counter.objects.get_by_name("a")

    def slow() -> int:
        counter.add()
        with counter.unlocked():
            assert InThread(counter.add).result() == 2
            assert counter.add() == 3
        return counter.add()

    assert counter.run_exclusive(slow) == 4


def test_failing_after_unlocked_undoes_only_what_came_after() -> None:
    """A method that raises leaves what it had committed by its last ``unlocked()``, and nothing since."""
    counter = Counter.objects.get_by_name("a")

    def fail() -> None:
        counter.storage.put("before", 1)
        with counter.unlocked():
            counter.storage.put("inside", 1)
        counter.storage.put("after", 1)
        raise KeyError

    with pytest.raises(KeyError):
        counter.run_exclusive(fail)
    assert counter.storage.list() == {"before": 1, "inside": 1}


def test_an_error_in_the_block_is_the_callers_with_the_object_locked_again() -> None:
    """What is raised inside the block can be handled under the lock."""
    counter = Counter.objects.get_by_name("a")

    def recover() -> int:
        try:
            with counter.unlocked():
                raise ConnectionError
        except ConnectionError:
            return counter.add()

    assert counter.run_exclusive(recover) == 1
    assert counter.storage.get("count") == 1


def test_initialize_runs_again_after_each_unlock(script: Script) -> None:
    """The object starts afresh under the lock it got back."""
    obj, calls = Scripted.objects.get_by_name("a"), []
    script.initialize = lambda obj: calls.append(obj.storage.get("k"))

    def twice() -> None:
        for value in (1, 2):
            obj.storage.put("k", value)
            with obj.unlocked():
                pass

    obj.run_exclusive(twice)
    assert calls == [None, 1, 2]


def test_unlocked_where_the_work_so_far_cannot_be_committed_is_refused() -> None:
    """In the caller's transaction, a storage transaction, another object's turn, or no turn: ``CannotUnlock``."""
    counter, other = Counter.objects.get_by_name("a"), Counter.objects.get_by_name("b")

    def unlock() -> None:
        with counter.unlocked():
            raise AssertionError("let in")

    def unlock_in_transaction() -> None:
        with counter.storage.transaction():
            unlock()

    with pytest.raises(CannotUnlock, match="outside of a turn"):
        unlock()
    with pytest.raises(CannotUnlock), transaction.atomic():
        counter.run_exclusive(unlock)
    for call in (unlock_in_transaction, lambda: other.run_exclusive(lambda: counter.run_exclusive(unlock))):
        with pytest.raises(CannotUnlock):
            counter.run_exclusive(call)
    with pytest.raises(CannotUnlock):
        other.run_exclusive(lambda: counter.run_exclusive(unlock))
    assert not Object.objects.exists()


@pytest.mark.parametrize("is_alarm", [False, True])
@pytest.mark.parametrize("swallows", [False, True])
def test_object_deleted_while_unlocked_is_not_resurrected(script: Script, is_alarm: bool, swallows: bool) -> None:
    """A run whose object was deleted, even with one of the same name made again, is refused and leaves nothing."""
    obj, refused = armed(), []

    def delete_and_make_again() -> None:
        Scripted.objects.get_by_name("a").delete()
        Scripted.objects.get_by_name("a").storage.put("fresh", 1)

    def work(obj: Scripted, info: Any = None) -> None:
        obj.storage.put("before", 1)
        try:
            with obj.unlocked():
                InThread(delete_and_make_again).result()
        except RunSuperseded as error:
            refused.append(error)
            with pytest.raises(RunSuperseded):
                obj.storage.put("after", 1)
            with pytest.raises(RunSuperseded):
                Scripted.objects.get_by_name("a").storage.get("fresh")
            if not swallows:
                raise

    if is_alarm:
        script.alarm = work
        with FakeClock() as clock:
            clock.advance(timedelta(seconds=1))
            fired = fire(Alarm.objects.get().pk)
        assert fired.verdict is Verdict.SUPERSEDED
    else:
        with pytest.raises(RunSuperseded):
            obj.run_exclusive(lambda: work(obj))
    assert refused
    fresh = Scripted.objects.get_by_name("a")
    assert fresh.storage.list() == {"fresh": 1}
    assert fresh.storage.get_alarm() is None
    assert not AlarmRun.objects.exists()


def test_object_that_cannot_be_locked_again_is_busy_and_writes_nothing_old(settings: Settings) -> None:
    """A method that cannot lock again gets ``ObjectBusy``, and one that swallows it overwrites nobody's work."""
    counter = Counter.objects.get_by_name("a")
    inside, leave = threading.Event(), threading.Event()

    def keep_locked() -> None:
        other = Counter.objects.get_by_name("a")
        with other.storage.transaction():
            other.storage.put("count", 50)
            inside.set()
            await_event(leave)

    def work() -> None:
        counter.storage.put("count", 1)
        try:
            with counter.unlocked():
                beside.append(InThread(keep_locked))
                await_event(inside)
        except ObjectBusy:
            seen.append("busy")
        finally:
            leave.set()
            beside[0].result()

    beside: list[InThread[None]] = []
    seen: list[str] = []
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(milliseconds=200)}
    with pytest.raises((ObjectBusy, RunSuperseded)):
        counter.run_exclusive(work)
    assert seen == ["busy"]
    assert counter.storage.get("count") == 50
    assert counter.add() == 51


def test_a_plain_method_that_unlocks_takes_no_lease(script: Script) -> None:
    """The alarm of an object may run while a method of it is unlocked."""
    obj = armed()

    def work() -> None:
        with obj.unlocked():
            assert [run.outcome for run in InThread(run_due_alarms).result()] == ["succeeded"]

    with FakeClock() as clock:
        clock.advance(timedelta(seconds=1))
        obj.run_exclusive(work)
    assert len(script.infos) == 1


def test_a_second_unlock_that_is_refused_leaves_the_run_its_lease_of_before(script: Script) -> None:
    """Its commit undid the second lease, so the run still counts: as failed, to be retried, not as superseded."""

    def unlock_twice(obj: Scripted, info: object) -> None:
        with obj.unlocked():
            pass
        transaction.set_rollback(True)
        with obj.unlocked():
            pass

    script.alarm = unlock_twice
    fired = fire(armed().pk)
    assert fired.verdict is Verdict.FAILED
    slot = Alarm.objects.get()
    assert (slot.leased_until, slot.retry_count) == (None, 1)
    assert AlarmRun.objects.get().outcome == "failed"
