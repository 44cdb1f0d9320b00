"""Beat's periodic tasks are written as schedules in Python: what can come along does, what cannot is said."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test.utils import isolate_apps
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)

from durable_objects.delivery import beat
from durable_objects.operations import beat_code, beat_rows
from durable_objects.operations.beat_rows import Carried
from durable_objects.recurrence import rules
from durable_objects.testing import FakeClock
from tests.architecture.sources import ROOT
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def no_other_rows() -> None:
    """Beat has no rows but those that a test makes."""
    PeriodicTask.objects.all().delete()


def crontab(**fields: Any) -> dict[str, Any]:
    """The schedule of a row by cron."""
    return {"crontab": CrontabSchedule.objects.create(**{"timezone": "UTC", **fields})}


def interval(every: int, period: str) -> dict[str, Any]:
    """The schedule of a row by an interval."""
    return {"interval": IntervalSchedule.objects.create(every=every, period=period)}


def clocked(at: datetime) -> dict[str, Any]:
    """The schedule of a row that runs once."""
    return {"clocked": ClockedSchedule.objects.create(clocked_time=at), "one_off": True}


def solar() -> dict[str, Any]:
    """The schedule of a row that goes by the sun."""
    return {"solar": SolarSchedule.objects.create(event="sunrise", latitude=40.7, longitude=-74)}


def read(**row: Any) -> Carried:
    """What a row becomes."""
    made = PeriodicTask.objects.create(**{"name": "row", "task": "shop.tasks.work", **row})
    return beat_rows.carried(PeriodicTask.objects.get(pk=made.pk), NOON)


def test_what_each_kind_of_schedule_becomes() -> None:
    """An interval is ``every``, a crontab ``cron`` in its zone, a clocked time ``at``; none of them says more."""
    assert read(name="a", **interval(10, "minutes")).times == {"every": timedelta(minutes=10)}
    berlin = crontab(minute="30", hour="3", timezone="Europe/Berlin")
    assert read(name="b", **berlin).times == {"cron": "30 3 * * *", "zone": "Europe/Berlin"}
    assert read(name="c", **crontab(minute="*/15")).times == {"cron": "*/15 * * * *"}
    later = read(name="d", **clocked(NOON + HOUR))
    assert (later.times, later.notes) == ({"at": NOON + HOUR}, [])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"minute": "0", "hour": "8-17/2", "day_of_week": "mon-fri"}, "0 8,10,12,14,16 * * 1-5"),
        ({"minute": "0", "hour": "0", "day_of_week": "fri-mon"}, "0 0 * * 0-1,5-6"),
        ({"minute": "0,30", "hour": "22-2"}, "*/30 0-2,22-23 * * *"),
        ({"minute": "5", "hour": "*", "day_of_month": "1,15", "month_of_year": "*/3"}, "5 * 1,15 */3 *"),
        ({"minute": "0", "hour": "0", "day_of_month": "*/2", "day_of_week": "5"}, "0 0 */2 * 5"),
    ],
)
def test_a_crontab_is_written_as_cron(fields: dict[str, Any], expected: str) -> None:
    """Names, ranges that wrap around and steps, as Celery reads them, in cron's text."""
    assert read(**crontab(**fields)).times == {"cron": expected}


def test_both_days_are_an_rrule() -> None:
    """Celery wants the 13th to be a Friday, cron would take each 13th and each Friday: an RRULE is as Celery."""
    row = read(**crontab(minute="0", hour="9", day_of_month="13", day_of_week="5", timezone="Europe/Berlin"))
    expected = "FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9;BYMINUTE=0;BYSECOND=0"
    assert row.times == {"rrule": expected, "zone": "Europe/Berlin"}
    assert "Celery asks for both day_of_month and day_of_week" in row.notes[0]


