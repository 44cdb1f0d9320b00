"""Async code calls objects by ``acall`` and the twins of the storage: the same promises, with few threads."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from durable_objects import ObjectBusy
from durable_objects.models import Object, Storage
from durable_objects.schedules import Schedules
from durable_objects.testing import SimulatedCrash, crash_at
from durable_objects.turns import combining
from durable_objects.turns.handle import Key
from durable_objects.turns.turn import Turn
from tests.models import Counter, Scripted
from tests.support.combined_calls import locked
from tests.support.event_loops import (
    answers_of,
    hit,
    hit_and_unlock,
    hit_slowly,
    note,
    one_thread_kept,
    run,
    until,
    waiting,
)
from tests.support.threads import InThread, await_event, await_that

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_for_no_time")]

MANY = 200


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which turns were begun."""
    begun: list[str] = []
    enter = Turn.__enter__

    def counted(turn: Turn) -> Turn:
        begun.append(threading.current_thread().name)
        return enter(turn)

    monkeypatch.setattr(Turn, "__enter__", counted)
    return begun


TWINS = ["get", "get_many", "put", "put_many", "delete", "delete_many", "list", "delete_all"] + [
    f"{verb}_alarm" for verb in ("set", "get", "delete")
]


def test_each_method_of_storage_and_schedules_has_a_twin() -> None:
    """All but ``transaction()``, a block that no thread could keep open: the same arguments, and a coroutine."""
    assert {name for name in vars(Schedules) if name.startswith("a")} == {
        f"a{name}" for name in vars(Schedules) if not name.startswith(("_", "a")) and name != "info"
    }
    plain = {name for name in vars(Storage) if not name.startswith("_") and f"a{name}" in vars(Storage)}
    assert plain == set(TWINS) == {
        name for name in vars(Storage) if not name.startswith(("_", "a"))
    } - {"transaction"}  # fmt: skip
    for name in TWINS:
        twin = getattr(Storage, f"a{name}")
        assert inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin) == inspect.signature(getattr(Storage, name))
        assert twin.__name__ == f"a{name}"


def test_twins_do_as_the_storage_does(obj: Scripted) -> None:
    """Each twin reads and writes what its plain method would, typed values and alarm included."""
    storage = obj.storage

    async def main() -> None:
        await storage.aput("a", (1, timedelta(1)))
        await storage.aput_many({"b": 2, "c": 3})
        assert await storage.aget("a") == (1, timedelta(1))
        assert await storage.aget("none", 7) == 7
        assert await storage.aget_many(["a", "b", "x"]) == {"a": (1, timedelta(1)), "b": 2}
        assert await storage.alist(start="b", limit=1) == {"b": 2}
        assert (await storage.adelete("a"), await storage.adelete("a")) == (True, False)
        assert await storage.adelete_many(["b", "x"]) == 1
        await storage.aset_alarm(timedelta(hours=1))
        assert await storage.aget_alarm() is not None
        await storage.adelete_alarm()
        assert await storage.aget_alarm() is None
        await Scripted.objects.aset_alarms({"a": timedelta(hours=1)})
        await storage.adelete_all(keep_alarm=True)
        await obj.schedules.aset("daily", "alarm_died", every=timedelta(days=1), args=[None, None])
        assert [each.name for each in await obj.schedules.alist()] == ["daily"]
        assert await obj.schedules.acancel("daily")

    run(main)
    assert storage.list() == {}
    assert storage.get_alarm() is not None


def test_acall_returns_what_the_method_returns(obj: Scripted) -> None:
    """A method with its arguments, and any function that takes the object; in a thread, all or nothing."""
    counter = Counter.objects.get_by_name("a")

    def twice(one: Counter, by: int) -> int:
        one.add(by)
        return one.add(by)

    def fail(one: Counter) -> None:
        one.add(100)
        raise ValueError("mine")

    async def main() -> None:
        assert await counter.acall(Counter.add, 5) == 5
        assert await counter.acall(Counter.add, by=1) == 6
        assert await counter.acall(twice, 2) == 10
        with pytest.raises(ValueError, match="mine"):
            await counter.acall(lambda one: one.run_exclusive(lambda: fail(one)))
        with pytest.raises(RuntimeError, match="the call raised StopIteration"):
            await counter.acall(lambda one: next(iter(())))

    run(main)
    assert counter.storage.get("count") == 10


