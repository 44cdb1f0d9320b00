"""Calls of many threads share a turn, and nobody can tell: each has its own answer, its own error, its own layer."""

from __future__ import annotations

import contextvars
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from durable_objects import CannotUnlock, ObjectBusy, exclusive, failpoints
from durable_objects.testing import SimulatedCrash
from durable_objects.turns import combining
from tests.models import Counter, Note, Script, Scripted
from tests.support.combined_calls import Call, call_combined, call_while_locked, is_queued, locked, queue_calls
from tests.support.services import own_session
from tests.support.threads import InThread, await_that

pytestmark = pytest.mark.django_db(transaction=True)


def add(obj: Scripted) -> tuple[int, int]:
    """One more; the count, and the thread that ran this."""
    count = obj.storage.get("count", 0) + 1
    obj.storage.put("count", count)
    return count, threading.get_ident()


def fail(obj: Scripted) -> None:
    """Write, ask for something after the commit, and raise."""
    obj.storage.put("left behind", 1)
    obj.storage.set_alarm(timedelta(hours=1))
    transaction.on_commit(lambda: Note.objects.create(text="left behind"))
    add(obj)
    raise ValueError("mine")


def test_all_that_wait_share_one_turn(obj: Scripted, script: Script) -> None:
    """Calls of several threads run one after the other in one of them, each after an ``initialize()`` of its own."""
    seen: list[int] = []
    script.initialize = lambda one: seen.append(id(one))
    answers = [thread.result() for thread in call_while_locked(obj, add, add, add, add)]
    assert [count for count, _ in answers] == [1, 2, 3, 4]
    assert len({ident for _, ident in answers}) == 1
    assert len(set(seen[1:])) == 4, "an instance of its own for each"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_raises_leaves_nothing_and_its_neighbours_everything(obj: Scripted, place: int) -> None:
    """The caller gets its own error, leader or not; what the call wrote and asked for is gone, all else stays."""
    calls: list[Call] = [add, add]
    calls.insert(place, fail)
    threads = call_while_locked(obj, *calls)
    with pytest.raises(ValueError, match="mine"):
        threads.pop(place).result()
    assert [thread.result()[0] for thread in threads] == [1, 2]
    assert obj.storage.list() == {"count": 2}
    assert obj.storage.get_alarm() is None
    assert not Note.objects.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SimulatedCrash])
def test_interrupted_leader_takes_nobody_along(obj: Scripted, error: type[BaseException]) -> None:
    """Ctrl-C in the thread that leads ends its own call only; the others run, once each."""

    def interrupt(one: Scripted) -> None:
        add(one)
        raise error

    threads = call_while_locked(obj, interrupt, add, add)
    with pytest.raises(error):
        threads.pop(0).result()
    assert sorted(thread.result()[0] for thread in threads) == [1, 2]


def test_who_is_not_taken_in_time_is_told_so(obj: Scripted, settings: Any) -> None:
    """Leader and followers wait for ``LOCK_TIMEOUT`` at most; their calls are not made later."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(seconds=0.4)}
    with locked(obj):
        threads = queue_calls([add, add, add])
        await_that(lambda: all(thread.is_over() for thread in threads))
    for thread in threads:
        with pytest.raises(ObjectBusy, match=r"could not lock .* within LOCK_TIMEOUT \(0\.4 s\)"):
            thread.result()
    assert obj.storage.get("count") is None
    assert call_combined(add)[0] == 1


def test_calls_that_come_together_wait_together(obj: Scripted, settings: Any) -> None:
    """Calls that one thread makes for many are all refused within ``LOCK_TIMEOUT``, not each after the one before."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(seconds=0.5)}
    with locked(obj):
        together = InThread(lambda: Scripted.objects.call_each("a", [add] * 4))
        await_that(lambda: is_queued(3))
        behind = InThread(lambda: call_combined(add))
        started = time.monotonic()
        answers = together.result()
        assert time.monotonic() - started < 1.0
        with pytest.raises(ObjectBusy):
            behind.result()
    assert [type(answer) for answer in answers] == [ObjectBusy] * 4
    assert len({id(answer) for answer in answers}) == 4, "an error of its own for each caller"
    assert combining._lines == {}
    assert obj.storage.get("count") is None


