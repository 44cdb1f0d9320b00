"""After an outage: what is late by class and age, drained in an order and at a rate, the oldest skipped."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

import durable_objects
from durable_objects.errors import InvalidInput
from durable_objects.operations import bulk, bulk_chunks, outage, pauses
from durable_objects.tables import Alarm, Operation
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Grouped, Script, Scripted
from tests.support.many_alarms import late_alarms

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def late(script: Script) -> None:
    """60 of Scripted, of which 20 are two days late and the others two hours, and 30 of Grouped, 5 minutes late."""
    late_alarms(Scripted, 40, 2 * HOUR)
    late_alarms(Scripted, 20, 48 * HOUR, prefix="old")
    late_alarms(Grouped, 30, 5 * MINUTE)


def kinds(*models: type[Scripted | Grouped]) -> list[ContentType]:
    """The content types of these classes."""
    return [ContentType.objects.get_for_id(model.kind_pk()) for model in models]


def do_all() -> list[Operation]:
    """Every operation, done by a worker in the order in which they come."""
    while running := Operation.objects.filter(state="running").first():
        bulk_chunks.drive(running.pk, running.fence)
    return list(Operation.objects.order_by("pk"))


def test_the_pile_by_class_and_age(late: None) -> None:
    """What is overdue is counted by class, the largest first, and by how late it is."""
    found = outage.pile(durable_objects.now())
    assert [(each.label, each.by_age) for each in found] == [
        ("tests.Scripted", (0, 0, 40, 20)),
        ("tests.Grouped", (30, 0, 0, 0)),
    ]
    out = io.StringIO()
    call_command("operations", "late", "--json", stdout=out)
    assert [json.loads(line)["late"] for line in out.getvalue().splitlines()] == [60, 30]


def test_drained_in_order_at_a_rate(late: None) -> None:
    """Class after class, evenly at the rate, and paused until all is planned; what is too old is cancelled."""
    before = durable_objects.now()
    plan = outage.drain(kinds(Grouped, Scripted), 0.5, by="ada", reason="the bank was down", skip=timedelta(days=1))
    assert [each.state for each in plan] == ["running", "waiting", "waiting", "waiting"]
    assert len(pauses.in_force().kinds) == 2
    done = do_all()
    assert [(each.verb, each.done, each.state) for each in done] == [
        ("cancel", 0, "done"),
        ("cancel", 20, "done"),
        ("spread", 30, "done"),
        ("spread", 40, "done"),
    ]
    assert not pauses.in_force().is_any
    first = Alarm.objects.filter(kind=Grouped.kind_pk(), state="armed").values_list("due_at", flat=True)
    then = Alarm.objects.filter(kind=Scripted.kind_pk(), state="armed").values_list("due_at", flat=True)
    assert (len(first), len(then)) == (30, 40)
    spans = [at - before for at in [*first, *then] if at is not None]
    assert max(spans[:30]) <= min(spans[30:])
    assert timedelta(0) < min(spans)
    assert max(spans) < timedelta(seconds=145)
    assert {each.plan_id for each in done} == {done[0].pk}


def test_what_is_old_is_marked_and_runs(late: None, script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """What is late by more than ``mark``, and not so old that it is cancelled, runs, with a mark in the history of its
    object and in the log; its handler sees the time that was asked for.
    """
    user = User.objects.create_superuser("ada")
    before = durable_objects.now()
    given: dict[str, Any] = {"skip": timedelta(days=1), "mark": HOUR}
    [grouped, scripted] = outage.plan(kinds(Grouped, Scripted), 1_000, now=before, **given)
    assert [(each.late, each.cancelled, each.marked) for each in (grouped, scripted)] == [(30, 0, 0), (60, 20, 40)]
    outage.drain(kinds(Grouped, Scripted), 1_000, by="ada", user=str(user.pk), reason="the bank was down", **given)
    done = do_all()
    assert [(each.verb, each.done) for each in done[2:]] == [
        ("mark_late", 0),
        ("mark_late", 40),
        ("spread", 30),
        ("spread", 40),
    ]
    told = LogEntry.objects.filter(change_message__startswith="Marked as late: by 2h").values_list(
        "object_repr", flat=True
    )
    assert sorted(told) == [f"n{at:06}" for at in range(40)]
    marked = [record for record in caplog.records if getattr(record, "event", "") == "alarm_marked_late"]
    assert {vars(record)["object_name"] for record in marked} == {*told}
    assert all(vars(record)["lateness"] == pytest.approx(2 * 3600, abs=60) for record in marked)
    with FakeClock(before + HOUR):
        run_due_alarms()
    asked = [info.scheduled_at for info in script.infos]
    assert sum(abs(at - (before - 2 * HOUR)) < MINUTE for at in asked) == 40


def test_a_mark_that_no_alarm_could_have(late: None) -> None:
    """An age to mark from that is not below the age to cancel from is refused."""
    with pytest.raises(InvalidInput, match="mark is 2d, and what is late by more than 1d is cancelled"):
        outage.drain(kinds(Scripted), 1, by="ada", skip=timedelta(days=1), mark=timedelta(days=2))
    assert not Operation.objects.exists()


def test_what_somebody_has_paused_stays_so(late: None) -> None:
    """The plan resumes only what it has paused itself."""
    pauses.pause(Grouped, reason="prices")
    with pytest.raises(InvalidInput, match="nothing to drain"):
        outage.drain(kinds(Grouped), 10, by="ada")
    outage.drain(kinds(Scripted), 10, by="ada")
    do_all()
    assert pauses.in_force().kinds == {Grouped.kind_pk()}


def test_a_plan_is_stopped_and_gone_on_with(late: None) -> None:
    """Its operation that runs is stopped as any; the classes stay paused until it is gone on with, to its end."""
    plan = outage.drain(kinds(Grouped, Scripted), 10, by="ada")
    assert bulk.stop(plan[0])
    do_all()
    assert len(pauses.in_force().kinds) == 2
    assert bulk.go_on(plan[0])
    do_all()
    assert not pauses.in_force().is_any


def test_by_command(late: None) -> None:
    """The command drains and waits for the end of the plan."""
    out = io.StringIO()
    call_command(
        "operations",
        "drain",
        "tests.Grouped",
        "tests.Scripted",
        "--rate",
        "5",
        "--mark",
        "1h",
        "--yes",
        "--json",
        stdout=out,
    )
    assert [json.loads(line)["done"] for line in out.getvalue().splitlines()] == [0, 60, 30, 60]
    assert outage.pile(durable_objects.now()) == []
    for refused in [("tests.Grouped",), ("tests.Grouped", "--rate", "0"), ("tests.Nothing", "--rate", "1")]:
        with pytest.raises(Exception, match=r"rate|no class|nothing to drain"):
            call_command("operations", "drain", *refused, "--yes")