def test_crontabs_at_random_come_at_the_very_same_minutes() -> None:
    """40 days of 60 crontabs: each minute that Celery's own sets match is a time of ours, and no other."""
    chance = random.Random(7)
    for _ in range(60):
        fields = {
            "minute": chance.choice(["*/20", "7", "0,30", "50-10/5"]),
            "hour": chance.choice(["*", "*/6", "22-3", "9"]),
            "day_of_month": chance.choice(["*", "*/2", "13", "1-7", "28-3"]),
            "month_of_year": chance.choice(["*", "*/2", "2,3", "1-6"]),
            "day_of_week": chance.choice(["*", "*/2", "5", "mon-fri", "sat-mon", "0,6"]),
        }
        schedule = CrontabSchedule(**fields, timezone="UTC")
        rule = rules.make(**beat_rows._crontab(schedule), now=NOON)
        at = datetime(2026, 2, 1, tzinfo=UTC) - timedelta(minutes=1)
        for day in range(40):
            end = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=day + 1)
            assert _times_of(rule, at, end) == _matched(schedule.schedule, end - timedelta(days=1)), fields
            at = end - timedelta(minutes=1)


def _times_of(rule: rules.Rule, after: datetime, before: datetime) -> list[datetime]:
    found, at = [], rule.after(after)
    while at is not None and at < before:
        found.append(at)
        at = rule.after(at)
    return found


def _matched(celery: Any, day: datetime) -> list[datetime]:
    """The minutes of a day that Celery's own crontab matches."""
    if day.day not in celery.day_of_month or day.month not in celery.month_of_year:
        return []
    if day.isoweekday() % 7 not in celery.day_of_week:
        return []
    return [day.replace(hour=hour, minute=minute) for hour in sorted(celery.hour) for minute in sorted(celery.minute)]


def test_start_expiry_and_arguments_come_along() -> None:
    """``start_time`` is ``start``, ``expires`` ``end``, ``expire_seconds`` ``grace``; the arguments are the same."""
    given = {"args": '[1, "x"]', "kwargs": '{"deep": [true, null]}'}
    row = read(start_time=NOON + HOUR, expires=NOON + 2 * HOUR, **given, **interval(5, "seconds"))
    assert row.times == {"every": timedelta(seconds=5), "start": NOON + HOUR, "end": NOON + 2 * HOUR}
    assert (row.args, row.kwargs) == ([1, "x"], {"deep": [True, None]})
    row = read(name="other", expire_seconds=90, **clocked(NOON + HOUR))
    assert row.times == {"at": NOON + HOUR, "grace": timedelta(seconds=90)}
    assert row.notes == ["expire_seconds is the grace: an occurrence that could not begin in time does not run"]


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"queue": "slow"}, "queue does not come along, it was slow"),
        ({"exchange": "e"}, "exchange does not come along"),
        ({"routing_key": "r"}, "routing_key does not come along"),
        ({"priority": 0}, "priority does not come along, it was 0"),
        ({"headers": '{"a": 1}'}, "headers does not come along"),
        ({"one_off": True}, "one_off does not come along: let the method cancel"),
    ],
)
def test_what_does_not_come_along_is_said(fields: dict[str, Any], note: str) -> None:
    """Options of the message, and ``one_off``: the schedule is set, and a note says what is missing."""
    row = read(**fields, **interval(1, "hours"))
    assert row.times == {"every": HOUR}
    (said,) = row.notes
    assert note in said


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda: {**solar()}, "not set: there is no rule for the sun (Sunrise (40.700000, "),
        (lambda: {**interval(1, "hours"), "enabled": False}, "not set: it is disabled in beat"),
        (lambda: {**interval(1, "hours"), "expires": NOON - HOUR}, "not set: "),
        (lambda: {**interval(500, "microseconds")}, "not set: every is"),
        (lambda: {**interval(1, "hours"), "args": "{}"}, "not set: its args are {}, no list"),
        (lambda: {**interval(1, "hours"), "kwargs": "[NaN]"}, "not set: its kwargs are no JSON: NaN is not JSON"),
        (lambda: {**crontab(day_of_month="30", month_of_year="2", minute="0", hour="0")}, "not set: "),
        (lambda: {**interval(1, "hours"), "name": "\0"}, "not set: "),
        (lambda: {**interval(1, "hours"), "task": "celery.backend_cleanup"}, "beat's own work, which stays there"),
        (lambda: {**interval(1, "hours"), "task": beat.TASK}, "it is the dispatcher's"),
    ],
)  # fmt: skip
def test_what_is_not_set_is_said(make: Any, note: str) -> None:
    """The sun, rows that are off or over, what has no rule or no JSON, and beat's own: no call, and the reason."""
    fields = make()
    if fields.get("name") == "\0":
        row = beat_rows.carried(PeriodicTask(task="t", **fields), NOON)
    else:
        row = read(**fields)
    assert row.times == {}
    assert row.notes[0].startswith(note)


