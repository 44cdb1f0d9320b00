"""A year of reminders through the engine, and millions of times through the schedule alone: none missed, none doubled.

Figures are printed (``-s``). TEST_REMINDERS and TEST_OCCURRENCES say how many (100,000 and 5,000,000).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from reminders import channels
from reminders.channels import Message
from reminders.models import Reminder
from reminders.recurrence import Series
from tests.support.recurrence_by_dateutil import ZONES, expand

pytestmark = pytest.mark.bench

REMINDERS = int(os.environ.get("TEST_REMINDERS", "100000"))
#: ``1/2`` is the second half of them: for a process beside another.
SHARD, SHARDS = (int(part) for part in os.environ.get("TEST_SHARD", "0/1").split("/"))
OCCURRENCES = int(os.environ.get("TEST_OCCURRENCES", "5000000"))
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
#: A pass is made so long after the first that is due.
SLACK = timedelta(minutes=20)

#: For each reminder one of these: 200 of them give 400 occurrences in the year, at times when clocks are changed too.
RULES = [
    *["FREQ=YEARLY;COUNT=3"] * 96,
    *["FREQ=MONTHLY;INTERVAL=6;COUNT=5"] * 50,
    *["FREQ=DAILY;INTERVAL=120;COUNT=3"] * 28,
    *["FREQ=MONTHLY;BYDAY=-1SU;BYMONTH=3,10"] * 10,
    *["FREQ=DAILY;BYMONTH=3;BYMONTHDAY=28,29,30\nEXDATE:20260330T023000"] * 4,
    *["FREQ=WEEKLY;BYDAY=MO,FR;COUNT=8"] * 10,
    *["FREQ=YEARLY;BYMONTH=3,4,10;BYDAY=1SU,2SU;COUNT=6"] * 2,
]
#: What goes on for years: by the hour, over every change of the clocks, with and without COUNT.
LONG_RULES = [
    "FREQ=HOURLY",
    "FREQ=DAILY",
    "FREQ=DAILY;BYHOUR=2,9;BYMINUTE=30",
    "FREQ=HOURLY;INTERVAL=5;BYMINUTE=15,45",
    "FREQ=WEEKLY;BYDAY=MO,WE,SU",
    "FREQ=DAILY;COUNT=50000",
    "FREQ=HOURLY;COUNT=50000;BYMINUTE=0,30",
]


def orders() -> Iterator[tuple[str, datetime, str, str]]:
    """Name, start, rule and zone of each reminder: starts all over January, half of them at 02:30 by the clock."""
    for number in range(SHARD, REMINDERS, SHARDS):
        zone = ZONES[number % len(ZONES)]
        minute = 150 if number % 2 else number * 7 % 1440
        local = datetime(2026, 1, 1 + number % 28, minute // 60, minute % 60, tzinfo=ZoneInfo(zone))
        yield f"r{number}", local, RULES[number // len(ZONES) % len(RULES)], zone


def expected(start: datetime, rule: str, zone: str) -> list[datetime]:
    """What comes in the year, by the other expansion, EXDATE taken out by hand."""
    line, _, left_out = rule.partition("\nEXDATE:")
    moments, _ = expand(start, line, zone, 40)
    wall_time = datetime.strptime(left_out, "%Y%m%dT%H%M%S") if left_out else None  # noqa: DTZ007  a wall time
    local = ZoneInfo(zone)
    return [
        at for at in moments if at < END and (not wall_time or at.astimezone(local).replace(tzinfo=None) != wall_time)
    ]


@pytest.mark.django_db
def test_a_year_through_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every occurrence of every reminder in a simulated year is delivered once, never early."""
    seen: Counter[tuple[str, datetime]] = Counter()
    wanted: Counter[tuple[str, datetime]] = Counter()
    with FakeClock(YEAR - timedelta(days=1)) as clock:

        def take(message: Message) -> None:
            assert message.planned_at <= clock.now()
            seen[message.reminder, message.planned_at] += 1

        monkeypatch.setitem(channels._channels, "log", take)
        began = time.perf_counter()
        for name, start, rule, zone in orders():
            Reminder.objects.get_by_name(name).set_reminder("m", start, recurrence=rule, time_zone=zone)
            wanted.update((name, at) for at in expected(start, rule, zone))
        set_after = time.perf_counter() - began
        began = time.perf_counter()
        while due := Alarm.objects.filter(state="armed").order_by("due_at").values_list("due_at", flat=True).first():
            if due >= END:
                break
            clock.move_to(min(due + SLACK, END - timedelta(microseconds=1)))
            run_due_alarms(limit=REMINDERS, raise_errors=True)
        run_after = time.perf_counter() - began
    print(
        f"\n{connection.vendor}: {REMINDERS // SHARDS:,} reminders in {len(ZONES)} zones set in {set_after:.0f} s; "
        f"in the year {seen.total():,} delivered of {wanted.total():,}, missed {(wanted - seen).total()}, doubled "
        f"{sum(count - 1 for count in seen.values())}, unasked {len(seen.keys() - wanted.keys())}, in {run_after:.0f} s"
    )
    assert seen == wanted
    assert AlarmRun.objects.exclude(outcome="succeeded").count() == 0


def test_millions_through_the_schedule_alone() -> None:
    """From place to place over years: every time that the other expansion has, none twice."""
    each = OCCURRENCES // (len(ZONES) * len(LONG_RULES)) + 1
    began, found, missed, doubled = time.perf_counter(), 0, 0, 0
    spent = 0.0
    for zone in ZONES:
        for rule in LONG_RULES:
            start = datetime(2009, 12, 31, 2, 30, tzinfo=ZoneInfo(zone))
            series = Series(start, rule, zone)
            at = time.perf_counter()
            got: list[datetime] = []
            place = series.opening()
            while place is not None and len(got) < each:
                got.append(place.at)
                place = series.following(place, place.at)
            spent += time.perf_counter() - at
            want = expand(start, rule, zone, each + 400)[0]
            want = [moment for moment in want if moment <= got[-1]]
            found += len(got)
            missed += len(set(want) - set(got))
            doubled += len(got) - len(set(got))
            assert got == want
    took = time.perf_counter() - began
    print(
        f"\n{found:,} occurrences of {len(LONG_RULES)} rules in {len(ZONES)} zones in {spent:.0f} s of {took:.0f} s "
        f"with the comparison: {1e6 * spent / found:.0f} us each; missed {missed}, doubled {doubled}"
    )
