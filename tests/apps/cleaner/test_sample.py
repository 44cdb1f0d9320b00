"""Which rows a dry run names: the first that a cleanup would delete, and none that it would leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session

from cleaner.models import PeriodicCleaner
from durable_objects import now
from durable_objects.testing import FakeClock

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_entries_that_are_too_old(alarm_clock: FakeClock) -> None:
    """By key, with their timestamps, as many as were asked for; what is young, or has none, is never among them."""
    cleaner = PeriodicCleaner.objects.get_by_name("uploads")
    old: dict[str, Any] = {f"old-{number}": {"timestamp": LONG_AGO + timedelta(days=number)} for number in range(4)}
    cleaner.storage.put_many({**old, "a": 1, "b": {"timestamp": now()}, "in-seconds": {"timestamp": 1_600_000_000}})
    found = cleaner.look(sample=3)
    assert [(row.key, row.since) for row in found.sample] == [
        (f"old-{number}", LONG_AGO + timedelta(days=number)) for number in range(3)
    ]
    assert (found.expired, cleaner.look().sample) == (4, ())
    assert cleaner.cleanup() == 4


def test_it_goes_on_into_later_chunks(settings: Any, alarm_clock: FakeClock) -> None:
    """Where the first chunk has too few, those of the next ones are named; of a cleaner never used there is none."""
    settings.CLEANER = {"CHUNK": 2}
    cleaner = PeriodicCleaner.objects.get_by_name("uploads")
    assert cleaner.look(sample=3).sample == ()
    cleaner.storage.put_many({f"k{number}": {"timestamp": LONG_AGO if number % 2 else now()} for number in range(9)})
    assert [row.key for row in cleaner.look(sample=3).sample] == ["k1", "k3", "k5"]


def test_rows_of_a_model(settings: Any, alarm_clock: FakeClock) -> None:
    """The same for the rows of a model, by their primary keys."""
    settings.CLEANER = {"MODELS": {"sessions.Session": "expire_date"}}
    for number, at in enumerate([LONG_AGO, now() + timedelta(days=1), LONG_AGO]):
        Session.objects.create(session_key=f"s{number}", session_data="", expire_date=at)
    cleaner = PeriodicCleaner.objects.get_by_name("sessions")
    cleaner.configure(model="sessions.Session", field="expire_date")
    assert [tuple(row) for row in cleaner.look(sample=5).sample] == [("s0", LONG_AGO), ("s2", LONG_AGO)]
