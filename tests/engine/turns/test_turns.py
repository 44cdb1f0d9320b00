"""A turn is one lock, one transaction, one ``initialize()``, and all or nothing."""

from __future__ import annotations

import gc
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from durable_objects import DurableObjectError
from durable_objects.tables import Alarm, Entry, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at
from durable_objects.turns.transaction import LockedTransaction
from durable_objects.turns.turn import Turn
from tests.models import Counter, Note, Script, Scripted
from tests.support.threads import run_in_threads

pytestmark = pytest.mark.django_db


def test_what_a_failing_turn_wrote_is_undone(script: Script) -> None:
    """Entries, alarm, the object's own row and the caller's own models go together when the method raises."""
    obj = Scripted.objects.get_by_name("a")

    def fail() -> None:
        obj.storage.put("k", 1)
        obj.storage.set_alarm(timedelta(0))
        Note.objects.create(text="in the turn")
        raise KeyError("no")

    with pytest.raises(KeyError):
        obj.run_exclusive(fail)
    assert [model.objects.count() for model in (Object, Entry, Alarm, Note)] == [0, 0, 0, 0]


def test_what_a_turn_wrote_is_there_together_with_own_models(script: Script) -> None:
    """A method's storage, alarm and own models are all there when it returned."""
    obj = Scripted.objects.get_by_name("a")

    def work() -> None:
        obj.storage.put("k", 1)
        obj.storage.set_alarm(timedelta(hours=1))
        Note.objects.create(text="in the turn")

    obj.run_exclusive(work)
    assert obj.storage.list() == {"k": 1}
    assert obj.storage.get_alarm()
    assert Note.objects.count() == 1


def test_own_models_that_fail_at_the_end_take_the_storage_along() -> None:
    """A constraint that refuses the method's own rows refuses its storage as well."""
    counter = Counter.objects.get_by_name("a")
    Note.objects.create(text="taken")

    def clash() -> None:
        counter.storage.put("k", 1)
        Note.objects.create(text="taken")

    with pytest.raises(IntegrityError):
        counter.run_exclusive(clash)
    assert counter.storage.list() == {}


def test_turn_that_swallowed_an_error_of_the_database_does_not_vanish_in_silence() -> None:
    """A method that goes on after a refused statement, outside of a block of its own, raises rather than lose work."""
    counter = Counter.objects.get_by_name("a")
    Note.objects.create(text="taken")

    def swallow() -> None:
        Note.objects.create(text="lost otherwise")
        with suppress(IntegrityError):
            Note.objects.create(text="taken")

    with pytest.raises(DatabaseError):
        counter.run_exclusive(swallow)
    assert Note.objects.count() == 1


def test_initialize_runs_once_per_outermost_turn(script: Script) -> None:
    """Calls inside a turn join it, by any instance, without another ``initialize()``; plain reads are no turns."""
    obj = Scripted.objects.get_by_name("a")
    calls: list[Scripted] = []
    script.initialize = calls.append

    def nested() -> None:
        obj.storage.put("k", 1)
        Scripted.objects.get_by_name("a").run_exclusive(lambda: obj.storage.put("l", 2))

    obj.run_exclusive(nested)
    assert len(calls) == 1
    obj.storage.put("m", 3)
    assert len(calls) == 2
    assert obj.storage.get("m") == 3
    assert obj.storage.get_alarm() is None
    assert len(calls) == 2


def test_what_initialize_raises_is_the_callers_and_undoes_the_turn(script: Script) -> None:
    """A failing ``initialize()`` lets nothing of the call happen."""
    obj = Scripted.objects.get_by_name("a")

    def fail(obj: Scripted) -> None:
        obj.storage.put("half", 1)
        raise LookupError("not today")

    script.initialize = fail
    with pytest.raises(LookupError):
        obj.storage.put("k", 1)
    assert not Object.objects.exists()


def test_second_instance_of_the_same_object_inside_a_turn_joins_it() -> None:
    """A second instance inside a turn sees what the first wrote, adds to it, and fails with it."""
    first, second = Counter.objects.get_by_name("a"), Counter.objects.get_by_name("a")
    assert first.run_exclusive(lambda: [first.add(), second.add(), first.add()]) == [1, 2, 3]
    assert second.storage.get("count") == 3
    assert second.pk == first.pk

    def fail() -> None:
        second.add()
        raise KeyError

    with pytest.raises(KeyError):
        first.run_exclusive(fail)
    assert first.storage.get("count") == 3


