"""A block that is rolled back takes its storage writes and alarm changes along, though none was in the database yet."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from durable_objects import AlarmInfo, DurableObjectError, RunSuperseded
from durable_objects.tables import Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Note, Script, Scripted

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


class Undone(Exception):
    """Rolls a block back."""


def undoing() -> AbstractContextManager[object]:
    """Around an ``atomic()`` block that raises ``Undone``."""
    return pytest.raises(Undone)


def test_put_before_and_inside_a_rolled_back_atomic_with_a_list_in_it() -> None:
    """A rolled-back block loses its own puts and deletes, keeps those from before it, and a list inside sees both."""
    storage = Counter.objects.get_by_name("a").storage
    storage.put("stored", 1)
    with storage.transaction():
        storage.put("before", 1)
        with undoing(), transaction.atomic():
            storage.put("before", 2)
            storage.put("inside", 2)
            storage.delete("stored")
            assert storage.list() == {"before": 2, "inside": 2}
            raise Undone
        assert storage.list() == {"before": 1, "stored": 1}
        assert storage.get_many(["before", "inside", "stored"]) == {"before": 1, "stored": 1}
    assert storage.list() == {"before": 1, "stored": 1}


def test_put_after_a_rolled_back_block_inside_a_kept_one() -> None:
    """What is written in a block after an inner one was rolled back is kept with the block."""
    storage = Counter.objects.get_by_name("a").storage
    with storage.transaction():
        with transaction.atomic():
            with undoing(), transaction.atomic():
                storage.put("inner", 1)
                raise Undone
            storage.put("outer", 1)
        assert storage.list() == {"outer": 1}
    assert storage.list() == {"outer": 1}


def test_put_of_a_handler_after_a_block_it_rolled_back(script: Script) -> None:
    """A handler that undoes a part of its work and goes on keeps what it writes afterwards."""
    obj = Scripted.objects.get_by_name("a")

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with undoing(), obj.storage.transaction():
            obj.storage.put("part", 1)
            obj.storage.set_alarm(HOUR)
            raise Undone
        obj.storage.put("rest", 1)

    script.alarm = alarm
    with FakeClock():
        obj.storage.set_alarm(timedelta(0))
        assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert obj.storage.list() == {"rest": 1}
    assert obj.storage.get_alarm() is None


def test_kept_blocks_are_undone_with_the_block_around_them() -> None:
    """A block that ended well inside one that is rolled back is gone too, whatever came between."""
    storage = Counter.objects.get_by_name("a").storage
    with storage.transaction():
        storage.put("k", 0)
        with undoing(), transaction.atomic():
            with transaction.atomic():
                storage.put("k", 1)
            assert storage.get("k") == 1
            with transaction.atomic():
                storage.put("l", 1)
            raise Undone
        assert storage.list() == {"k": 0}
        with transaction.atomic(), transaction.atomic():
            storage.put("m", 1)
    assert storage.list() == {"k": 0, "m": 1}


def test_delete_all_in_a_rolled_back_block_deletes_nothing(script: Script) -> None:
    """``delete_all()`` is undone with its block, the alarm too, and hides what is stored until then."""
    storage = Scripted.objects.get_by_name("a").storage
    storage.put_many({"a": 1, "b": 2})
    with FakeClock():
        storage.set_alarm(HOUR)
        at = storage.get_alarm()
        with storage.transaction():
            storage.put("c", 3)
            with undoing(), storage.transaction():
                storage.delete_all()
                storage.put("d", 4)
                assert storage.list() == {"d": 4}
                assert storage.get("a") is None
                assert storage.get_alarm() is None
                raise Undone
            assert storage.list() == {"a": 1, "b": 2, "c": 3}
            assert storage.get_alarm() == at
        assert storage.get_alarm() == at
    assert storage.list() == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("rolled_back", [False, True])
def test_alarm_changes_go_with_their_block(script: Script, rolled_back: bool) -> None:
    """Set and delete inside a block count when it ends well, and never when it does not (DO-55)."""
    storage = Scripted.objects.get_by_name("a").storage
    with FakeClock():
        storage.set_alarm(HOUR)
        before = storage.get_alarm()
        for when in (2 * HOUR, None):
            try:
                with storage.transaction(), transaction.atomic():
                    storage.delete_alarm() if when is None else storage.set_alarm(when)
                    inside = storage.get_alarm()
                    if rolled_back:
                        raise Undone
            except Undone:
                pass
            assert inside != before
            assert storage.get_alarm() == (before if rolled_back else inside)


def test_writes_survive_an_error_of_the_users_own_savepoint() -> None:
    """A refused row in the user's own block undoes that block alone."""
    counter = Counter.objects.get_by_name("a")
    Note.objects.create(text="taken")

    @transaction.atomic
    def add_and_clash() -> None:
        counter.add()
        Note.objects.create(text="taken")

    def work() -> None:
        counter.add()
        with pytest.raises(IntegrityError):
            add_and_clash()
        counter.add()

    counter.run_exclusive(work)
    assert counter.storage.get("count") == 2


def test_other_objects_writes_go_with_the_block_they_were_made_in() -> None:
    """A block undone around calls on two objects undoes both."""
    one, other = Counter.objects.get_by_name("one"), Counter.objects.get_by_name("other")

    def work() -> None:
        with undoing(), transaction.atomic():
            one.add()
            other.add()
            raise Undone
        other.add(5)

    one.run_exclusive(work)
    assert (one.storage.get("count"), other.storage.get("count")) == (None, 5)


def test_deletion_of_the_object_in_a_rolled_back_block_is_undone() -> None:
    """A turn whose ``delete()`` was rolled back goes on with its object, and what it writes is kept."""
    counter = Counter.objects.get_by_name("a")
    counter.add()

    def work() -> None:
        with undoing(), transaction.atomic():
            counter.delete()
            with pytest.raises(DurableObjectError):
                counter.add()
            raise Undone
        counter.add()

    counter.run_exclusive(work)
    assert Counter.objects.get().storage.get("count") == 2


def test_failing_handler_that_had_deleted_its_object_is_counted(script: Script) -> None:
    """A handler that deletes its object and then raises has deleted nothing, and is retried."""
    obj = Scripted.objects.get_by_name("a")

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.delete()
        raise Undone

    script.alarm = alarm
    with FakeClock() as clock:
        obj.storage.set_alarm(timedelta(0))
        assert [run.outcome for run in run_due_alarms()] == ["failed"]
        clock.advance(timedelta(seconds=2))
        assert [(run.outcome, run.retry_count) for run in run_due_alarms()] == [("failed", 1)]


def test_handler_that_deletes_its_object_ends_well(script: Script) -> None:
    """An object may delete itself in its alarm: nothing of it is left."""
    obj = Scripted.objects.get_by_name("a")

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        obj.delete()
        with pytest.raises(RunSuperseded):
            obj.storage.get("k")

    script.alarm = alarm
    with FakeClock():
        obj.storage.set_alarm(timedelta(0))
        run_due_alarms(raise_errors=True)
    assert not Object.objects.exists()
