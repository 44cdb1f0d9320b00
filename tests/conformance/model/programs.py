"""What a random program may do: storage calls, blocks, calls of others, and what happens while it is unlocked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.conformance.scenes import LEASE

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Call:
    """One call of the storage."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Program:
    """Steps, and how it ends: ``ok``, ``raises``, or ``dies`` with its process."""

    steps: tuple[Any, ...] = ()
    end: str = "ok"


@dataclass(frozen=True)
class Block:
    """A part of a turn: ``transaction`` (the storage's), ``atomic`` (Django's), ``joined`` (a call on the same object)
    or ``other`` (one on the other object). What it raises is caught around it.
    """

    kind: str
    program: Program


@dataclass(frozen=True)
class ArmIfNone:
    """What an ``initialize()`` does most: sets an alarm where there is none."""

    after: timedelta


@dataclass(frozen=True)
class Unlocked:
    """Unlocks the object; what the steps do meanwhile are turns of their own."""

    program: Program


@dataclass(frozen=True)
class Turn:
    """A call on an object while another turn is unlocked, in the same thread or in another session."""

    beside: bool
    other: bool
    program: Program


@dataclass(frozen=True)
class Single:
    """One storage call on the object from outside."""

    beside: bool
    call: Call


@dataclass(frozen=True)
class Advance:
    """Time passes."""

    by: timedelta


@dataclass(frozen=True)
class RunDue:
    """Another session runs what is due."""


@dataclass(frozen=True)
class Destroy:
    """The object is deleted."""

    beside: bool


keys = st.sampled_from(["a", "aa", "b", "\U0010ffff", "\ue000", "z"])
values = st.sampled_from([None, 0, 1, [1], {"timestamp": 1}])
seconds = st.sampled_from([-5, 0, 1, 2, 4, 10, 61, 3600]).map(lambda n: timedelta(seconds=n))
pauses = st.sampled_from([1, 2, 4, 8, 16, 32, 64, 3600]).map(lambda n: timedelta(seconds=n))
times = seconds | st.sampled_from([START + timedelta(seconds=n) for n in (-10, 0, 5, 60, 7200)])


def _options(**kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    return st.fixed_dictionaries({}, optional=kinds).map(lambda chosen: tuple(chosen.items()))


def _any_of(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the kinds, each as likely. ``one_of`` would go by the number of choices inside of each."""
    return st.integers(0, len(kinds) - 1).flatmap(lambda number: kinds[number])


_bounds = {"end": keys, "prefix": keys, "reverse": st.booleans(), "limit": st.integers(1, 3)}
_reads = _any_of(
    st.builds(Call, st.just("get"), st.tuples(keys)),
    st.builds(Call, st.just("get_many"), st.tuples(st.lists(keys, max_size=3))),
    st.builds(Call, st.just("list"), options=_options(start=keys, **_bounds) | _options(start_after=keys, **_bounds)),
)
_writes = _any_of(
    st.builds(Call, st.just("put"), st.tuples(keys, values)),
    st.builds(Call, st.just("put_many"), st.tuples(st.dictionaries(keys, values, max_size=3))),
    st.builds(Call, st.just("delete"), st.tuples(keys)),
    st.builds(Call, st.just("delete_many"), st.tuples(st.lists(keys, max_size=3))),
    st.builds(Call, st.just("delete_all"), options=_options(keep_alarm=st.booleans())),
)
_alarms = _any_of(
    st.builds(Call, st.just("set_alarm"), st.tuples(times)),
    st.just(Call("get_alarm")),
    st.just(Call("delete_alarm")),
)
calls = _any_of(_reads, _writes, _alarms, _alarms)

#: How a program ends: inside of another, and where its process may die of it.
ends = st.sampled_from(["ok"] * 5 + ["raises"] * 2)
_fatal_ends = st.sampled_from(["ok"] * 8 + ["raises"] * 4 + ["dies"])


@st.composite
def programs(draw: st.DrawFn, depth: int = 2, unlocks: bool = True, dies: bool = True, hook: bool = False) -> Program:
    """A program with blocks and unlocks in it, down to a depth. One for a ``hook`` may arm the object."""
    steps = [calls, calls]
    if depth:
        steps.append(_blocks(depth - 1, unlocks))
    if depth and unlocks:
        steps.append(_unlocked(depth - 1))
    if hook:
        steps.append(st.builds(ArmIfNone, seconds))
    return Program(tuple(draw(st.lists(_any_of(*steps), min_size=1, max_size=4))), draw(_fatal_ends if dies else ends))


@st.composite
def _blocks(draw: st.DrawFn, depth: int, unlocks: bool) -> Block:
    kind = draw(st.sampled_from(["transaction", "atomic", "joined", "other"]))
    return Block(kind, draw(programs(depth, unlocks, dies=False)))


@st.composite
def _unlocked(draw: st.DrawFn, depth: int) -> Unlocked:
    step = _any_of(
        st.builds(Single, st.booleans(), calls),
        st.builds(Single, st.booleans(), _alarms),
        st.builds(Turn, st.booleans(), st.booleans(), programs(depth)),
        st.just(RunDue()),
        st.sampled_from([Advance(timedelta(seconds=2)), Advance(LEASE), Destroy(False), Destroy(True)]),
    )
    return Unlocked(Program(tuple(draw(st.lists(step, max_size=4))), draw(ends)))


#: What ``initialize()`` and ``alarm_died()`` do: often nothing.
hooks = _any_of(st.just(Program()), programs(1, unlocks=False, dies=False, hook=True))
#: What the next runs do: anything, or now and then fail until none is left.
plans = _any_of(*[st.lists(programs(), min_size=1, max_size=3)] * 7, st.just([Program((), "raises")] * 7))
