"""Storage reads and writes keys in code-point order, and refuses bad input with nothing changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_objects import InvalidInput, InvalidKey, InvalidValue
from durable_objects.storage import Storage
from durable_objects.tables import Alarm, Entry, Object
from tests.models import Counter, Script, Scripted
from tests.support.examples import examples

pytestmark = pytest.mark.django_db

#: In code-point order, which is neither a locale's nor that of UTF-16.
ORDERED = ["10", "9", "A", "B", "a", "a!", "a\uffff", "a\U0001f600", "b", "ä", "\ue000", "\U00010000", "\U0010ffff"]


class Colour(IntEnum):
    """A subclass of an allowed type."""

    RED = 1


@pytest.fixture
def storage() -> Storage:
    """The storage of an object that was never used."""
    return Counter.objects.get_by_name("a").storage


def test_values_come_back_as_they_went_in(storage: Storage) -> None:
    """Types are kept exactly, and each read is a fresh copy."""
    value = {"t": (1, {2}), "d": Decimal("1.50"), "at": datetime(2026, 1, 2, tzinfo=UTC), "none": None, "b": b"\0"}
    storage.put("k", value)
    read = storage.get("k")
    assert read == value
    assert [type(item) for item in read.values()] == [type(item) for item in value.values()]
    read["none"] = "changed"
    assert storage.get("k") == value


def test_none_is_a_value(storage: Storage) -> None:
    """A stored None is there; a default is for what is not."""
    storage.put("k", None)
    assert storage.get("k", "default") is None
    assert storage.get("l", "default") == "default"
    assert storage.delete("k")


@pytest.mark.parametrize("in_turn", [False, True], ids=["stored", "held back"])
def test_many_at_once(storage: Storage, in_turn: bool) -> None:
    """``get_many`` answers what is there in key order; deletes say what was there (DO-61, DO-64, DO-65)."""

    def work() -> None:
        storage.put_many({"b": 2, "a": 1, "c": 3})
        assert list(storage.get_many(["c", "x", "a"]).items()) == [("a", 1), ("c", 3)]
        assert storage.delete_many(["a", "x", "a"]) == 1
        assert storage.delete("b") is True
        assert storage.delete("b") is False
        assert storage.list() == {"c": 3}
        storage.put("b", 5)
        assert storage.get("b") == 5

    if in_turn:
        Counter.objects.get_by_name("a").run_exclusive(work)
    else:
        work()
    assert storage.list() == {"b": 5, "c": 3}


@pytest.mark.parametrize("in_turn", [False, True], ids=["stored", "held back"])
def test_list_is_in_code_point_order(storage: Storage, in_turn: bool) -> None:
    """Keys are listed by code point on every database, written or held back, forwards and backwards (DO-66)."""
    with storage.transaction():
        storage.put_many(dict.fromkeys(reversed(ORDERED), 0))
        if in_turn:
            assert list(storage.list()) == ORDERED
            assert list(storage.list(reverse=True, limit=3)) == ORDERED[:-4:-1]
    assert list(storage.list()) == ORDERED
    assert list(storage.list(reverse=True)) == ORDERED[::-1]


@pytest.mark.parametrize(
    ("bounds", "keys"),
    [
        ({"start": "b"}, ["b", "ba", "bb", "c"]),
        ({"start_after": "b"}, ["ba", "bb", "c"]),
        ({"end": "b"}, ["a"]),
        ({"end": ""}, []),
        ({"start": ""}, ["a", "b", "ba", "bb", "c"]),
        ({"prefix": ""}, ["a", "b", "ba", "bb", "c"]),
        ({"prefix": "b"}, ["b", "ba", "bb"]),
        ({"prefix": "b", "start": "ba", "end": "bb"}, ["ba"]),
        ({"prefix": "b", "start": "c"}, []),
        ({"start": "c", "end": "a"}, []),
        ({"start": "b", "reverse": True, "limit": 2}, ["c", "bb"]),
        ({"start_after": "a", "end": "c", "limit": 2}, ["b", "ba"]),
        ({"prefix": "b", "reverse": True, "limit": 10}, ["bb", "ba", "b"]),
    ],
)
def test_list_bounds(storage: Storage, bounds: dict[str, Any], keys: list[str]) -> None:
    """Bounds are an inclusive or exclusive start, an exclusive end, a prefix, and their intersection (DO-66/67)."""
    storage.put_many(dict.fromkeys(["a", "b", "ba", "bb", "c"], 1))
    assert list(storage.list(**bounds)) == keys
    with storage.transaction():
        storage.delete_many(["a", "bb"])
        storage.put_many({"a": 1, "bb": 2})
        assert list(storage.list(**bounds)) == keys


keys = st.sampled_from(["a", "aa", "ab", "b", "a\U0010ffff", "\U0010ffff", "\ud7ff", "\ue000"])
operations = st.one_of(
    st.tuples(st.just("put"), keys, st.integers(0, 9)),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("clear")),
    st.tuples(st.just("list"), st.none() | keys, st.none() | keys, st.none() | keys, st.booleans(), st.integers(1, 9)),
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.dictionaries(keys, st.integers(0, 9)), steps=st.lists(operations, max_size=8))
def test_a_turn_sees_its_storage_as_a_dict(
    storage: Storage, stored: dict[str, int], steps: list[tuple[Any, ...]]
) -> None:
    """Whatever is put, deleted and listed in a turn over whatever is stored answers as a dict would, then stays so."""
    storage.delete_all()
    storage.put_many(stored)
    model = dict(stored)
    with storage.transaction():
        for name, *arguments in steps:
            if name == "put":
                key, value = arguments
                storage.put(key, value)
                model[key] = value
            elif name == "delete":
                assert storage.delete(arguments[0]) == (model.pop(arguments[0], None) is not None)
            elif name == "clear":
                storage.delete_all()
                model.clear()
            else:
                start, end, prefix, reverse, limit = arguments
                wanted = [key for key in sorted(model, reverse=reverse) if key.startswith(prefix or "")]
                wanted = [key for key in wanted if key >= (start or "") and (end is None or key < end)][:limit]
                listed = storage.list(start=start, end=end, prefix=prefix, reverse=reverse, limit=limit)
                assert list(listed.items()) == [(key, model[key]) for key in wanted]
    assert storage.list() == model


def test_many_entries_in_one_turn(storage: Storage) -> None:
    """More entries than one statement takes are written, read and deleted together."""
    many = {f"{number:05}": number for number in range(12_000)}
    storage.put_many(many)
    assert storage.list() == many
    assert len(storage.get_many(many)) == 12_000
    assert storage.delete_many(many) == 12_000
    assert storage.list() == {}


def test_delete_all_takes_the_alarm_along_unless_it_is_to_be_kept(script: Script) -> None:
    """``delete_all()`` empties entries and alarm, with ``keep_alarm`` the entries alone (DO-24, S41, S42)."""
    storage = Scripted.objects.get_by_name("a").storage
    for keep_alarm in (True, False):
        storage.put("k", 1)
        storage.set_alarm(timedelta(hours=1))
        storage.delete_all(keep_alarm=keep_alarm)
        assert storage.list() == {}
        assert (storage.get_alarm() is not None) is keep_alarm
    with storage.transaction():
        storage.delete_all()
        storage.set_alarm(timedelta(hours=2))
    assert storage.get_alarm() is not None


BAD: list[tuple[type[InvalidInput], Callable[[Storage], object]]] = [
    (InvalidKey, lambda storage: storage.put("", 1)),
    (InvalidKey, lambda storage: storage.put("x" * 2049, 1)),
    (InvalidKey, lambda storage: storage.put(10, 1)),  # type: ignore[arg-type]  # the point of the test
    (InvalidKey, lambda storage: storage.put("a\0", 1)),
    (InvalidKey, lambda storage: storage.put("\ud800", 1)),
    (InvalidKey, lambda storage: storage.get(None)),  # type: ignore[arg-type]  # the point of the test
    (InvalidKey, lambda storage: storage.get_many(["a", b"b"])),  # type: ignore[list-item]  # the point of the test
    (InvalidKey, lambda storage: storage.delete("")),
    (InvalidKey, lambda storage: storage.delete_many(["a", 1])),  # type: ignore[list-item]  # the point of the test
    (InvalidKey, lambda storage: storage.put_many({"a": 1, "": 2})),
    (InvalidValue, lambda storage: storage.put_many({"a": 1, "b": object()})),
    (InvalidValue, lambda storage: storage.put("a", Colour.RED)),
    (InvalidValue, lambda storage: storage.put("a", OrderedDict())),
    (InvalidValue, lambda storage: storage.put("a", {1: 2})),
    (InvalidValue, lambda storage: storage.put("a", ["\0"])),
    (InvalidValue, lambda storage: storage.put("a", "\ud800")),
    (InvalidValue, lambda storage: storage.put("a", "x" * 2_000_000)),
    (InvalidInput, lambda storage: storage.put_many([("a", 1)])),  # type: ignore[arg-type]  # the point of the test
    (InvalidInput, lambda storage: storage.get_many("ab")),
    (InvalidInput, lambda storage: storage.delete_many("ab")),
    (InvalidInput, lambda storage: storage.list(start="a", start_after="a")),
    (InvalidInput, lambda storage: storage.list(limit=0)),
    (InvalidInput, lambda storage: storage.list(limit=True)),
    (InvalidInput, lambda storage: storage.list(limit="1")),  # type: ignore[arg-type]  # the point of the test
    (InvalidInput, lambda storage: storage.list(prefix=1)),  # type: ignore[arg-type]  # the point of the test
    (InvalidInput, lambda storage: storage.list(end="\0")),
]


@pytest.mark.parametrize(("error", "call"), BAD)
def test_bad_input_changes_nothing(error: type[InvalidInput], call: Callable[[Storage], object]) -> None:
    """What is refused is refused with the contract's error, with no row made, and nothing changed in a turn either."""
    counter = Counter.objects.get_by_name("a")
    with pytest.raises(error):
        call(counter.storage)
    assert [model.objects.count() for model in (Object, Entry, Alarm)] == [0, 0, 0]

    def turn() -> None:
        counter.add()
        with pytest.raises(error):
            call(counter.storage)

    counter.run_exclusive(turn)
    assert counter.storage.list() == {"count": 1}
