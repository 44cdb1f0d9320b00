"""``manage.py alarms``: what an operator does from a shell."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from pytest_django import Settings

from durable_objects.tables import Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Impatient, Script, Scripted
from tests.support.terminal import Terminal

pytestmark = pytest.mark.django_db(transaction=True)

KIND = "tests.Scripted"


def alarms(*arguments: str) -> list[Any]:
    """Return what the command prints with ``--json``, a value per line."""
    out = StringIO()
    call_command("alarms", *arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_list_shows_the_next_one_first(clock: FakeClock, script: Script) -> None:
    """Armed alarms come in the order in which they are due, with all that one asks about them."""
    for name, seconds in (("later", 60), ("sooner", 30)):
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(seconds=seconds))
    sooner, later = alarms("list")
    assert [sooner["name"], later["name"]] == ["sooner", "later"]
    assert sooner["due_at"] == (clock.now() + timedelta(seconds=30)).isoformat()
    assert (sooner["state"], sooner["retry_count"], sooner["kind"]) == ("armed", 0, "tests.Scripted")
    assert alarms("list", "--state", "overdue") == []
    clock.advance(timedelta(seconds=41))
    assert [row["name"] for row in alarms("list", "--state", "overdue")] == ["sooner"]


def test_move_run_and_cancel(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An alarm is moved to a time or by a span from now, run at once, and deleted."""
    assert alarms("move", KIND, obj.name, "90") == [{"alarm": (clock.now() + timedelta(seconds=90)).isoformat()}]
    assert alarms("move", KIND, obj.name, "1h 30m") == [{"alarm": (clock.now() + timedelta(minutes=90)).isoformat()}]
    assert alarms("move", KIND, obj.name, "2031-01-01T01:00:00+01:00") == [{"alarm": "2031-01-01T00:00:00+00:00"}]
    assert alarms("run", KIND, obj.name) == [{"run": True}]
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert alarms("cancel", KIND, obj.name) == [{"cancelled": False}]
    obj.storage.set_alarm(timedelta(hours=1))
    assert alarms("cancel", KIND, obj.name) == [{"cancelled": True}]
    assert obj.storage.get_alarm() is None


@pytest.mark.parametrize("arguments", [("run", "tests.Counter", "a"), ("move", "tests.Counter", "a", "5m")])
def test_an_object_with_schedules_alone_is_led_to_them(arguments: tuple[str, ...], clock: FakeClock) -> None:
    """Where there is no alarm to run or to move, the error names the command that runs a schedule."""
    Counter.objects.get_by_name("a").schedules.set("nightly", "add", every=timedelta(hours=1), args=[1])
    with pytest.raises(CommandError, match=r"It has schedules: `manage\.py schedules run tests\.Counter a nightly`"):
        alarms(*arguments)


def test_running_an_alarm_beside_schedules_says_what_ran(clock: FakeClock, obj: Scripted) -> None:
    """Where only schedules were set, `run` says that it is alarm() that runs, and how a schedule is run."""
    obj.schedules.set("nightly", "scheduled", every=timedelta(hours=1))
    hint = f"due now: alarm(). It has schedules: `manage.py schedules run {KIND} {obj.name} nightly` runs one now"
    for told in (hint, "due now"):
        out = StringIO()
        call_command("alarms", "run", KIND, obj.name, stdout=out)
        assert out.getvalue() == f"{told}\n"


def test_revive_is_for_the_dead_only(clock: FakeClock) -> None:
    """A dead alarm is listed with its error and runs again once revived; one that is not dead is refused."""
    obj = Impatient.objects.get_by_name("a")
    obj.storage.set_alarm(timedelta(0))
    run_due_alarms()
    clock.advance(timedelta(seconds=2))
    assert [run.outcome for run in run_due_alarms()] == ["dead"]
    assert [row["error"] for row in alarms("list", "--state", "dead")] == ["ValueError: no patience"]
    assert alarms("revive", "tests.Impatient", "a") == [{"revived": True}]
    assert [run.retry_count for run in run_due_alarms()] == [0]
    with pytest.raises(CommandError, match="nothing was revived"):
        alarms("revive", "tests.Impatient", "a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "tests.Nothing", "a"), "no class 'tests.Nothing'"),
        (("run", "auth.User", "a"), "not a durable object"),
        (
            ("explain", "Scripted", "a"),
            r"no class 'Scripted': KIND is app_label.ClassName; did you mean tests.Scripted\?",
        ),
        (("explain", "test.scriptd", "a"), r"did you mean tests.Scripted\?"),
        (("explain", "nothing.like.it", "a"), "KIND is app_label.ClassName; `manage.py objects list` shows"),
        (("run", KIND, ""), "characters"),
        (("move", KIND, "a", "tomorrow"), "neither an ISO time nor a span of time"),
        (("move", KIND, "a", "2031-01-01T00:00:00"), "naive"),
    ],
)
def test_bad_input_is_refused_in_words(arguments: tuple[str, ...], words: str) -> None:
    """What cannot be meant is refused in one line that says what can, and makes no row."""
    with pytest.raises(CommandError, match=words):
        alarms(*arguments)
    assert not Object.objects.exists()


