"""What a series should be, worked out another way: dateutil's own list on the wall clock, turned into moments, sorted.

It goes through the whole rule from its start, needs the list as a whole, and shares no line with
``reminders.recurrence``.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr
from hypothesis import strategies as st

#: The zones that were hard elsewhere: half-hour shifts, a lost day, the date line, changes of summer time at midnight.
ZONES = [
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC", "Asia/Kathmandu",
    "America/Sao_Paulo", "Africa/Cairo", "Asia/Tehran", "Pacific/Chatham", "America/St_Johns", "Europe/Dublin",
    "Africa/Casablanca", "Asia/Tokyo", "Pacific/Auckland", "America/Havana", "Asia/Beirut", "America/Santiago",
    "Antarctica/Troll", "Asia/Kolkata",
]  # fmt: skip


def moment(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a wall time: the first of two, and one that does not exist as far behind the gap as into it."""
    return wall_time.replace(tzinfo=zone, fold=0).astimezone(UTC)


def expand(start: datetime, rule: str, zone_name: str, count: int) -> tuple[list[datetime], datetime | None]:
    """The moments of the rule's first ``count`` wall times, and up to when that is all of them (None: for ever)."""
    zone = ZoneInfo(zone_name)
    local = start.astimezone(zone)
    wall_times = [wall_time.replace(tzinfo=None) for wall_time in islice(iter(rrulestr(rule, dtstart=local)), count)]
    at_start = local.replace(tzinfo=None, microsecond=0)
    moments = {start if wall_time == at_start else moment(wall_time, zone) for wall_time in wall_times}
    complete = None if len(wall_times) < count else moment(wall_times[-1], zone) - timedelta(days=2)
    return sorted(at for at in moments if at >= start), complete


def _parts(frequency: str) -> st.SearchStrategy[list[str]]:
    days = st.lists(st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]), min_size=1, max_size=3, unique=True)
    choices: dict[str, st.SearchStrategy[str]] = {
        "BYDAY": days.map(",".join),
        "BYHOUR": st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True).map(lambda v: ",".join(map(str, v))),
        "BYMINUTE": st.lists(st.sampled_from([0, 10, 30, 45]), min_size=1, max_size=2, unique=True).map(
            lambda values: ",".join(map(str, values))
        ),
        "BYMONTH": st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True).map(
            lambda values: ",".join(map(str, values))
        ),
        "BYSETPOS": st.sampled_from(["1", "-1", "2,3", "1,-1"]),
        "WKST": st.sampled_from(["MO", "SU", "WE"]),
    }
    if frequency == "HOURLY":
        del choices["BYSETPOS"]
    if frequency in {"MONTHLY", "YEARLY"}:
        choices["BYMONTHDAY"] = st.sampled_from(["1", "15", "-1", "28,29,30", "31"])
    chosen = st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True)
    return chosen.flatmap(
        lambda names: st.tuples(*(choices[name].map(lambda value, name=name: f"{name}={value}") for name in names)).map(  # type: ignore[misc]  # binds the loop's name
            list
        )
    )


@st.composite
def rules(draw: st.DrawFn) -> str:
    """An RRULE of any sort that reminders take; one in two has a COUNT."""
    frequency = draw(st.sampled_from(["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    interval = draw(st.sampled_from(["", "", ";INTERVAL=2", ";INTERVAL=3", ";INTERVAL=7"]))
    parts = "".join(f";{part}" for part in draw(_parts(frequency)))
    count = draw(st.one_of(st.just(""), st.integers(1, 60).map(lambda count: f";COUNT={count}")))
    return f"FREQ={frequency}{interval}{parts}{count}"


@st.composite
def starts(draw: st.DrawFn, zone_name: str) -> datetime:
    """A start near a change of the zone's clocks if there is one, in 2011 (Apia's lost day) or in 2026."""
    day = draw(st.sampled_from(_changes(zone_name))) - timedelta(days=draw(st.integers(0, 30)))
    return day.replace(hour=draw(st.integers(0, 23)), minute=draw(st.sampled_from([0, 10, 30, 45])))


@functools.cache
def _changes(zone_name: str) -> list[datetime]:
    """The days on which the zone's clocks are changed; the first of January where they are not."""
    zone = ZoneInfo(zone_name)
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day) for year in (2011, 2026) for day in range(365)]
    day_before = timedelta(days=1)
    changed = [
        day for day in days if day.astimezone(zone).utcoffset() != (day - day_before).astimezone(zone).utcoffset()
    ]
    return changed or days[:1]
