"""``error_groups``: which errors are the same; and what of it is in the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from hypothesis import example, given
from hypothesis import strategies as some

from durable_objects.alarms.error_groups import fingerprint, headline
from durable_objects.tables import Alarm, Object, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Script, Scripted

HEX = "0123456789abcdef"
HOSTS = some.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,8}){0,3}", fullmatch=True)
PORTS = some.integers(1, 65_535)
MOMENTS = some.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds / 7, UTC))
#: What differs from one failure to the next, by what it is.
VALUES = {
    "number": some.integers().map(str) | some.decimals(allow_nan=False, allow_infinity=False).map("{:f}".format),
    "grouped": some.integers(1_000).map("{:,}".format),
    "float": some.floats(allow_nan=False, allow_infinity=False).map(str),
    "id": some.from_regex(r"[a-z]{0,5}[_-]?[0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
    "UUID": some.uuids().map(str),
    "hexadecimal": some.text(HEX, min_size=8, max_size=64),
    "address in memory": some.integers(0, 2**64).map(hex),
    "quoted": some.text().map(repr) | some.binary().map(repr),
    "in double quotes": some.text(some.characters(exclude_characters='"\\', exclude_categories=["C", "Z"])).map(
        '"{}"'.format
    ),
    "moment": MOMENTS.map(datetime.isoformat) | MOMENTS.map(str) | MOMENTS.map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}Z"),
    "span": some.timedeltas(timedelta(0), timedelta(days=900)).map(str),
    "host and port": some.tuples(HOSTS, PORTS).map("{0[0]}:{0[1]}".format),
    "IPv4": some.ip_addresses(v=4).map(str),
    "IPv4 and port": some.tuples(some.ip_addresses(v=4), PORTS).map("{0[0]}:{0[1]}".format),
    "IPv6": some.ip_addresses(v=6).map(str),
    "URL": some.tuples(HOSTS, some.from_regex(r"(/[a-z0-9_-]{1,8}){0,3}(\?[a-z]=[0-9a-f]{1,9})?", fullmatch=True)).map(
        "https://{0[0]}{0[1]}".format
    ),
    "mail": some.tuples(some.from_regex(r"[a-z.+]{1,9}", fullmatch=True), HOSTS).map("{0[0]}@{0[1]}".format),
}  # fmt: skip
PAIRS = some.sampled_from(sorted(VALUES)).flatmap(lambda what: some.tuples(VALUES[what], VALUES[what]))


def traceback(line: str, at: int = 3) -> str:
    """An error as the engine keeps it."""
    return f'Traceback (most recent call last):\n  File "/srv/shop/models.py", line {at}, in alarm\n    pay()\n{line}\n'


@given(pair=PAIRS, at=some.integers(1, 999))
@example(pair=("2026-05-01T12:00:00+00:00", "2026-05-01 12:00:00.5+00:00"), at=1)
@example(pair=("1 day, 2:03:04", "2:03:04"), at=1)
def test_values_make_no_group_of_their_own(pair: tuple[str, str], at: int) -> None:
    """Two errors that differ only in a number, an id, a quoted value, hexadecimal, an address or a time, and in the
    lines of the code, are of one group.
    """
    one, other = (f"shop.errors.Declined: the gateway refused {value} after a try" for value in pair)
    assert fingerprint(traceback(one)) == fingerprint(traceback(other, at)) != ""


@given(
    names=some.lists(some.from_regex(r"[A-Z][A-Za-z]{1,9}[0-9]?", fullmatch=True), min_size=2, max_size=2, unique=True)
)
def test_each_class_is_a_group_of_its_own(names: list[str]) -> None:
    """Two errors of different classes are of different groups, whatever they say."""
    assert len({fingerprint(traceback(f"{name}: no")) for name in names}) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError: the card was declined", "ValueError: the gateway is gone"),
        ("ValueError", "ValueError: x"),
        ("KeyError: 'a'", "IndexError: 'a'"),
        ("cannot pay Jim's bill", "cannot see Jim's bill"),
    ],
)
def test_what_it_says_tells_groups_apart(one: str, other: str) -> None:
    """Errors that say different things are of different groups."""
    assert fingerprint(traceback(one)) != fingerprint(traceback(other))


def test_the_headline_names_the_error() -> None:
    """The headline of a traceback is the line of the error, that of a reason is its first line; of nothing, nothing."""
    assert headline(traceback("ValueError: no\nwith a second line")) == "ValueError: no"
    assert headline("the card was refused\nby the bank") == "the card was refused"
    assert (headline(""), fingerprint("")) == ("", "")


@given(text=some.text(alphabet="a'\"`:0 .-@#[]/\\", max_size=3_000))
def test_any_text_has_a_group(text: str) -> None:
    """Any text is of some group, without a wait: no text makes the patterns go back and forth."""
    assert len(fingerprint(f"x{text}")) == 16


@pytest.mark.django_db
def test_a_row_has_the_group_of_its_error(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The group is stored with the error, when a run fails and when it is dead; a new alarm has none."""

    def fail(obj: Scripted, info: Any) -> None:
        raise ValueError(f"no {info.retry_count}")

    script.alarm = fail
    obj.storage.set_alarm(timedelta(seconds=1))
    groups = set()
    for _ in range(7):
        clock.advance(timedelta(minutes=5))
        assert run_due_alarms()
        row = Alarm.objects.get()
        assert row.error_group == fingerprint(row.last_error)
        groups.add(row.error_group)
    assert (row.state, len(groups), groups & {""}) == ("dead", 1, set())
    obj.storage.set_alarm(timedelta(hours=1))
    assert Alarm.objects.get().error_group == ""


@pytest.mark.django_db
def test_a_schedule_has_the_group_of_its_error(clock: FakeClock) -> None:
    """The same holds for a schedule."""
    Counter.objects.get_by_name("a").schedules.set("daily", Counter.add, every=timedelta(days=1), args=("no number",))
    clock.advance(timedelta(days=1))
    assert run_due_alarms()
    row = Schedule.objects.get()
    assert row.last_error
    assert row.error_group == fingerprint(row.last_error)


@pytest.mark.django_db
def test_an_alarm_has_the_kind_of_its_object(obj: Scripted) -> None:
    """An alarm's row has its object's kind, set alone or with others, of a new object and of one that is there."""
    obj.storage.set_alarm(timedelta(hours=1))
    Scripted.objects.set_alarms({obj.name: timedelta(hours=2), "other": timedelta(hours=1)})
    kind = ContentType.objects.get_for_model(Scripted, for_concrete_model=False)
    assert set(Alarm.objects.values_list("kind", flat=True)) == {kind.pk}
    assert Alarm.objects.count() == Object.objects.count() == 2
