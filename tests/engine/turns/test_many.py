"""Several calls of a method that wait together are made by one call of another, and nobody can tell."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import DatabaseError, connection
from hypothesis import given
from hypothesis import strategies as st

from durable_objects import exclusive
from durable_objects.turns import combining
from tests.models import Counter
from tests.support.combined_calls import is_queued, locked
from tests.support.event_loops import run
from tests.support.threads import InThread, await_that

pytestmark = pytest.mark.django_db(transaction=True)


def add_by_keyword(counter: Counter, number: int) -> int:
    """A call that is made by itself."""
    return counter.add_one(by=number)


def unlock(counter: Counter, number: int) -> int:
    """One that needs a turn of its own."""
    with counter.unlocked():
        pass
    return counter.add(number)


def hide_an_error(counter: Counter, number: int) -> int:
    """One that swallows an error of the database."""
    with contextlib.suppress(DatabaseError):
        connection.cursor().execute("SELECT * FROM nowhere")
    return counter.add(number)


def outcome(call: Callable[[], Any]) -> Any:
    """What it returned, or what it raised."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  to be compared
        return repr(error)


def together(name: str, calls: Sequence[functools.partial[Any]]) -> list[Any]:
    """The outcomes of calls that share a turn, in order, each by the instance that it is a call of."""
    mine = [combining.Call(call.args[0], call) for call in calls]
    combining.run_all(Counter.by_name(name).key, mine)
    return [outcome(each.outcome) for each in mine]


def test_calls_of_several_threads_are_made_by_one() -> None:
    """Each gets its own answer, and knows the object afterwards."""
    counters = [Counter.by_name("a") for _ in range(4)]
    with locked(counters[0]):
        threads = []
        for number, counter in enumerate(counters):
            threads.append(InThread(functools.partial(counter.add_one, 10**number)))
            await_that(functools.partial(is_queued, number, Counter))
    assert [thread.result() for thread in threads] == [1, 11, 111, 1111]
    assert counters[0].storage.list() == {"count": 1111, "at once": [4]}
    assert len({counter.pk for counter in counters}) == 1


@pytest.mark.usefixtures("kept_for_no_time")
def test_calls_of_several_tasks_are_made_by_one() -> None:
    """The same for ``acall``."""

    async def main() -> list[int]:
        return await asyncio.gather(*(Counter.by_name("a").acall(Counter.add_one, 1) for _ in range(5)))

    assert sorted(run(main)) == [1, 2, 3, 4, 5]
    assert max(Counter.by_name("a").storage.get("at once")) > 1


def test_when_it_raises_each_is_made_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Only who called it wrongly gets an error; nothing of the first try stays, and the log says why it took longer."""
    with caplog.at_level(logging.INFO, "durable_objects.turns.combining"):
        calls = [functools.partial(Counter.add_one, Counter.by_name("a"), number) for number in (1, -2, 3)]
        answers = together("a", calls)
    assert answers == [1, "ValueError('-2 is negative')", 4]
    assert Counter.by_name("a").storage.list() == {"count": 4, "at once": [1, 1]}
    assert "add_all() of 3 calls raised ValueError('-2 is negative'): each by itself" in caplog.text


@pytest.mark.parametrize(("given", "said"), [([1], "1 answers"), (None, "a NoneType")])
def test_who_is_not_answered_is_told_so(monkeypatch: pytest.MonkeyPatch, given: Any, said: str) -> None:
    """A list with an answer for each is what it has to return; otherwise nothing is stored, and every caller hears."""

    def add_all(counter: Counter, numbers: list[int]) -> Any:
        counter.add(sum(numbers))
        return given

    monkeypatch.setattr(Counter, "add_all", add_all)
    answers = together("a", [functools.partial(Counter.add_one, Counter.by_name("a"), 1) for _ in range(2)])
    assert all(f"returned {said} for 2 calls: return a list, one for each" in answer for answer in answers)
    assert Counter.by_name("a").storage.list() == {}


def test_a_subclass_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method is looked up by its name, as Python's own calls are."""
    monkeypatch.setattr(Counter, "add_all", lambda counter, numbers: [-1 for _ in numbers])
    calls = [functools.partial(Counter.add_one, Counter.by_name("a"), 1) for _ in range(2)]
    assert together("a", calls) == [-1, -1]


def doubled(method: Callable[[Any, int], int]) -> Callable[[Any, int], int]:
    """As decorators are written: the wrapper has the attributes of what it wraps."""

    @functools.wraps(method)
    def twice(counter: Counter, number: int) -> int:
        return method(counter, 2 * number)

    return twice


