"""Values come back exactly as they went in, whatever they look like, and SQL finds them where it is documented."""

import json
import sqlite3
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from importlib.resources import files
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable_objects.entries.serializer import decode, encode
from tests.support.examples import examples

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, LAST = datetime.fromisoformat("0001-01-01"), datetime.fromisoformat("9999-12-31T23:59:59.999999")


class Summer(tzinfo):
    """A zone of the user's own."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        return timedelta(hours=2)

    def dst(self, _moment: datetime | None) -> None:
        return None

    def tzname(self, _moment: datetime | None) -> None:
        return None


def exactly(value: Any) -> Any:
    """Describe a value so that two descriptions are equal only if values and all types inside are the same."""
    match value:
        case dict():
            return dict, [(key, exactly(item)) for key, item in value.items()]
        case list() | tuple():
            return type(value), [exactly(item) for item in value]
        case set() | frozenset():
            return type(value), sorted((exactly(item) for item in value), key=repr)
        case datetime() | time():
            return type(value), value.replace(tzinfo=None).isoformat(), value.fold, exactly(value.tzinfo)
        case int():
            return type(value), hex(value)
        case _:
            return type(value), repr(value)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
look_alikes = st.sampled_from(["$type", "$$type", "$$$type", "type", "$types", "value", "\\u0000", '"$type"'])
offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
zones = st.none() | st.just(UTC) | offsets | st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]).map(ZoneInfo)
hashable_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**2040, 2**2050)
    | st.floats()
    | text
    | look_alikes
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.uuids()
    | st.binary(max_size=8)
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.frozensets(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
values = st.recursive(
    hashables | st.just(Decimal("sNaN")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(text | look_alikes, inner, max_size=4)
        | st.sets(hashables, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=examples(150), deadline=None)
@given(values)
@example({"$type": "date", "value": "2026-01-01"})
@example({"$type": {"$$type": [{"$type": date(2026, 1, 1)}]}, "$$type": 1})
@example([-0.0, 0.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324])
@example([Decimal("-0"), Decimal("1.50"), Decimal("1E+5"), Decimal("sNaN12"), Decimal("-NaN"), Decimal("-Infinity")])
@example([FIRST, LAST, FIRST.replace(tzinfo=UTC), LAST.replace(tzinfo=UTC), timedelta.min, timedelta.max, time.max])
@example([FIRST.replace(tzinfo=timezone(timedelta(microseconds=n))) for n in (1, -1, 3_600_000_001)])
@example([True, 1, 1.0, "1", b"1", Decimal(1)])
def test_round_trip(value: Any) -> None:
    """A value comes back equal, with exactly its types at every depth, dict keys in their order, as a fresh copy."""
    assert exactly(decode(encode(value))) == exactly(value)


@settings(max_examples=examples(100), deadline=None)
@given(values)
def test_text_is_strict_json(value: Any) -> None:
    """Every database's JSON functions accept the text: no NaN or Infinity as a bare word, no NUL, valid UTF-8."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    written = encode(value)
    json.loads(written, parse_constant=refuse)
    assert "\0" not in written
    assert r"\u0000" not in written.replace(r"\\", "")
    written.encode()


def test_plain_json_is_written_as_it_is() -> None:
    """An ordinary dict is stored as the JSON that anyone would write by hand."""
    value = {"timestamp": 123, "a": {"b": 1}, "list": [None, True, 1.5, "grün"]}
    assert encode(value) == '{"timestamp":123,"a":{"b":1},"list":[null,true,1.5,"grün"]}'


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"timestamp": 123}, "$.timestamp", 123),
        ({"a": {"b": "x"}, "when": date(2026, 1, 2)}, "$.a.b", "x"),
        ({"timestamp": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)}, "$.timestamp.value", "2026-01-02T03:04:00+00:00"),
        ({"timestamp": datetime(1970, 1, 1, 2, 0, 1, tzinfo=timezone(timedelta(hours=2)))}, "$.timestamp.ms", 1000),
        ({"timestamp": FIRST}, "$.timestamp.ms", None),
        ({"for": timedelta(seconds=1.5)}, "$.for.value", 1_500_000),
        ({"price": Decimal("1.50")}, "$.price.value", "1.50"),
    ],
)
def test_sql_finds_values_where_they_are_documented_to_be(value: object, path: str, found: object) -> None:
    """SQL reads plain JSON in place, and every other type at its documented place in its box."""
    with sqlite3.connect(":memory:") as database:
        (row,) = database.execute("SELECT json_extract(?, ?)", [encode(value), path])
    database.close()
    assert row == (found,)


@pytest.mark.parametrize(
    "number", [10**639, 10**640, 2**2048 - 1, 2**2048, -(2**2048), 10**6000, -(10**6000) + 1], ids=int.bit_length
)
def test_ints_of_any_size(number: int) -> None:
    """An int comes back whole, however few digits this Python is set to read or write."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert decode(encode({"n": [number]})) == {"n": [number]}
    finally:
        sys.set_int_max_str_digits(limit)


def test_time_zones() -> None:
    """A ZoneInfo and the fold are kept; any other tzinfo becomes the fixed offset of that moment."""
    for fold, offset in ((0, 2), (1, 1)):
        twice = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold)
        back = decode(encode(twice))
        assert back == twice
        assert (back.tzinfo, back.fold, back.utcoffset()) == (BERLIN, fold, timedelta(hours=offset))
    assert decode(encode(datetime(2026, 1, 1, tzinfo=UTC))).tzinfo is UTC
    summer = datetime(2026, 7, 1, tzinfo=Summer())
    assert decode(encode(summer)) == summer
    assert decode(encode(summer)).tzinfo == timezone(timedelta(hours=2))


def test_zone_that_cannot_be_found_again_becomes_its_offset() -> None:
    """A ZoneInfo made from a file under a name of its own is never written as a name that no one could read."""
    with files("tzdata.zoneinfo.Europe").joinpath("Berlin").open("rb") as file:
        own = ZoneInfo.from_file(file, key="Nowhere/Own")
    moment = datetime(2026, 7, 1, tzinfo=own)
    assert decode(encode(moment)).tzinfo == timezone(timedelta(hours=2))


@given(st.lists(hashables, max_size=6), st.randoms())
@settings(deadline=None)
def test_sets_of_the_same_items_are_written_the_same(items: list[Any], random: Any) -> None:
    """The text of a set does not depend on the order in which it was filled, nor on mixed types."""
    first = frozenset(items)
    again = list(first)
    random.shuffle(again)
    assert encode(set(again)) == encode(set(first))
    assert encode({"$": frozenset(again)}) == encode({"$": first})


def test_reads_are_fresh_copies() -> None:
    """Changing what was read changes nothing that is read later."""
    written = encode({"list": [1]})
    decode(written)["list"].append(2)
    assert decode(written) == {"list": [1]}


def test_shared_parts_are_written_out() -> None:
    """The same list in two places is no cycle."""
    shared = [(1,)]
    assert decode(encode({"a": shared, "b": {"c": shared}})) == {"a": [(1,)], "b": {"c": [(1,)]}}


def test_uuid_and_bytes_are_what_they_say() -> None:
    """UUIDs and bytes are stored in the forms that other tools read."""
    assert json.loads(encode(UUID(int=1)))["value"] == "00000000-0000-0000-0000-000000000001"
    assert json.loads(encode(b"\xff\x00"))["value"] == "/wA="
