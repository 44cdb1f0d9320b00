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
from tests.models import Impatient, Script, Scripted
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
    """An alarm is moved to a time or by seconds from now, run at once, and deleted."""
    assert alarms("move", KIND, obj.name, "90") == [{"alarm": (clock.now() + timedelta(seconds=90)).isoformat()}]
    assert alarms("move", KIND, obj.name, "2031-01-01T01:00:00+01:00") == [{"alarm": "2031-01-01T00:00:00+00:00"}]
    assert alarms("run", KIND, obj.name) == [{"run": True}]
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert alarms("cancel", KIND, obj.name) == [{"cancelled": False}]
    obj.storage.set_alarm(timedelta(hours=1))
    assert alarms("cancel", KIND, obj.name) == [{"cancelled": True}]
    assert obj.storage.get_alarm() is None


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
        (("move", KIND, "a", "tomorrow"), "neither an ISO time nor a number of seconds"),
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


class Elsewhere:
    """A router that writes all models to a database that is not the engine's."""

    def db_for_write(self, model: object, **hints: object) -> str:
        return "elsewhere"