def test_a_crontab_that_celery_cannot_read_is_said() -> None:
    """A row written past the form stops nothing: its text and Celery's reason are in the note."""
    CrontabSchedule.objects.bulk_create([CrontabSchedule(minute="never", timezone="UTC")])
    row = read(crontab=CrontabSchedule.objects.get())
    assert row.times == {}
    assert row.notes[0].startswith("not set: Celery cannot read its crontab, never * * * * (m/h/dM/MY/d) UTC")


def test_without_zones_of_its_own_beat_goes_by_celerys(settings: Any) -> None:
    """With ``DJANGO_CELERY_BEAT_TZ_AWARE`` off the rows' zones count for nothing, in beat and here."""
    settings.DJANGO_CELERY_BEAT_TZ_AWARE = False
    settings.CELERY_TIMEZONE = "America/New_York"
    row = read(**crontab(minute="0", timezone="Europe/Berlin"))
    assert row.times == {"cron": "0 * * * *", "zone": "America/New_York"}


# -- the text


def rows_of_every_kind() -> None:
    """Rows that need every import, name, note and line break."""
    rows: list[dict[str, Any]] = [
        {"name": 'say "hi" to ann\'s', "task": "shop.tasks.delete", **interval(10, "minutes"), "queue": "slow"},
        {"name": "night\nly", "task": "shop.tasks.refresh", **crontab(minute="30", hour="3"), "args": '["a", 1.5, -3]'},
        {"name": "other", "task": "other.tasks.refresh", **crontab(minute="0", day_of_month="13", day_of_week="5")},
        {"name": "once", "task": "Class.Übung-9", **clocked(NOON + HOUR), "kwargs": json.dumps({"k": "word " * 60})},
        {"name": "deep", "task": "9", **interval(2, "days"), "args": json.dumps([{"k": list(range(60))}, []])},
        {"name": "sun", "task": "shop.tasks.sun", **solar()},
        {"name": "off", "task": "shop.tasks.off", **interval(1, "hours"), "enabled": False},
        {"name": "long", "task": "t." + "x" * 150, **interval(1, "seconds"), "start_time": NOON, "expire_seconds": 5},
    ]
    for row in rows:
        PeriodicTask.objects.create(**{"task": "t", **row})


