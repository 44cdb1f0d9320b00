"""What counts as too old in a cleaner's own storage, the same on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cleaner.models import PeriodicCleaner
from durable_objects.testing import FakeClock
from tests.apps.passing import outcomes
from tests.apps.test_cleaner import DAY, HOUR, aged

pytestmark = pytest.mark.django_db


@pytest.fixture
def cleaner() -> PeriodicCleaner:
    """A cleaner that was never used."""
    return PeriodicCleaner.objects.get_by_name("cache")


def test_entries_older_than_a_day_are_deleted(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """Dicts with a timestamp (ms or datetime) of over max_age go; all else stays, and nothing of ours is in storage."""
    kept = {
        "young": aged(alarm_clock, DAY - HOUR * 2),
        "text": "x",
        "list": [{"timestamp": 0}],
        "no number": {"timestamp": "1970"},
        "flag": {"timestamp": True},
        "nan": {"timestamp": float("nan")},
        "none": {"timestamp": None},
        "young moment": {"timestamp": alarm_clock.now()},
        "young there": {"timestamp": alarm_clock.now().astimezone(ZoneInfo("Asia/Tokyo"))},
        "far": {"timestamp": 10**700, "more": 10**300},
        "infinite": {"timestamp": float("-inf")},
        "inside": {"in": {"timestamp": 0}, "text": '"timestamp":0'},
        "date": {"timestamp": (alarm_clock.now() - DAY * 9).date(), "text": "datetime"},
        "several": {"timestamp": [0, alarm_clock.now() - DAY * 9]},
        "no dict": (0, {"timestamp": 0}),
        "a dict": {"timestamp": {"$type": "datetime", "ms": 0, "value": "1970-01-01T00:00:00"}},
    }
    old = {
        "old": aged(alarm_clock, DAY),
        "epoch": {"timestamp": 0},
        "float": {"timestamp": 0.5, "note": "x"},
        "moment": {"timestamp": alarm_clock.now() - DAY},
        "naive": {"timestamp": (alarm_clock.now() - DAY * 2).replace(tzinfo=None)},
        "there": {"timestamp": (alarm_clock.now() - DAY).astimezone(ZoneInfo("America/New_York"))},
        "before the epoch": {"timestamp": -(10**300)},
        "first year": {"timestamp": datetime(1, 1, 1, tzinfo=UTC).replace(tzinfo=None)},
    }
    cleaner.storage.put_many(kept | old)
    assert outcomes(alarm_clock, HOUR) == ["succeeded"]
    assert set(cleaner.storage.list()) == set(kept)
    report = cleaner.last_report()
    assert report is not None
    assert (report["removed"], report["examined"], report["ended_at"]) == (len(old), len(old | kept), alarm_clock.now())


def test_an_entry_expires_with_its_millisecond(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """What is exactly of the age stays, in each way to write it; the report names the oldest that did."""
    alarm_clock.move_to(datetime(2026, 5, 1, 12, 0, 0, 123_456, tzinfo=UTC))
    limit = alarm_clock.now() - DAY
    edge = limit.replace(microsecond=123_000)
    before = edge - timedelta(microseconds=1)
    for name, moment in (("kept", edge), ("old", before)):
        number = {"timestamp": moment.timestamp() * 1000}
        ways = {"number": number, "moment": {"timestamp": moment}, "naive": {"timestamp": moment.replace(tzinfo=None)}}
        cleaner.storage.put_many({f"{name} {way}": value for way, value in ways.items()})
    assert cleaner.cleanup() == 3
    assert list(cleaner.storage.list()) == ["kept moment", "kept naive", "kept number"]
    report = cleaner.last_report()
    assert report is not None
    assert (report["oldest_left"], report["remaining"]) == (edge, 0)