def test_interrupted_in_line_leaves_the_line(obj: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a thread that waits ends its wait: its call is not made, and nobody waits for it to lead."""

    def interrupt(line: object, mine: object) -> None:
        raise KeyboardInterrupt

    with locked(obj):
        (leader,) = queue_calls([add])
        monkeypatch.setattr(combining, "_wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            combining.run_all(obj.key, [combining.Call(obj, lambda: add(obj)) for _ in range(2)])
    assert leader.result()[0] == 1
    assert combining._lines == {}
    assert obj.storage.get("count") == 1


def unlock(obj: Scripted) -> None:
    """Release the object in between."""
    add(obj)
    with obj.unlocked():
        pass
    add(obj)


def unlock_quietly(obj: Scripted) -> None:
    """The same, though it could not be done."""
    try:
        unlock(obj)
    except CannotUnlock:
        obj.storage.put("left behind", 1)


def call_another(obj: Scripted) -> None:
    """A turn of another object inside this one, and then an error: both are undone."""
    Counter.objects.get_by_name("other").add()
    raise ValueError("mine")


def swallow(obj: Scripted) -> None:
    """An error of the database that is swallowed."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nothing FROM nowhere")
    except DatabaseError:
        pass
    add(obj)


@pytest.mark.parametrize(
    ("odd", "count"), [(unlock, 4), (unlock_quietly, 4), (call_another, 2), (Scripted.delete, None), (swallow, None)]
)
def test_what_cannot_be_shared_runs_alone(obj: Scripted, odd: Call, count: int | None) -> None:
    """A call that unlocks, calls another object, deletes its own, or hides an error of the database does what it would
    do alone, and the others do too.
    """
    threads = call_while_locked(obj, add, odd, add)
    assert [threads[place].result()[0] > 0 for place in (0, 2)] == [True, True]
    if odd is call_another:
        with pytest.raises(ValueError, match="mine"):
            threads[1].result()
    assert Counter.objects.get_by_name("other").storage.get("count") is None
    if count is not None:
        assert obj.storage.list() == {"count": count}


def test_context_is_the_callers(obj: Scripted) -> None:
    """Context variables are those of the thread that called, whichever thread runs the call."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def call_as(name: str) -> str:
        variable.set(name)
        answer: str = call_combined(lambda one: variable.get())
        return answer

    with locked(obj):
        threads = [InThread(lambda name=name: call_as(name)) for name in ("x", "y", "z")]  # type: ignore[misc]  # a str
        await_that(lambda: len(combining._lines.get(Scripted.by_name("a").key, ())) == 2)
    assert [thread.result() for thread in threads] == ["x", "y", "z"]


def test_caller_inside_a_transaction_is_never_combined(obj: Scripted) -> None:
    """It joins its own transaction, as every turn does: rolled back, nothing of it stays."""
    with transaction.atomic():
        assert call_combined(add)[1] == threading.get_ident()
        assert call_combined(lambda one: one.key in combining._lines) is False, "others would be rolled back with it"
        transaction.set_rollback(True)
    assert obj.storage.get("count") is None


def test_hook_after_the_commit_of_a_shared_turn_may_call_its_object(obj: Scripted, settings: Any) -> None:
    """A call that the leader's thread makes from there, combined or several at once, waits for nobody."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(minutes=1)}
    counts: list[Any] = []

    def count(obj: Scripted) -> int:
        return add(obj)[0]

    def hook() -> None:
        counts.append(call_combined(count))
        counts.append([repr(answer) for answer in Scripted.objects.call_each("a", [count, count])])

    def call(obj: Scripted) -> None:
        add(obj)
        transaction.on_commit(hook)

    InThread(lambda: call_combined(call)).result()
    assert counts == [2, ["3", "4"]]
    assert call_combined(count) == 5


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="Django's SQLite commits without autocommit, too")
def test_without_autocommit_it_is_the_callers_to_commit(obj: Scripted) -> None:
    """Where the connection commits nothing by itself, a call is part of what is rolled back."""
    obj.save()
    transaction.set_autocommit(False)
    try:
        assert call_combined(lambda one: one.key in combining._lines) is False
        call_combined(add)
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert obj.storage.get("count") is None


def test_decorator_takes_the_option() -> None:
    """``@exclusive(combine=True)`` is a turn like ``@exclusive``."""

    @exclusive(combine=True)
    def put(counter: Counter, count: int) -> str:
        counter.storage.put("count", count)
        return "done"

    counter = Counter.objects.get_by_name("a")
    assert put(counter, count=7) == "done"
    assert counter.storage.get("count") == 7


@own_session
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="a connection that can be lost: set TEST_DATABASE_URL")
def test_lost_commit_is_told_to_every_caller(obj: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the connection breaks as the turn commits, each caller gets the error, and none is run a second time."""
    ran: list[int] = []

    def cut(point: str) -> None:
        if point == "turn.before_commit" and len(ran) == 3:
            pid = connection.connection.info.backend_pid
            InThread(lambda: connection.cursor().execute("SELECT pg_terminate_backend(%s, 5000)", [pid])).result()

    def count(one: Scripted) -> None:
        ran.append(1)
        add(one)

    monkeypatch.setattr(failpoints, "reach", cut)
    for thread in call_while_locked(obj, count, count, count):
        with pytest.raises(OperationalError, match="not known whether"):
            thread.result()
    assert len(ran) == 3
    assert obj.storage.get("count") is None