def test_joined_call_that_raises_and_is_caught_keeps_what_it_wrote() -> None:
    """Joining is no savepoint: only ``storage.transaction()`` undoes a part of a turn."""
    counter = Counter.objects.get_by_name("a")

    def fail(key: str) -> None:
        counter.storage.put(key, 1)
        raise KeyError

    def outer() -> None:
        with pytest.raises(KeyError):
            counter.run_exclusive(lambda: fail("joined"))
        with pytest.raises(KeyError), counter.storage.transaction():
            fail("undone")

    counter.run_exclusive(outer)
    assert counter.storage.list() == {"joined": 1}


def test_other_object_inside_a_turn_has_a_savepoint_of_its_own() -> None:
    """A call on another object commits with the turn around it, and alone is undone when it alone fails."""
    one, other = Counter.objects.get_by_name("one"), Counter.objects.get_by_name("other")

    def fail_in_other() -> None:
        one.add()
        other.add(10)
        raise KeyError

    def outer() -> None:
        other.add()
        with pytest.raises(KeyError):
            other.run_exclusive(fail_in_other)
        one.add(100)

    one.run_exclusive(outer)
    assert (one.storage.get("count"), other.storage.get("count")) == (100, 1)
    with pytest.raises(KeyError):
        one.run_exclusive(fail_in_other)
    assert (one.storage.get("count"), other.storage.get("count")) == (100, 1)


def test_turns_inside_the_callers_transaction_are_part_of_it() -> None:
    """What turns inside ``atomic()`` wrote is seen by the later ones, and undone when the block is."""
    counter = Counter.objects.get_by_name("a")

    @transaction.atomic
    def add_in_vain() -> None:
        assert counter.add() == 3
        raise KeyError

    with transaction.atomic():
        assert [counter.add(), counter.add()] == [1, 2]
        with pytest.raises(KeyError):
            add_in_vain()
        assert counter.add() == 3
    assert counter.storage.get("count") == 3


@pytest.mark.django_db(transaction=True)
def test_one_instance_used_by_eight_threads() -> None:
    """An instance keeps no turn of its own: threads that share it run one after the other and lose nothing."""
    counter = Counter.objects.get_by_name("shared")
    counts = run_in_threads(8, lambda number: [counter.add() for _ in range(5)])
    assert sorted(count for several in counts for count in several) == list(range(1, 41))
    assert counter.storage.get("count") == 40


@pytest.mark.django_db(transaction=True)
def test_first_calls_of_many_threads_make_one_object() -> None:
    """Eight first calls at once, by eight instances, meet one row."""
    run_in_threads(8, lambda number: Counter.objects.get_by_name("new").add())
    assert Counter.objects.get().storage.get("count") == 8


def test_plain_reads_outside_a_turn_write_nothing(script: Script) -> None:
    """Reading an object that was never used answers empty, and makes no row."""
    obj = Scripted.objects.get_by_name("never")
    with CaptureQueriesContext(connection) as queries:
        assert obj.storage.get("k", "nothing") == "nothing"
        assert obj.storage.get_many(["k"]) == {}
        assert obj.storage.list() == {}
        assert obj.storage.get_alarm() is None
    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert obj.pk is None
    assert not Object.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["turn.before_commit", "turn.after_commit"])
def test_death_around_the_commit_leaves_all_or_nothing(script: Script, point: str) -> None:
    """A process that dies before the commit leaves nothing; one that dies after it leaves everything."""
    obj = Scripted.objects.get_by_name("a")

    def work() -> None:
        obj.storage.put("k", 1)
        obj.storage.set_alarm(timedelta(hours=1))
        Note.objects.create(text="in the turn")

    with FakeClock(), crash_at(point), pytest.raises(SimulatedCrash):
        obj.run_exclusive(work)
    committed = int(point == "turn.after_commit")
    assert [model.objects.count() for model in (Object, Entry, Alarm, Note)] == [committed] * 4
    obj.storage.put("k", 2)
    assert obj.storage.get("k") == 2


def test_turn_of_an_unknown_kind_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content types are looked up, never made: a class that was not migrated is an error that says so."""
    monkeypatch.setattr(Counter._meta, "model_name", "unmigrated")
    with pytest.raises(DurableObjectError, match="run migrate"):
        Counter.objects.get_by_name("a").add()
    assert not Object.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_turn_leaves_nothing_to_the_garbage_collector(script: Script) -> None:
    """What a turn was made of is gone with it, without a cycle that the collector has to find."""
    obj = Scripted.objects.get_by_name("a")
    obj.storage.put("first", 1)
    gc.collect()
    gc.disable()
    try:
        before = _turns_in_memory()  # of tests before this one, which something may still hold
        obj.storage.put("second", 2)
        left = [each for each in _turns_in_memory() if not any(each is one for one in before)]
    finally:
        gc.enable()
    assert left == []


def _turns_in_memory() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Turn | LockedTransaction)]
