"""What counts as too old in a cleaner's own storage, the same on every database."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.test import Client

from cleaner.models import PeriodicCleaner, in_seconds
from durable_objects import doctor
from durable_objects.testing import FakeClock
from tests.apps.cleaner.test_cleaner import DAY, HOUR, aged
from tests.support.admin_pages import confirm, page_url, text_of
from tests.support.passing_time import outcomes

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


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


def test_seconds_are_not_taken_for_milliseconds(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Numbers that are seconds of our time, and as milliseconds a day of 1970, are left alone; everybody says so."""
    seconds = alarm_clock.now().timestamp()
    kept = {
        "seconds": {"timestamp": int(seconds)},
        "a fraction": {"timestamp": seconds + 0.25},
        "long ago": {"timestamp": 1_000_000_000},
        "far ahead": {"timestamp": 9_999_999_999},
    }
    old = {
        "before": {"timestamp": 999_999_999},
        "after": {"timestamp": 10_000_000_000},
        "a datetime of 1970": {"timestamp": datetime(1970, 1, 20, tzinfo=UTC)},
        "a naive one": {"timestamp": datetime(1970, 1, 20)},  # noqa: DTZ001  taken as UTC
        "negative": {"timestamp": -seconds},
    }
    cleaner.storage.put_many(kept | old)
    looked = cleaner.look()
    assert (looked.expired, looked.in_seconds) == (len(old), len(kept))
    assert in_seconds(1).startswith("1 entry is left alone: its timestamp looks like seconds")
    warning = "4 entries are left alone: their timestamp looks like seconds since the epoch"
    assert warning in run("run", "cache", "--dry-run")
    assert warning in " ".join(confirm(admin_client, PeriodicCleaner, "dry_run", [cleaner.pk]))
    assert outcomes(alarm_clock, HOUR) == ["succeeded"]
    assert set(cleaner.storage.list()) == set(kept)
    report = cleaner.last_report()
    assert report is not None
    assert (report["removed"], report["in_seconds"], report["remaining"], report["oldest_left"]) == (
        len(old),
        4,
        0,
        None,
    )
    assert warning in caplog.text
    for shown in (run("show", "cache"), run("list"), run("run", "cache")):
        assert warning in shown
    assert warning in text_of(admin_client, page_url(PeriodicCleaner, cleaner.pk))
    assert [finding.text for finding in doctor.examine(alarm_clock.now()) if finding.code == "cleaner.seconds"] == [
        f'Cleaner "cache": {warning}. Milliseconds are expected, and as such it would be a day of 1970.'
    ]
    cleaner.storage.put_many({name: aged(alarm_clock, HOUR) for name in kept})
    cleaner.cleanup()
    assert warning not in run("show", "cache").partition("run: ")[0]


def run(*arguments: str) -> str:
    """What the command wrote."""
    out = io.StringIO()
    call_command("cleaner", *arguments, stdout=out)
    return out.getvalue()
