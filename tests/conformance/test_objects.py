"""Names, handles, and what becomes of objects when they fail or their class changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext

from durable_objects import AlarmInfo, DurableObjectError, InvalidName, ObjectBusy, RunSuperseded
from durable_objects.models import Alarm, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.scenes import HOUR, NOW, SECOND, Boom, again, outcomes, slot
from tests.models import Counter, LoudCounter, Script, Scripted
from tests.support.another_class import make_of

pytestmark = pytest.mark.django_db


@behaviour("DO-83", "a name is always the same object of its class, of another class another; unique ones are random")
def test_do_83_class_and_name_are_the_object(script: Script) -> None:
    """Two handles of one class and name are one object; asking for one, by name or unique, makes nothing."""
    assert len({Counter.objects.new_unique().name for _ in range(10)}) == 10
    assert Counter.objects.get_by_name("a") == Counter.objects.get_by_name("a")
    assert not Object.objects.exists()
    Counter.objects.get_by_name("a").add(3)
    assert Counter.objects.get_by_name("a").storage.get("count") == 3
    for other in (LoudCounter.objects.get_by_name("a"), Counter.objects.get_by_name("b"), again()):
        assert other != Counter.objects.get_by_name("a")
        assert other.storage.list() == {}


@behaviour("DO-86", "`getByName(n)` answers a stub at once, without any input or output")
def test_do_86_a_handle_costs_nothing() -> None:
    """Getting a handle makes no query."""
    with CaptureQueriesContext(connection) as queries:
        Counter.objects.get_by_name("a")
        Counter.objects.new_unique()
    assert len(queries) == 0


@behaviour(
    "J13",
    "id name, equality, getByName; 64 nested calls of blockConcurrencyWhile at most",
    differs="no limit; nothing to do",
)
@behaviour(
    "DO-81",
    "`blockConcurrencyWhile(fn)`: nothing else is delivered until it ends; a throw resets the object; 30 s at most",
    differs="`initialize()` is the place: it runs under the lock before each call, what it raises is the call's error. "
    "No limit of its own: who waits gets `ObjectBusy` after LOCK_TIMEOUT. Calls may be nested to any depth",
)
def test_do_81_initialize_comes_before_each_call(obj: Scripted, script: Script) -> None:
    """``initialize()`` runs once per outermost call, in its transaction; one that fails lets nothing of it happen."""

    def nested(depth: int) -> int:
        return depth if depth == 100 else again().run_exclusive(lambda: nested(depth + 1))

    def count(obj: Scripted) -> None:
        obj.storage.put("calls", obj.storage.get("calls", 0) + 1)

    script.initialize = count
    assert obj.run_exclusive(lambda: nested(0)) == 100
    assert obj.storage.get("calls") == 1

    def refuse(obj: Scripted) -> None:
        count(obj)
        raise Boom

    script.initialize = refuse
    with pytest.raises(Boom):
        obj.storage.put("k", 1)
    script.initialize = lambda obj: None
    assert obj.storage.list() == {"calls": 1}
    assert (obj, {obj}, obj.name) == (copy.copy(obj), {again()}, "a")


@behaviour("DO-88", "calls on one stub arrive in call order")
def test_do_88_calls_come_in_order(obj: Scripted, script: Script) -> None:
    """A call has ended when it returns, so the next one sees it."""
    for number in range(5):
        again().run_exclusive(lambda number=number: obj.storage.put("log", [*obj.storage.get("log", []), number]))  # type: ignore[misc]  # inferred
    assert obj.storage.get("log") == [0, 1, 2, 3, 4]


@behaviour(
    "DO-90",
    "errors carry flags: remote, retryable, overloaded, reset",
    differs="classes instead: what the object's code raises comes out as it is; `ObjectBusy` can be tried again; "
    "`RunSuperseded` must not; all of the engine's own are a `DurableObjectError`",
)
def test_do_90_errors_are_classes(obj: Scripted, script: Script) -> None:
    """The object's own error reaches the caller as the very same one, and is none of the engine's."""
    own = Boom("mine")

    def work() -> None:
        raise own

    with pytest.raises(Boom) as caught:
        obj.run_exclusive(work)
    assert caught.value is own
    assert not isinstance(own, DurableObjectError)
    assert issubclass(ObjectBusy, DurableObjectError)
    assert issubclass(RunSuperseded, DurableObjectError)


@behaviour(
    "DO-92",
    "`ctx.abort()` ends the instance now; what was not flushed is lost; alarms already stored fire in the next one",
    differs="there is no abort: raise. The call's writes are lost, what was committed before stays, alarms run",
)
@behaviour("J12", "an alarm set before `abort()` fires in the new instance")
def test_do_92_an_alarm_outlives_what_set_it(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """After a call that raised, or whose process died, an alarm that was committed before runs, in a fresh instance."""

    def work(*, dies: bool) -> None:
        obj.storage.put("lost", 1)
        raise SimulatedCrash if dies else Boom

    obj.storage.set_alarm(SECOND)
    for dies in (False, True):
        with pytest.raises((Boom, SimulatedCrash)):
            obj.run_exclusive(lambda dies=dies: work(dies=dies))  # type: ignore[misc]  # inferred
    assert obj.storage.list() == {}
    clock.advance(SECOND)
    assert outcomes(run_due_alarms()) == ["succeeded"]


@behaviour(
    "DO-94",
    "classes are made, renamed and deleted by tagged migrations; deleting one destroys its data",
    differs="by Django's own: `migrate` makes a class known, `RenameModel` keeps its objects; "
    "those of a class that is gone stay, with their alarms, until you delete them",
)
def test_do_94_objects_of_a_class_that_is_gone_stay(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """While the code lacks the class, nothing runs and nothing is lost; where it is known again, the alarm runs."""
    obj.storage.set_alarm(NOW)
    kind = ContentType.objects.get_for_model(Scripted, for_concrete_model=False)
    gone = ContentType.objects.create(app_label="tests", model="gone")
    make_of(gone)
    assert run_due_alarms() == []
    with pytest.raises(ProtectedError):
        gone.delete()
    assert (slot().state, slot().retry_count) == ("armed", 0)
    make_of(kind)
    assert outcomes(run_due_alarms()) == ["succeeded"]


@behaviour("C14", "a database of an older schema keeps its alarms")
def test_c14_a_row_with_nothing_but_its_time_runs(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An armed row whose other columns have their defaults, as a migration that adds them leaves it, runs."""
    obj.storage.put("k", 1)
    Alarm.objects.create(
        object_id=obj.pk, kind_id=obj.kind_pk(), state="armed", scheduled_at=clock.now(), due_at=clock.now()
    )
    assert obj.storage.get_alarm() == clock.now()
    assert outcomes(run_due_alarms()) == ["succeeded"]


