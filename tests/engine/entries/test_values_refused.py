"""Values that cannot be kept are refused, with the place inside the value, what is there, and what is allowed."""

import inspect
import sys
from collections import OrderedDict, defaultdict
from datetime import datetime, tzinfo
from enum import Enum, IntEnum
from typing import Any, NamedTuple

import pytest

from durable_objects.entries.serializer import MAX_LEVELS, MAX_VALUE_BYTES, decode, encode
from durable_objects.errors import InvalidValue


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Word(str):
    __slots__ = ()


class Moment(datetime):
    pass


class Point(NamedTuple):
    x: int


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class NoOffset(tzinfo):
    def utcoffset(self, _moment: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


@pytest.mark.parametrize(
    ("value", "place", "words"),
    [
        (object(), "value", "object"),
        ({"a": [1, 2, 3, Colour.RED]}, 'value["a"][3]', "Colour"),
        ({"a": Level.LOW}, 'value["a"]', "subclass that would come back as plain int"),
        ([Word("x")], "value[0]", "plain str"),
        ([Point(1)], "value[0]", "plain tuple"),
        ([defaultdict(list)], "value[0]", "plain dict"),
        ([OrderedDict()], "value[0]", "plain dict"),
        ([Moment(2026, 1, 1)], "value[0]", "plain datetime"),
        ([bytearray(b"x")], "value[0]", "bytearray"),
        ([1j], "value[0]", "complex"),
        ([Unshowable()], "value[0]", "Unshowable"),
        ({"a": {1: "x"}}, 'value["a"][1]', "of type int"),
        ({"a": {None: "x"}}, 'value["a"][None]', "of type NoneType"),
        ({"a": {10**5000: "x"}}, 'value["a"][<int>]', "of type int"),
        ({"a": {Word("b"): "x"}}, "value[\"a\"]['b']", "plain str"),
        ({"a": "x\0"}, 'value["a"]', "NUL character at position 1"),
        ({"a": {"b\0": 1}}, r'value["a"]["b\u0000"]', "NUL"),
        (["ä\ud800"], "value[0]", r"lone surrogate, '\ud800', at position 1"),
        ({"\udfff": 1}, r'value["\udfff"]', "lone surrogate"),
        ({"s": {("x", "\0")}}, 'value["s"]{…}[1]', "NUL"),
        ((1, [frozenset({Level.LOW})]), "value[1][0]{…}", "Level"),
        ([datetime(2026, 1, 1, tzinfo=NoOffset())], "value[0]", "tzinfo that gives no offset"),
    ],
)
def test_refused(value: object, place: str, words: str) -> None:
    """Anything that would not come back exactly is refused, with its place, what it is, and what is allowed."""
    with pytest.raises(InvalidValue) as refusal:
        encode(value)
    message = str(refusal.value)
    assert message.startswith(f"{place} ")
    assert words in message
    assert InvalidValue.allowed in message
    message.encode()


def nested(levels: int, kind: type = list) -> Any:
    value: Any = kind()
    for _ in range(levels - 1):
        value = kind([value])
    return value


@pytest.mark.parametrize("kind", [list, tuple, frozenset])
def test_depth(kind: type) -> None:
    """200 levels of any container come back; one more is refused, as are a hundred thousand."""
    assert decode(encode(nested(MAX_LEVELS, kind))) == nested(MAX_LEVELS, kind)
    with pytest.raises(InvalidValue, match="deeper than 200 levels"):
        encode(nested(MAX_LEVELS + 1, kind))
    if kind is list:
        with pytest.raises(InvalidValue, match="deeper than 200 levels"):
            encode(nested(100_000))


def test_depth_in_a_deep_call() -> None:
    """Where the caller has used up nearly all of the call stack, a deep value is still an InvalidValue."""

    def call(frames: int) -> None:
        if frames:
            call(frames - 1)
        else:
            encode(nested(MAX_LEVELS, tuple))

    with pytest.raises(InvalidValue, match="rest of the call stack"):
        call(sys.getrecursionlimit() - len(inspect.stack()) - MAX_LEVELS)


def test_cycles() -> None:
    """A value that contains itself is refused at the place where it comes round."""
    cycle: dict[str, Any] = {"list": [0]}
    cycle["list"].append(cycle)
    with pytest.raises(InvalidValue, match=r'^value\["list"\]\[1\] contains itself'):
        encode(cycle)


def test_size_limit() -> None:
    """2,000,000 bytes of UTF-8 are stored; one more is refused with the size and the limit."""
    assert len(encode("x" * (MAX_VALUE_BYTES - 2))) == MAX_VALUE_BYTES
    assert len(encode("ä" * (MAX_VALUE_BYTES // 2 - 1)).encode()) == MAX_VALUE_BYTES
    with pytest.raises(InvalidValue, match=r"2,000,001 bytes.* limit is 2,000,000"):
        encode("x" * (MAX_VALUE_BYTES - 1))
    with pytest.raises(InvalidValue, match=r"2,000,002 bytes.* limit is 2,000,000"):
        encode("ä" * (MAX_VALUE_BYTES // 2))
    assert len(encode([0] * (MAX_VALUE_BYTES // 2 - 1))) == MAX_VALUE_BYTES - 1
    with pytest.raises(InvalidValue, match=r"2,000,001 bytes"):
        encode([0] * (MAX_VALUE_BYTES // 2))


@pytest.mark.slow
def test_small_value_that_unfolds_without_end() -> None:
    """Lists that hold each other many times are refused as too large before they are written out."""
    value: list[Any] = []
    for _ in range(100):
        value = [value] * 1000
    with pytest.raises(InvalidValue, match="over 2,000,000 bytes encoded"):
        encode(value)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "{",
        "x",
        '{"$type":"later","value":1}',
        '{"$type":"date"}',
        '{"$type":[],"value":1}',
        '{"$type":"set","value":[[]]}',
        '{"$type":"datetime","value":"2026-01-01T00:00:00+01:00","zone":"Nowhere/There"}',
        "[" * 100_000,
    ],
)
def test_text_of_other_hands_is_refused(stored: str) -> None:
    """Text that `encode` did not write is an InvalidValue that shows it, never a wrong value or another error."""
    with pytest.raises(InvalidValue, match="stored text"):
        decode(stored)
