"""``manage.py cleaner``."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from cleaner.models import CleanerSettings, PeriodicCleaner
from durable_objects import InvalidInput, durations
from durable_objects.tables import Object
from durable_objects.testing import FakeClock

HOUR = timedelta(hours=1)


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints."""
    call_command("cleaner", *arguments)
    return capsys.readouterr().out


def read(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What it prints as JSON."""
    return json.loads(say(capsys, *arguments, "--json"))


@pytest.mark.django_db
def test_from_start_to_stop(capsys: pytest.CaptureFixture[str], alarm_clock: FakeClock) -> None:
    """Each verb does what its help says, and tells how the cleaner stands."""
    started = read(capsys, "start", "cache", "--interval", "1h30m", "--max-age", "2d")
    assert (started["interval"], started["max_age"], started["cleans"]) == (5400, 172_800, "storage")
    cleaner = PeriodicCleaner.objects.get_by_name("cache")
    assert started["next"] == (alarm_clock.now() + HOUR * 1.5).isoformat()
    cleaner.storage.put_many({"old": {"timestamp": 0}, "other": 1})
    assert read(capsys, "run", "cache", "--dry-run") == {"cleaner": "cache", "would_remove": 1}
    assert read(capsys, "run", "cache")["removed"] == 1
    shown = read(capsys, "show", "cache")
    assert (shown["warnings"], [run["removed"] for run in shown["runs"]]) == ([], [1])
    assert say(capsys, "list").split()[1:] == ["1h", "30m", "2d", "storage", "cache"]
    alarm_clock.advance(HOUR * 3)
    assert "warning: Behind: a cleanup was due 1h 30m ago." in say(capsys, "show", "cache")
    stopped = read(capsys, "stop", "cache")
    assert (stopped["stopped"], stopped["warnings"], cleaner.storage.get_alarm()) == (True, [], None)
    assert read(capsys, "start", "cache")["stopped"] is False


@pytest.mark.django_db
def test_a_look_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A cleaner that was never used is shown as that, and stays so."""
    assert read(capsys, "show", "never")["used"] is False
    assert read(capsys, "run", "never", "--dry-run")["would_remove"] == 0
    assert not Object.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interval", "60"], 'argument --interval: "60" is not a span of time'),
        (["--interval", "0s"], "interval is datetime.timedelta"),
        (["--model", "auth.User"], "CLEANER\\['MODELS'\\] is empty"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str) -> None:
    """A wrong argument is refused with what is allowed, and nothing is made."""
    with pytest.raises(CommandError, match=message):
        call_command("cleaner", "start", "cache", "--max-age", "1d", *arguments)
    assert not Object.objects.exists()
    assert not CleanerSettings.objects.exists()


@pytest.mark.django_db
def test_list_asks_for_all_cleaners_together() -> None:
    """Listing three cleaners takes as many queries as listing one."""
    numbers = []
    for count in (1, 3):
        for number in range(count):
            PeriodicCleaner.objects.get_by_name(f"c{number}").start()
        with CaptureQueriesContext(connection) as queries:
            call_command("cleaner", "list", "--json", stdout=StringIO())
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36500)))
def test_spans_are_read_as_they_are_written(span: timedelta) -> None:
    """What is shown in a form gives back the same span."""
    assert durations.parse(durations.write(span)) == span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("1h 30m", 5400), (" 1D 2H ", 93_600), ("1.5h", 5400), ("2w", 1_209_600),
     ("01:30:00", 5400), ("1 00:00:05", 86_405), ("PT1H", 3600), ("0s", 0)],
)  # fmt: skip
def test_spans(text: str, seconds: int) -> None:
    """Units as people write them, and the ways that Django reads."""
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "60", "1", "h", "1x", "30m1h", "1h1h", "-1h", "1h,", "999999999999w", "1e3s", ":", "1M", "1H30M", "3mo",
     "1 month", "1y", "P1M", "P1Y", "p1m", "P1Y2M", "true"],
)  # fmt: skip
def test_what_is_no_span(text: str) -> None:
    """A number without a unit could mean anything, and so could units in the wrong order, or months."""
    with pytest.raises(InvalidInput, match="Allowed: numbers with units"):
        durations.parse(text)