@behaviour("C15", "the stored name is not erased by a later set that does not carry it")
@behaviour(
    "C25",
    "unique ids have no name, short names are kept, those over 1,024 bytes are dropped",
    differs="each object has its name, unique ones too; one over 512 characters is refused when the handle is made",
)
def test_c15_the_name_stays(clock: FakeClock, script: Script) -> None:
    """However the object is reached, and whatever is set, its name is the one that it was got by."""
    longest = again("\U0001f600" * 512)
    unique = Scripted.objects.new_unique()
    for obj in (longest, unique):
        obj.storage.set_alarm(HOUR)
        [found] = Scripted.objects.filter(pk=obj.pk)
        found.storage.set_alarm(NOW)
        found.save()
    seen = set()
    script.alarm = lambda obj, info: seen.add(obj.name)
    run_due_alarms()
    assert seen == {longest.name, unique.name}
    wrong: list[Any] = ["x" * 513, "", None]
    for name in wrong:
        with pytest.raises(InvalidName):
            Scripted.objects.get_by_name(name)


@behaviour(
    "C1", "set and put together, read, clear; a call on an empty slot cancels; a good end deletes just its own time"
)
def test_c1_the_whole_life_of_an_alarm(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Set with other writes, read, cleared, set again, run, re-armed by its handler, ended."""

    def both() -> None:
        obj.storage.put("k", 1)
        obj.storage.set_alarm(HOUR)

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) == 1:
            obj.storage.set_alarm(HOUR)

    script.alarm = alarm
    obj.run_exclusive(both)
    assert (obj.storage.get("k"), obj.storage.get_alarm()) == (1, clock.now() + HOUR)
    obj.storage.delete_alarm()
    assert obj.storage.get_alarm() is None
    obj.run_exclusive(both)
    clock.advance(HOUR)
    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
        run_due_alarms()
    script.infos.clear()
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get_alarm() == clock.now() + HOUR
    clock.advance(HOUR)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get_alarm() is None