def written(*arguments: str) -> str:
    """What the command prints."""
    out = StringIO()
    call_command("alarms", "from_beat", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_text_sets_what_the_rows_become(clock: FakeClock) -> None:
    """Each row that has times is one call with these, by a method of the class that sends the row's task."""
    rows_of_every_kind()
    calls: dict[str, tuple[Any, dict[str, Any]]] = {}
    schedules = SimpleNamespace(set=lambda name, method, **given: calls.update({name: (method, given)}))
    me = SimpleNamespace(schedules=schedules)
    sent: list[tuple[Any, ...]] = []
    with isolate_apps("tests"):
        namespace: dict[str, Any] = {"__name__": "tests.periodic"}
        exec(compile(written(), "periodic.py", "exec", dont_inherit=True), namespace)  # noqa: S102  that is the point
        namespace["PeriodicTasks"].set_schedules.__wrapped__(me)
        namespace["current_app"] = SimpleNamespace(send_task=lambda *given: sent.append(given))
        for method, _ in calls.values():
            method(None, 1, k=2)
    set_ = {row.name: row for row in beat_rows.read(clock.now()) if row.times}
    assert calls.keys() == set_.keys() == {'say "hi" to ann\'s', "night\nly", "other", "once", "deep", "long"}
    for name, row in set_.items():
        given = calls[name][1]
        assert (given.pop("args", []), given.pop("kwargs", {})) == (row.args, row.kwargs)
        assert given == row.times
    assert sent == [(set_[name].task, (1,), {"k": 2}) for name in calls]


def test_what_is_written_can_be_set(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``schedules.set`` takes what the rows become, and the next times are those of the rule."""
    rows_of_every_kind()
    for row in beat_rows.read(clock.now()):
        if row.times:
            obj.schedules.set(row.name, "scheduled", **row.times, args=row.args, kwargs=row.kwargs)
    assert len(obj.schedules.list()) == 6


def test_the_text_has_the_projects_style(clock: FakeClock, tmp_path: Path) -> None:
    """Ruff finds nothing in it by this project's own rules, and would not format it otherwise."""
    rows_of_every_kind()
    text = written("--name", "Nightly")
    assert "class Nightly(DurableObject):" in text
    for check in (["check"], ["format", "--check", "--diff"]):
        command = [sys.executable, "-m", "ruff", *check, "--no-cache", "--stdin-filename", "project/periodic.py", "-"]
        done = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_rows_are_a_class_too(clock: FakeClock) -> None:
    """Without anything to set the text is still Python, and says so little."""
    compile(written(), "periodic.py", "exec")
    PeriodicTask.objects.create(name="sun", task="t", **solar())
    text = written()
    compile(text, "periodic.py", "exec")
    assert "there is no rule for the sun" in text


def test_a_name_is_no_reason_for_an_import(clock: FakeClock) -> None:
    """What is imported is what the calls use, whatever words a row has; and nothing in a text steers a terminal."""
    PeriodicTask.objects.create(name="datetime UTC", task="a\x1b[2J\u2028b", queue="\x1b", **interval(1, "hours"))
    text = beat_code.class_text(beat_rows.read(clock.now()), "PeriodicTasks")
    assert "from datetime import timedelta\n" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.slow
def test_the_text_is_strictly_typed(clock: FakeClock, tmp_path: Path) -> None:
    """Mypy --strict finds nothing in it."""
    rows_of_every_kind()
    file = tmp_path / "periodic.py"
    file.write_text(written(), "utf-8")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_json_has_a_line_for_each_row(clock: FakeClock) -> None:
    """With the times as text and seconds, and the notes."""
    rows_of_every_kind()
    lines = {line["name"]: line for line in map(json.loads, written("--json").splitlines())}
    assert len(lines) == 8
    assert lines["once"]["times"] == {"at": (NOON + HOUR).isoformat()}
    assert lines["deep"]["times"] == {"every": 172_800.0}
    assert (lines["off"]["set"], lines["off"]["notes"]) == (False, ["not set: it is disabled in beat"])


def test_nothing_is_changed(clock: FakeClock) -> None:
    """Beat's rows and its mark of a change are as they were."""
    rows_of_every_kind()
    before = (list(PeriodicTask.objects.values()), list(PeriodicTasks.objects.values()))
    written()
    assert (list(PeriodicTask.objects.values()), list(PeriodicTasks.objects.values())) == before


def test_method_names_are_free_and_differ() -> None:
    """No method hides one of the engine's or Django's, and two tasks never share one."""
    names = beat_code._methods({"a.save", "b.save", "a.alarm", "a.class", "x.work", "y.work", "a.9", "a.é"}, {"Some"})
    assert len(set(names.values())) == len(names)
    assert [names[task] for task in ("a.save", "a.alarm", "a.class", "a.9", "x.work")] == [
        "task_save", "task_alarm", "task_class", "task_9", "work",
    ]  # fmt: skip
    assert names["y.work"] == "y_work"
    for name in names.values():
        assert name.isidentifier()
        assert not hasattr(Scripted, name)


def test_what_the_command_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no class can have; and a project without beat, in words."""
    with pytest.raises(CommandError, match="'my class' is no name for a class"):
        written("--name", "my class")
    monkeypatch.setattr(beat, "is_installed", lambda: False)
    with pytest.raises(CommandError, match="not among INSTALLED_APPS"):
        written()