def test_dispatch_makes_one_pass_and_prints_its_figures(obj: Scripted, published: list[Any]) -> None:
    """One pass, its figures by name."""
    (figures,) = alarms("dispatch")
    assert set(figures) == {"published", "rescued", "pruned"}


@pytest.mark.parametrize("command", [("alarms", "list"), ("objects", "list", KIND)])
def test_a_terminal_is_shown_what_the_columns_are(command: tuple[str, ...], clock: FakeClock, script: Script) -> None:
    """A list has a header on a terminal, its columns below it; a pipe gets the rows alone. Classes are as admin's."""
    for name in ("a", "a longer name"):
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(seconds=30))
    piped, shown = StringIO(), Terminal()
    call_command(*command, stdout=piped)
    call_command(*command, stdout=shown)
    header, *rows = shown.getvalue().splitlines()
    assert rows == piped.getvalue().splitlines()
    assert header.split()[0] in {"DUE", "ALARM"}
    assert {row[header.index("NAME") :].split("  ")[0] for row in rows} == {"a", "a longer name"}


def test_errors_of_the_checks_are_lines(settings: Settings) -> None:
    """What ``check`` finds wrong before a command runs is shown as ``check`` shows it, each with its hint below."""
    settings.DATABASE_ROUTERS = ["tests.engine.management.test_alarms_command.Elsewhere"]
    with pytest.raises(CommandError) as refused:
        call_command("alarms", "list", skip_checks=False)
    assert isinstance(refused.value, SystemCheckError)  # whose own name Django writes before no line
    lines = str(refused.value).splitlines()
    assert any(line.startswith("?: (durable_objects.E013)") for line in lines)
    assert any(line.strip().startswith("HINT: Begin DATABASE_ROUTERS") for line in lines)


def test_no_page_of_the_site_is_imported_for_a_command(settings: Settings) -> None:
    """The checks before a command of the engine are the engine's: it starts where the site's addresses cannot."""
    settings.ROOT_URLCONF = "no_such_module"
    call_command("alarms", "list", skip_checks=False)


class Elsewhere:
    """A router that writes all models to a database that is not the engine's."""

    def db_for_write(self, model: object, **hints: object) -> str:
        return "elsewhere"


def test_where_takes_a_selection(clock: FakeClock, script: Script) -> None:
    """What matches a selection is listed in whatever state it is, and changed in the state that the verb is for."""
    for name, seconds in (("eu-1", 60), ("eu-2", 30), ("us-1", 30)):
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(seconds=seconds))
    dying = Impatient.objects.get_by_name("eu-3")
    dying.storage.set_alarm(timedelta(0))
    run_due_alarms()
    clock.advance(timedelta(seconds=2))
    run_due_alarms()
    assert {row["name"] for row in alarms("list", "--where", "eu-")} == {"eu-1", "eu-2", "eu-3"}
    assert [row["name"] for row in alarms("list", "--where", "error:patience")] == ["eu-3"]
    assert [row["name"] for row in alarms("list", "--where", "eu- due<45s")] == ["eu-2"]
    assert alarms("cancel", "--all", "--where", "eu-", "--yes")[0]["done"] == 2
    assert alarms("revive", "--all", "--where", "error:patience", "--yes")[0]["done"] == 1
    with pytest.raises(CommandError, match=r'"state:deaf" names no state. Allowed: idle, armed'):
        alarms("list", "--where", "state:deaf")
    with pytest.raises(CommandError, match="--where has name:, and an option too: leave out one of them"):
        alarms("list", "--where", "eu-", "--prefix", "us-")


def test_objects_of_any_class_are_found_by_what_they_store(clock: FakeClock, script: Script) -> None:
    """``objects list`` finds by a stored value, over all classes, and shows the class of each."""
    Scripted.objects.get_by_name("a").storage.put("customer", "ann")
    Scripted.objects.get_by_name("b").storage.put("customer", "bob")
    out = StringIO()
    call_command("objects", "list", "--where", "key:customer value:ann", stdout=out)
    assert out.getvalue().split() == ["idle", "a", "tests.Scripted"]
