"""Keys and values: what is kept, in which order, and what is refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from durable_objects import InvalidInput, InvalidKey, InvalidValue
from durable_objects.models import Object
from durable_objects.storage import Storage
from tests.conformance.behaviour import behaviour
from tests.models import Counter

pytestmark = pytest.mark.django_db

#: In code-point order, which is neither that of a language nor that of UTF-16.
ORDERED = ["10", "9", "B", "a", "a!", "a\uffff", "a\U0001f600", "b", "ä", "\U0010ffff"]


@pytest.fixture
def storage() -> Storage:
    """The storage of an object that was never used."""
    return Counter.objects.get_by_name("a").storage


@behaviour("DO-61", "`get(k)`: the value or undefined; `get([k…])`: those that are there, sorted")
def test_do_61_get(storage: Storage) -> None:
    """``get`` answers the value, None or the default; ``get_many`` what is there, in key order."""
    storage.put_many({"b": 2, "a": 1})
    assert (storage.get("a"), storage.get("x"), storage.get("x", 7)) == (1, None, 7)
    assert list(storage.get_many(["x", "b", "a", "b"]).items()) == [("a", 1), ("b", 2)]


@behaviour("DO-62", "values that are read are fresh copies")
def test_do_62_reads_are_copies(storage: Storage) -> None:
    """Changing what was read, or what was put, changes nothing stored, in a turn neither."""
    value = {"list": [1]}
    with storage.transaction():
        storage.put("k", value)
        value["list"].append(2)
        storage.get("k")["list"].append(3)
        storage.list()["k"]["list"].append(4)
        assert storage.get("k") == {"list": [1]}
    storage.get("k")["list"].append(5)
    assert storage.get("k") == {"list": [1]}


@behaviour(
    "DO-63",
    "`put(k, undefined)`: TypeError; an undefined in `put({…})` is skipped; a wrong shape: TypeError",
    differs="Python has no undefined: None is a value, and is stored; to have none, delete the key",
)
def test_do_63_none_is_a_value_and_shapes_are_checked(storage: Storage) -> None:
    """None is kept apart from nothing, and what is no mapping is a TypeError that changes nothing."""
    storage.put_many({"a": None})
    assert storage.get("a", "default") is None
    assert storage.list() == {"a": None}
    wrong: list[Any] = [[("b", 1)], "b", None]
    for shape in wrong:
        with pytest.raises(InvalidInput) as caught:
            storage.put_many(shape)
        assert isinstance(caught.value, TypeError)
    assert storage.list() == {"a": None}


@behaviour("DO-65", "`delete(k)`: whether it was there; `delete([k…])`: how many were")
def test_do_65_delete_says_what_was_there(storage: Storage) -> None:
    """A delete answers what it found, of keys that the same turn put or deleted too."""
    storage.put_many({"a": 1, "b": 2, "c": 3})
    assert storage.delete("a") is True
    assert storage.delete("a") is False
    with storage.transaction():
        storage.put("d", 4)
        storage.delete("b")
        assert storage.delete_many(["a", "b", "c", "d", "d"]) == 2
    assert storage.list() == {}


@behaviour("DO-66", "`list()` by code point; start inclusive, startAfter and end exclusive, prefix, reverse, limit > 0")
@behaviour(
    "J8",
    "order, range, reverse, prefix and limit of the list; delete's answer; a stale iterator is an error",
    differs="the list is a dict, which nothing makes stale; the rest holds, nothing to do",
)
@pytest.mark.parametrize("in_turn", [False, True], ids=["stored", "held back"])
def test_do_66_list(storage: Storage, *, in_turn: bool) -> None:
    """Keys come in code-point order within their bounds, stored or not yet, as a dict that nothing makes stale."""

    def check() -> None:
        assert list(storage.list()) == ORDERED
        assert list(storage.list(reverse=True)) == ORDERED[::-1]
        assert list(storage.list(start="a", end="b")) == ORDERED[3:7]
        assert list(storage.list(start_after="a", limit=2)) == ORDERED[4:6]
        assert list(storage.list(prefix="a", reverse=True, limit=2)) == ORDERED[6:4:-1]
        assert list(storage.list(start="B", end="a", reverse=True)) == ["B"]
        assert storage.list(start="b", end="a") == {}
        before = storage.list(limit=1)
        assert storage.delete("10") is True
        assert list(before) == ["10"]
        storage.put("10", 0)

    with storage.transaction():
        storage.put_many(dict.fromkeys(reversed(ORDERED), 0))
        if in_turn:
            check()
    check()
    for wrong in ({"start": "a", "start_after": "a"}, {"limit": 0}, {"limit": -1}):
        with pytest.raises(TypeError):
            storage.list(**wrong)


@behaviour("DO-67", "a prefix with start or end: what is in both")
def test_do_67_prefix_and_bounds(storage: Storage) -> None:
    """Of a prefix and bounds the intersection is listed."""
    storage.put_many(dict.fromkeys(["a", "b", "ba", "bb", "c"], 1))
    assert list(storage.list(prefix="b", start="ba")) == ["ba", "bb"]
    assert list(storage.list(prefix="b", start="a", end="bb")) == ["b", "ba"]
    assert list(storage.list(prefix="b", start_after="b", end="z")) == ["ba", "bb"]
    assert storage.list(prefix="b", start="c") == {}


@behaviour(
    "DO-68",
    "at most 128 keys in one get, put or delete",
    differs="no limit but memory: a turn that holds many writes back keeps them all; nothing to do",
)
def test_do_68_many_keys_at_once(storage: Storage) -> None:
    """A thousand keys are put, read and deleted by one call each."""
    many = {f"{number:04}": number for number in range(1000)}
    storage.put_many(many)
    assert storage.get_many(many) == many
    assert storage.delete_many(many) == 1000


@behaviour("DO-69", "keys up to 2,048 bytes, values up to 2 MB")
def test_do_69_sizes(storage: Storage) -> None:
    """The longest key and the largest value are taken; one byte more is refused with the size and the limit."""
    storage.put("ä" * 1024, "x" * 1_999_998)
    assert len(storage.get("ä" * 1024)) == 1_999_998
    with pytest.raises(InvalidKey, match=r"2,049 bytes.*2,048"):
        storage.put("x" * 2049, 1)
    with pytest.raises(InvalidValue, match="2,000,000"):
        storage.put("k", "x" * 1_999_999)


@behaviour(
    "DO-70",
    'an empty key is the first key; keys that are no text are turned into text, so that "10" is before "9"',
    differs='both are refused: name the key, and pad numbers (`f"{n:012}"`) so that they sort',
)
def test_do_70_keys_are_text(storage: Storage) -> None:
    """An empty key, a number, bytes: ``InvalidKey``, with nothing stored."""
    wrong: list[Any] = ["", 10, b"k", None, True]
    for key in wrong:
        with pytest.raises(InvalidKey):
            storage.put(key, 1)
    assert not Object.objects.exists()
    storage.put_many({f"{number:012}": number for number in (10, 9)})
    assert list(storage.list().values()) == [9, 10]


@behaviour(
    "DO-71",
    "values are structured clones: Date, Map, Set, bytes, BigInt, cycles, …; instances lose their class",
    differs="JSON's types and Python's own plain ones, exactly; what would come back as something else (an instance, a "
    "subclass) is refused, and so is a cycle: store its parts",
)
def test_do_71_what_would_not_come_back_is_refused(storage: Storage) -> None:
    """Nested values, sets, bytes and big numbers come back; functions, instances and cycles are refused."""
    value = {"when": datetime(2026, 1, 2, tzinfo=UTC), "set": {1, 2}, "bytes": b"\0\xff", "big": 2**200, "deep": [[[]]]}
    storage.put("k", value)
    assert storage.get("k") == value
    cycle: list[Any] = []
    cycle.append(cycle)
    for refused in (len, object(), Counter, cycle):
        with pytest.raises(InvalidValue):
            storage.put("k", refused)
    assert storage.get("k") == value


@behaviour(
    "DO-72",
    "what JSON alone would lose: dates, sets, bytes, big numbers, undefined, NaN, infinities, -0, cycles",
    differs="all of Python's kin come back, but for dict keys that are no text: store a list of pairs",
)
def test_do_72_what_json_would_lose(storage: Storage) -> None:
    """Each type that JSON lacks comes back as exactly that type and value."""
    values: list[Any] = [
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2026, 1, 2), time(3, 4), timedelta(microseconds=-1),
        Decimal("1.50"), UUID(int=7), b"\0", (1, (2,)), {1, "a"}, frozenset({1}), math.inf, -math.inf, 10**40,
    ]  # fmt: skip
    storage.put("k", values)
    assert [(type(value), value) for value in storage.get("k")] == [(type(value), value) for value in values]
    storage.put("k", [math.nan, -0.0])
    nan, zero = storage.get("k")
    assert math.isnan(nan)
    assert math.copysign(1, zero) == -1
    with pytest.raises(InvalidValue):
        storage.put("k", {1: "a"})


@behaviour("J6", "a counter persists; deleteAll starts afresh; an abort loses what was not flushed")
def test_j6_a_counter_persists(storage: Storage) -> None:
    """Each fresh handle reads what others wrote; a call that raises loses its writes; delete_all starts afresh."""
    for number in (1, 2, 3):
        assert Counter.objects.get_by_name("a").add() == number

    def abort() -> None:
        storage.put("count", 100)
        raise KeyError

    with pytest.raises(KeyError):
        Counter.objects.get_by_name("a").run_exclusive(abort)
    assert storage.get("count") == 3
    storage.delete_all()
    assert Counter.objects.get_by_name("a").add() == 1
