"""``manage.py schedules``: what an operator sees of schedules, and does to one."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from durable_objects.operations import pauses
from durable_objects.tables import Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

KIND = "tests.Scripted"
HOUR = timedelta(hours=1)


def schedules(*arguments: str) -> list[Any]:
    """Return what the command prints with ``--json``, a value per line."""
    out = StringIO()
    call_command("schedules", *arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def text(*arguments: str) -> str:
    """Return what the command prints for people."""
    out = StringIO()
    call_command("schedules", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def dead(obj: Scripted, script: Script, clock: FakeClock) -> Scripted:
    """An object with a schedule whose occurrence is dead."""
    script.scheduled = lambda obj: 1 / 0
    obj.schedules.set("bad", "scheduled", every=HOUR)
    for retry in range(7):
        run_due_alarms()
        clock.advance(timedelta(seconds=2 << retry))
    script.scheduled = lambda obj: None
    return obj


def test_a_selection_chooses_schedules(obj: Scripted, dead: Scripted) -> None:
    """``--where`` chooses by class, name and error, as the list in admin does; what it cannot mean is refused."""
    Scripted.objects.get_by_name("b").schedules.set("x", "scheduled", every=HOUR)
    group = Schedule.objects.exclude(error_group="").values_list("error_group", flat=True)[0]

    def found(where: str, *more: str) -> list[str]:
        return [row["schedule"] for row in schedules("list", "--where", where, *more)]

    assert found("name:b") == ["x"]
    assert found(f"class:{KIND} name:a error:division") == ["bad"]
    assert found(f"error:{group}", "--state", "dead") == ["bad"]
    assert found("class:tests.Counter") == []
    for where, says in [("due<1h", "cannot be chosen by due<"), ("state:dead", "cannot be chosen by state:")]:
        with pytest.raises(CommandError, match=says):
            found(where)
    with pytest.raises(CommandError, match="leave out one of them"):
        found("name:a", "--prefix", "b")
    call_command("schedules", "revive", "--all", "--where", "name:b", "--yes", stdout=StringIO())
    assert Schedule.objects.get(name="bad").died_at is not None
    call_command("schedules", "revive", "--all", "--where", "error:division", "--yes", stdout=StringIO())
    assert Schedule.objects.get(name="bad").died_at is None


def test_list_shows_the_next_one_first(obj: Scripted, clock: FakeClock) -> None:
    """Schedules come in the order in which they are due, with what one asks; filters leave out others."""
    obj.schedules.set("later", "scheduled", cron="0 18 * * *", zone="Europe/Berlin")
    obj.schedules.set("sooner", "scheduled", every=HOUR)
    Scripted.objects.get_by_name("b").schedules.set("x", "scheduled", after=2 * HOUR)
    found = schedules("list")
    assert [row["schedule"] for row in found] == ["sooner", "x", "later"]
    assert (found[0]["kind"], found[0]["name"], found[0]["when"]) == (KIND, "a", "every hour")
    assert found[2]["when"] == "cron 0 18 * * * in Europe/Berlin"
    assert [row["schedule"] for row in schedules("list", "--state", "due")] == ["sooner"]
    assert [row["schedule"] for row in schedules("list", "--prefix", "b")] == ["x"]
    assert [row["schedule"] for row in schedules("list", "--class", KIND, "--limit", "1")] == ["sooner"]
    assert "every hour" in text("list")


def test_paused_schedules_are_listed(obj: Scripted, clock: FakeClock) -> None:
    """Those that would run are paused with their object, its class, or everything."""
    obj.schedules.set("a", "scheduled", every=HOUR)
    other = Scripted.objects.get_by_name("b")
    other.schedules.set("b", "scheduled", every=HOUR)

    def paused() -> list[str]:
        return sorted(row["schedule"] for row in schedules("list", "--state", "paused"))

    assert paused() == []
    pauses.pause(other)
    assert paused() == ["b"]
    pauses.pause(Scripted)
    assert paused() == ["a", "b"]
    pauses.resume(other)
    pauses.resume(Scripted)
    assert paused() == []
    pauses.pause(None)
    assert paused() == ["a", "b"]


def test_show_and_preview(obj: Scripted, clock: FakeClock) -> None:
    """One is shown with its arguments and times; a preview tells what an outage would do."""
    obj.schedules.set("a", "scheduled", every=HOUR, args=[1], kwargs={"x": 2}, misfire="one", grace=2 * HOUR)
    (shown,) = schedules("show", KIND, "a", "a", "-n", "2")
    assert (shown["args"], shown["kwargs"], shown["grace"]) == ([1], {"x": 2}, 7200)
    assert shown["times"] == [(clock.now() + n * HOUR).isoformat() for n in range(2)]
    words = text("show", KIND, "a", "a")
    assert "scheduled(1, x=2)" in words
    assert "every hour; missed times: one, not later than 2:00:00" in words
    down = [(clock.now() + n * HOUR).isoformat() for n in (0, 5)]
    (preview,) = schedules("preview", KIND, "a", "a", "--down", *down)
    assert (preview["text"], preview["skipped"]) == ("1 runs, 5 skipped", 5)
    assert "1 runs, 5 skipped" in text("preview", KIND, "a", "a", "--down", *down)


def test_run_cancel_and_revive(dead: Scripted, clock: FakeClock) -> None:
    """A schedule is run now, its dead occurrence revived, and it is cancelled; what is not there is an error."""
    assert [row["schedule"] for row in schedules("list", "--state", "dead")] == ["bad"]
    assert "the occurrence of" in text("show", KIND, "a", "bad")
    assert schedules("run", KIND, "a", "bad") == [{"done": "run"}]
    assert len(run_due_alarms()) == 1
    assert schedules("revive", KIND, "a", "bad") == [{"done": "revive"}]
    assert len(run_due_alarms()) == 1
    with pytest.raises(CommandError, match="no dead occurrence 'bad'"):
        schedules("revive", KIND, "a", "bad")
    assert schedules("cancel", KIND, "a", "bad") == [{"done": "cancel"}]
    assert not Schedule.objects.exists()
    with pytest.raises(CommandError, match="no schedule 'bad': it has none"):
        schedules("show", KIND, "a", "bad")


def test_revive_all_asks_first(dead: Scripted) -> None:
    """All dead occurrences that match are revived at once, after a question; without an answer nothing is done."""
    with pytest.raises(CommandError, match="add --yes"):
        schedules("revive", "--all")
    assert schedules("revive", "--all", "--prefix", "nobody", "--yes")[0]["done"] == 0
    assert schedules("revive", "--all", "--class", KIND, "--yes")[0] == {"done": 1, "failed": 0, "failures": []}
    assert not Schedule.objects.exclude(died_at=None).exists()
    with pytest.raises(CommandError, match="name one by KIND, NAME and SCHEDULE"):
        schedules("revive")


def test_a_kind_is_a_class_of_objects(clock: FakeClock) -> None:
    """A model that is no durable object is refused by name, also where the database knows it."""
    for verb in (("list", "--class", "auth.Group"), ("show", "auth.Group", "a", "b")):
        with pytest.raises(CommandError, match="not a durable object"):
            schedules(*verb)
    with pytest.raises(CommandError, match="not a durable object"):
        call_command("alarms", "pause", "auth.Group")
