"""Many rows that are stored at once: each value arrives as it is, however the rows are sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, connection, transaction

from durable_objects.alarms import history
from durable_objects.database import round_trip
from durable_objects.entries import sql as entry_sql
from durable_objects.entries.sql import Change
from durable_objects.tables import AlarmRun, Entry
from tests.models import Counter

pytestmark = pytest.mark.django_db

MOMENT = datetime(2030, 1, 1, 12, tzinfo=UTC)

#: What a list, an array, JSON, or SQL could take for something else.
TEXTS = [
    "", "NULL", "null", "{}", "{a,b}", "[1, 2]", '"quoted"', "it's", "back\\slash", "\\", "\\u0041", "a,b", " spaces ",
    "two\nlines", "tab\t", "100 %s %d %%", "ä€😀", "\u2028", "$1", "; --", "e'\\x41'",
]  # fmt: skip


@pytest.fixture
def object_id() -> int:
    """An object to which the rows belong."""
    counter = Counter.objects.get_by_name("a")
    counter.storage.delete_all()
    assert isinstance(counter.pk, int)
    return counter.pk


def run(object_id: int, number: int, **changed: Any) -> dict[str, Any]:
    """A row of the history, in which moments and numbers differ from row to row."""
    row: dict[str, Any] = {
        "object_id": object_id, "scheduled_at": MOMENT, "due_at": MOMENT + timedelta(microseconds=number),
        "wake_up_for": None if number % 2 else MOMENT, "picked_up_at": MOMENT, "started_at": MOMENT,
        "ended_at": MOMENT + timedelta(seconds=number), "retry_count": number, "fence": 2**40 + number,
        "outcome": AlarmRun.Outcome.FAILED, "error": TEXTS[number % len(TEXTS)], "schedule": "", "set_number": 7,
    }  # fmt: skip
    return row | changed


def store(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Store them; return what is there, in order."""
    with transaction.atomic():
        round_trip.send(connection, history.storing(connection, rows))
    return list(AlarmRun.objects.order_by("id").values(*rows[0]))


@pytest.mark.parametrize("number", [1, 4, 5, 64, 500])
def test_rows_arrive_as_they_are(object_id: int, number: int) -> None:
    """Texts of all kinds, numbers, moments and NULL, in few rows as in many, and in their order."""
    rows = [run(object_id, each) for each in range(number)]
    assert store(rows) == rows


@pytest.mark.parametrize("number", [1, 5, 100])
def test_rows_that_are_all_the_same(object_id: int, number: int) -> None:
    """As many are stored as are given, where no value tells one from another."""
    rows = [run(object_id, 3)] * number
    assert store(rows) == rows


@pytest.mark.parametrize("long", [1, 50])
def test_a_text_that_is_too_long_is_cut_off_nowhere(object_id: int, long: int) -> None:
    """In many rows as in one, whether all of them have the text or one has: refused, by a database that limits it."""
    rows = [run(object_id, each, **({"outcome": "x" * 11} if each < long else {})) for each in range(50)]
    if connection.vendor == "sqlite":
        assert store(rows) == rows
    else:
        with pytest.raises(DataError, match="too long"):
            store(rows)


@pytest.mark.parametrize("number", [3, 40, 700])
def test_entries_arrive_as_they_are(object_id: int, number: int) -> None:
    """Keys and values alike; those that are there already are replaced."""
    for suffix in ("", "again"):
        writes = {f"{each}{TEXTS[each % len(TEXTS)]}": TEXTS[-each % len(TEXTS)] + suffix for each in range(number)}
        with transaction.atomic():
            round_trip.send(connection, entry_sql.storing(connection, [Change(object_id, writes)]))
        assert dict(Entry.objects.values_list("key", "value")) == writes