@pytest.mark.usefixtures("kept_for_no_time")
def test_a_decorator_around_the_method_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wraps such a method is run for each call."""
    monkeypatch.setattr(Counter, "add_one", doubled(Counter.add_one))

    async def main() -> list[int]:
        return await asyncio.gather(*(Counter.by_name("a").acall(Counter.add_one, 1) for _ in range(5)))

    assert sorted(run(main)) == [2, 4, 6, 8, 10]


def test_two_methods_are_never_made_by_one_call() -> None:
    """Calls of two that name the same are told apart."""

    @exclusive(combine=True, many="add_all")
    def take(counter: Counter, number: int) -> int:
        return counter.add(-number)

    calls = [functools.partial(method, Counter.by_name("a"), 1) for method in (Counter.add_one, take)]
    assert together("a", calls) == [1, 0]


def test_a_call_of_another_object_stays_that() -> None:
    """What shares a turn by ``run_combined`` may be a call of any object, and each is made on its own."""
    other = Counter.by_name("b")
    mine = [combining.Call(Counter.by_name("a"), functools.partial(Counter.add_one, other, 1)) for _ in range(2)]
    combining.run_all(mine[0].handle.key, mine)
    assert [outcome(each.outcome) for each in mine] == [1, 2]
    assert other.storage.get("count") == 2


def test_the_list_may_be_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the method's own, to be changed at will."""

    def add_all(counter: Counter, numbers: list[int]) -> list[int]:
        return [counter.add(numbers.pop(0)) for _ in range(len(numbers))]

    monkeypatch.setattr(Counter, "add_all", add_all)
    calls = [functools.partial(Counter.add_one, Counter.by_name("a"), 1) for _ in range(2)]
    assert together("a", calls) == [1, 2]


def test_a_first_try_leaves_nothing_in_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made again finds the context variables as its caller had them."""
    tries: contextvars.ContextVar[int] = contextvars.ContextVar("tries", default=0)

    def add_all(counter: Counter, numbers: list[int]) -> list[int]:
        tries.set(tries.get() + 1)
        if len(numbers) > 1:
            raise ValueError("one at a time")
        return [tries.get()]

    monkeypatch.setattr(Counter, "add_all", add_all)
    calls = [functools.partial(Counter.add_one, Counter.by_name("a"), 1) for _ in range(2)]
    assert together("a", calls) == [1, 1]


CALLS = st.tuples(
    st.sampled_from([Counter.add_one, Counter.add_one, Counter.add_one, add_by_keyword, unlock, hide_an_error]),
    st.integers(-1, 9),
)
counter_names = map("counter {}".format, range(10**9)).__next__


@given(st.lists(CALLS, min_size=1, max_size=8))
def test_nobody_can_tell(calls: list[tuple[Callable[[Counter, int], int], int]]) -> None:
    """Whatever comes together, answers, errors and the count are those of calls one after the other."""
    shared, alone = counter_names(), counter_names()
    found = together(shared, [functools.partial(call, Counter.by_name(shared), number) for call, number in calls])
    # What was hidden is found out when the turn ends.
    assert found == [outcome(functools.partial(_alone, call, alone, number)) for call, number in calls]
    counts = [Counter.by_name(name).storage.get("count") for name in (shared, alone)]
    assert counts[0] == counts[1]


def _alone(call: Callable[[Counter, int], int], name: str, number: int) -> int:
    counter = Counter.by_name(name)
    return counter.run_exclusive(lambda: call(counter, number))


@pytest.mark.parametrize(("combine", "many"), [(False, "add_all"), (True, Counter.add_all), (True, 5)])
def test_it_is_for_calls_that_combine(*, combine: bool, many: Any) -> None:
    """Anywhere else, and as anything but a name, it would be for nothing: ``TypeError`` at import."""
    with pytest.raises(TypeError, match="it names a method, as text, for calls with combine=True"):
        exclusive(combine=combine, many=many)


@pytest.mark.parametrize("method", [lambda counter: 0, lambda counter, one, two: 0, lambda counter, *, one: 0])
def test_it_is_for_a_method_of_one_argument(method: Any) -> None:
    """One whose calls it could never make is refused at import."""
    with pytest.raises(TypeError, match="cannot be called with one positional argument"):
        exclusive(combine=True, many="add_all")(method)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("missing", "the class does not have"),
        ("storage_is_no_method", "the class does not have"),
        ("later", "is an async function"),
        ("lazily", "is a generator"),
    ],
)
def test_a_class_has_to_have_it(wrong: str, said: str) -> None:
    """A plain method of that name, or ``TypeError`` at import, which says what is wrong."""
    with pytest.raises(TypeError, match=rf"Flawed.add has many='{wrong}', which {said}\. Write a plain method"):

        class Flawed(Counter):
            storage_is_no_method = 1

            @exclusive(combine=True, many=wrong)
            def add(self, by: int = 1) -> int:
                return by

            async def later(self, numbers: list[int]) -> list[int]:
                return numbers

            def lazily(self, numbers: list[int]) -> Any:
                yield from numbers

            class Meta:
                app_label = "tests"
                proxy = True


def test_a_class_that_inherits_the_method_has_to_have_it_too() -> None:
    """A subclass may not put anything else in its place, nor a mixin leave it out."""

    class Mixin:
        @exclusive(combine=True, many="tell_all")
        def tell(self, text: str) -> str:
            return text

    with pytest.raises(TypeError, match=r"Late\.add_one has many='add_all', which is an async function"):

        class Late(Counter):
            async def add_all(self, numbers: list[int]) -> list[int]:  # type: ignore[override]  # it is wrong
                return numbers

            class Meta:
                app_label = "tests"
                proxy = True

    with pytest.raises(TypeError, match=r"Mixed\.tell has many='tell_all', which the class does not have"):

        class Mixed(Mixin, Counter):
            class Meta:
                app_label = "tests"
                proxy = True
