"""``manage.py operations``, and ``--all`` of ``alarms``: a verb on everything that matches."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Alarm, Operation
from tests.models import Script, Scripted
from tests.support.many_alarms import dead_alarms

pytestmark = pytest.mark.django_db(transaction=True)

DEAD = "class:tests.Scripted state:dead"


def run(*arguments: str) -> list[dict[str, Any]]:
    """What the command prints as JSON."""
    out = io.StringIO()
    call_command(*arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_starts_one_and_does_it_here(script: Script) -> None:
    """Without any worker the command does it itself, and its figures are on record."""
    dead_alarms(Scripted, 250)
    [said] = run("operations", "start", "revive", "--where", DEAD, "--yes", "--reason", "stock is back")
    assert (said["done"], said["failed"], said["state"]) == (250, 0, "done")
    [listed] = run("operations", "list")
    assert (listed["id"], listed["reason"], listed["total"]) == (said["operation"], "stock is back", 250)
    assert Alarm.objects.filter(state="armed").count() == 250


def test_alarms_take_all_by_an_operation(script: Script) -> None:
    """``alarms … --all`` is an operation as well: it is on record, by whom, and it can be followed."""
    dead_alarms(Scripted, 3)
    [said] = run("alarms", "revive", "--all", "--where", "class:tests.Scripted", "--yes", "--reason", "stock")
    assert (said["done"], Operation.objects.get().reason) == (3, "stock")
    [said] = run("alarms", "move", "--all", "--yes", "2040-01-01T00:00:00+00:00")
    assert said["done"] == 3
    assert Alarm.objects.filter(due_at__year=2040).count() == 3


def test_takes_what_the_verb_takes(script: Script) -> None:
    """Options that a verb does not have are refused, and so is everything without a selection."""
    dead_alarms(Scripted, 2)
    Alarm.objects.update(state="armed", due_at="2040-01-01T00:00:00Z")
    [said] = run("operations", "start", "spread", "--where", "class:tests.Scripted", "--over", "1h", "--yes")
    assert said["done"] == 2
    for refused, says in {
        ("revive", "--where", DEAD, "--over", "1h"): "it takes nothing",
        ("revive",): "say what it is done to",
        ("spread", "--where", DEAD): "over is missing",
        ("revive", "--where", "colour:red"): "colour",
    }.items():
        with pytest.raises(CommandError, match=says):
            call_command("operations", "start", *refused, "--yes")
    assert Operation.objects.count() == 1


def test_stops_shows_and_resumes(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C stops it at a chunk's edge and says how to go on; ``resume`` does."""
    dead_alarms(Scripted, 450)
    drive = bulk_chunks.drive

    def interrupted(pk: int, number: int, **more: Any) -> Any:
        drive(pk, number, seconds=0)
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk_chunks, "drive", interrupted)
    with pytest.raises(CommandError, match=r"stopped after 200 of 450: `manage.py operations resume \d+` goes on"):
        call_command("operations", "start", "revive", "--where", DEAD, "--yes")
    monkeypatch.undo()
    pk = str(Operation.objects.get().pk)
    [shown] = run("operations", "show", pk)
    assert (shown["state"], shown["done"]) == ("stopped", 200)
    with pytest.raises(CommandError, match="does not run: it is stopped"):
        call_command("operations", "stop", pk)
    [said] = run("operations", "resume", pk)
    assert (said["done"], said["state"]) == (450, "done")
    with pytest.raises(CommandError, match="was not stopped"):
        call_command("operations", "resume", pk)
    with pytest.raises(CommandError, match="no operation 999"):
        call_command("operations", "show", "999")


def test_stop_one_that_runs(script: Script) -> None:
    """``stop`` ends one that runs after its chunk."""
    dead_alarms(Scripted, 3)
    operation = bulk.start("revive", DEAD, by="ada")
    assert run("operations", "stop", str(operation.pk)) == [{"stopped": True}]
    assert bulk.get(operation.pk).state == "stopped"


def test_failures_end_with_1_and_their_errors(script: Script) -> None:
    """What failed is printed with its error, and the command ends as one that failed."""
    names = dead_alarms(Scripted, 5)

    def initialize(obj: Scripted) -> None:
        if obj.name == names[2]:
            raise ValueError("no")

    script.initialize = initialize
    with pytest.raises(CommandError, match="1 failed:\nn000002: ValueError: no"):
        call_command("operations", "start", "revive", "--where", DEAD, "--yes", stdout=io.StringIO())