@pytest.mark.parametrize("kind", ["async function", "generator", "async generator", "method"])
def test_what_acall_refuses(kind: str) -> None:
    """Async functions, whose body would run after their turn, and methods that have an object: in words."""

    async def as_coroutine(one: Counter) -> None: ...

    def as_generator(one: Counter) -> Any:
        yield

    async def as_async_generator(one: Counter) -> Any:
        yield

    counter = Counter.objects.get_by_name("a")
    refused: dict[str, Any] = {
        "async function": as_coroutine, "generator": as_generator, "async generator": as_async_generator,
        "method": counter.add,
    }  # fmt: skip
    words = r"acall\(Counter\.add, …\)" if kind == "method" else f"of an? {kind}: it takes plain functions"
    with pytest.raises(TypeError, match=words):
        run(lambda: counter.acall(refused[kind]))
    assert not Object.objects.exists()


def test_many_calls_at_once_share_turns_and_no_thread_each(turns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that combine, by hundreds of tasks: few turns, one thread, an answer of its own for each."""
    hits = Counter.objects.get_by_name("a")
    before = threading.active_count()
    most: list[int] = []
    taken: list[int] = []
    run_all = combining.run_all

    def counted(key: Key, calls: Sequence[combining.Call]) -> None:
        taken.append(len(calls))
        run_all(key, calls)

    monkeypatch.setattr(combining, "run_all", counted)

    def count(one: Counter) -> int:
        most.append(threading.active_count())
        return one.storage.get("count", 0)  # type: ignore[no-any-return]  # an int

    async def main() -> list[int]:
        numbers = await asyncio.gather(*(hits.acall(hit) for _ in range(MANY)))
        await hits.acall(count)
        return numbers

    assert sorted(run(main)) == list(range(1, MANY + 1))
    assert len(turns) <= MANY / 20, "a turn takes 64 of them"
    assert len(set(turns)) == 1
    assert max(most) <= before + 1
    assert max(taken) <= combining.MAX_CALLS, "and answered before the next are taken"


def test_calls_that_do_not_combine_are_one_after_the_other(turns: list[str]) -> None:
    """Outside of requests they have one thread for all, and each a turn of its own."""
    counter = Counter.objects.get_by_name("a")
    assert sorted(run(lambda: answers_of(*(counter.acall(Counter.add) for _ in range(20))))) == list(range(1, 21))
    assert (len(turns), len(set(turns))) == (20, 1)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def test_each_combined_call_has_its_own_error_and_its_own_context() -> None:
    """One that raises undoes itself only, and context variables are those of the task that called."""
    hits = Counter.objects.get_by_name("a")

    async def call_as(name: str) -> Any:
        variable.set(name)
        return await hits.acall(note, variable.get, fails=name == "b")

    first, failed, last = run(lambda: answers_of(*(call_as(name) for name in "abc")))
    assert (first, repr(failed), last) == ("a", "ValueError('mine')", "c")
    assert hits.storage.list() == {"a": True, "c": True}


def test_a_combined_call_that_needs_a_turn_of_its_own_gets_one() -> None:
    """One that unlocks among others: all of them are made, once each."""
    hits = Counter.objects.get_by_name("a")
    calls = [hits.acall(hit), hits.acall(hit_and_unlock), hits.acall(hit)]
    assert sorted(run(lambda: answers_of(*calls))) == [1, 2, 3]


def test_a_locked_object_is_busy_for_all_who_wait(settings: Any) -> None:
    """Tasks wait for ``LOCK_TIMEOUT``, not each after the one before, and nothing is made later."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(seconds=0.5)}
    hits = Counter.objects.get_by_name("a")

    async def main() -> list[Any]:
        async with asyncio.timeout(3.0):
            return await answers_of(*(hits.acall(hit) for _ in range(combining.MAX_CALLS + 5)))

    with locked(hits):
        answers = run(main)
    assert {type(answer) for answer in answers} == {ObjectBusy}
    assert hits.storage.get("count") is None
    assert run(lambda: hits.acall(hit)) == 1


def test_nobody_waits_for_a_busy_thread_longer_than_for_a_lock(settings: Any) -> None:
    """Who waits for another task to take its call along is refused after ``LOCK_TIMEOUT``, and its call is not made."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(seconds=0.3)}
    hits = Counter.objects.get_by_name("a")

    async def main() -> list[Any]:
        async with one_thread_kept():
            leads, *others = [asyncio.ensure_future(hits.acall(hit)) for _ in range(3)]
            refused = await answers_of(*others)
        return [await leads, *refused]

    first, *refused = run(main)
    assert (first, [type(each) for each in refused]) == (1, [ObjectBusy] * 2)
    assert hits.storage.get("count") == 1


def test_a_crash_is_raised_to_everybody_in_the_turn() -> None:
    """When the process "dies" in a shared turn, no task waits forever, and nothing of it is stored."""
    hits = Counter.objects.get_by_name("a")
    with crash_at("turn.before_commit"):
        answers = run(lambda: answers_of(*(asyncio.ensure_future(caught(hits)) for _ in range(3))))
    assert {type(answer) for answer in answers} <= {SimulatedCrash, type(None)}
    assert hits.storage.get("count") is None


async def caught(hits: Counter) -> BaseException | None:
    """What the call raised, so that no event loop sees it."""
    try:
        await hits.acall(hit)
    except BaseException as error:  # noqa: BLE001  it is what is asked for
        return error
    return None


# -- cancelling


def test_cancelled_while_it_waits_it_is_not_made() -> None:
    """A task that is cancelled before a thread has taken its call leaves nothing; its neighbours get their answers."""
    hits = Counter.objects.get_by_name("a")

    async def main() -> list[Any]:
        async with one_thread_kept():
            tasks = [asyncio.ensure_future(hits.acall(hit)) for _ in range(4)]
            await until(lambda: waiting() == 4)
            tasks[0].cancel()  # it was to lead
            tasks[2].cancel()
            await until(lambda: waiting() == 2)
        return await answers_of(*tasks)

    first, second, third, fourth = run(main)
    assert [type(first), type(third)] == [asyncio.CancelledError] * 2
    assert sorted([second, fourth]) == [1, 2]
    assert hits.storage.get("count") == 2


@pytest.mark.parametrize("which", [[0], [1], [0, 1]])
def test_cancelled_after_it_has_begun_it_commits_as_a_whole(which: list[int]) -> None:
    """Whoever cancels a call that a thread has taken, the first or another, gets ``CancelledError`` at once; all of it
    is stored, once, and the others get their answers.
    """
    hits = Counter.objects.get_by_name("a")

    async def main() -> list[Any]:
        begun, go_on = threading.Event(), threading.Event()
        async with one_thread_kept():
            tasks = [asyncio.ensure_future(hits.acall(hit_slowly, begun, go_on)) for _ in range(3)]
            await until(lambda: waiting() == 3)
        await until(begun.is_set)
        for number in which:
            tasks[number].cancel()
            await asyncio.wait([tasks[number]])
        go_on.set()
        return await answers_of(*tasks)

    answers = run(main)
    for number in which:
        assert isinstance(answers[number], asyncio.CancelledError)
        answers[number] = number + 1
    assert answers == [1, 2, 3]
    await_that(lambda: hits.storage.list() == {"count": 3, "slow": 3})


def test_cancelled_call_of_its_own_commits_as_a_whole_or_not_at_all() -> None:
    """The same for a call that does not combine: begun, it is stored as a whole; waiting for its thread, not made."""
    counter = Counter.objects.get_by_name("a")

    async def main() -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slowly(one: Counter) -> None:
            def add() -> None:
                one.storage.put("first", 1)
                begun.set()
                await_event(go_on)
                one.storage.put("second", 1)

            one.run_exclusive(add)

        running, waits = (asyncio.ensure_future(counter.acall(call)) for call in (slowly, lambda one: one.add()))
        await until(begun.is_set)
        running.cancel()
        waits.cancel()
        assert [type(answer) for answer in await answers_of(running, waits)] == [asyncio.CancelledError] * 2
        go_on.set()

    run(main)
    await_that(lambda: counter.storage.list() == {"first": 1, "second": 1})


def test_threads_and_tasks_share_turns(turns: list[str]) -> None:
    """Calls of threads and of tasks on one object are in one line, and each has its answer."""
    hits = Counter.objects.get_by_name("a")
    with locked(hits):
        led = InThread(lambda: hit(hits))
        await_that(lambda: hits.key in combining._lines)
        tasks = InThread(lambda: run(lambda: answers_of(*(hits.acall(hit) for _ in range(5)))))
        await_that(lambda: len(combining._lines[hits.key]) >= 1)
        turns.clear()
    assert sorted([led.result(), *tasks.result()]) == [1, 2, 3, 4, 5, 6]
    assert len(turns) <= 3
