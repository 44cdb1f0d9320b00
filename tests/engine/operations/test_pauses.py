"""Pause, drain and resume: what is paused starts no run, is not late, keeps its times, and runs afterwards."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from durable_objects import DurableObjectError, doctor, health
from durable_objects.alarms import pauses as rows
from durable_objects.alarms import queries
from durable_objects.alarms.pauses import Target
from durable_objects.database import clock as engine_clock
from durable_objects.errors import InvalidInput
from durable_objects.operations import actions, metrics, pauses
from durable_objects.operations.explain import explain
from durable_objects.tables import Alarm, Object, Pause
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Grouped, Script, Scripted
from tests.support.examples import examples
from tests.support.threads import InThread, await_event

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def everything(obj: Scripted) -> pauses.What:
    return None


def its_class(obj: Scripted) -> pauses.What:
    return Scripted


def itself(obj: Scripted) -> pauses.What:
    return obj


each_scope = pytest.mark.parametrize("scope", [everything, its_class, itself])


@pytest.fixture
def due(obj: Scripted, clock: FakeClock) -> Scripted:
    """An object whose alarm is due for a minute."""
    obj.storage.set_alarm(timedelta(0))
    clock.advance(MINUTE)
    return obj


def command(*arguments: str) -> list[Any]:
    """What a command prints with ``--json``, a value per line."""
    out = StringIO()
    call_command("alarms", *arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def said(*arguments: str) -> str:
    """What a command prints to people."""
    out = StringIO()
    call_command("alarms", *arguments, stdout=out)
    return out.getvalue()


def slot_of(obj: Scripted) -> Alarm:
    return Alarm.objects.get(object__name=obj.name)


@each_scope
def test_what_is_paused_runs_when_it_is_resumed(
    scope: Callable[[Scripted], pauses.What], due: Scripted, script: Script
) -> None:
    """No run starts while it is paused; its alarm keeps its time and runs afterwards, once."""
    scheduled = due.storage.get_alarm()
    pauses.pause(scope(due))
    assert run_due_alarms() == []
    assert (due.storage.get_alarm(), slot_of(due).due_at) == (scheduled, scheduled)
    assert pauses.resume(scope(due))
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert [info.scheduled_at for info in script.infos] == [scheduled]


@each_scope
def test_schedules_wait_as_well(
    scope: Callable[[Scripted], pauses.What], obj: Scripted, clock: FakeClock, script: Script
) -> None:
    """A schedule that comes due meanwhile runs after the pause, as its misfire policy has it: once for all."""
    obj.schedules.set("hourly", "scheduled", every=timedelta(hours=1))
    pauses.pause(scope(obj))
    clock.advance(timedelta(hours=3))
    assert (run_due_alarms(), script.calls) == ([], [])
    pauses.resume(scope(obj))
    assert [run.schedule for run in run_due_alarms() if run.outcome == "succeeded"] == ["hourly"]
    assert len(script.calls) == 1


def test_others_run_on(due: Scripted, clock: FakeClock, script: Script) -> None:
    """A pause of one object, or of another class, holds nobody else."""
    other = Scripted.objects.get_by_name("other")
    other.storage.set_alarm(timedelta(0))
    pauses.pause(due)
    pauses.pause(Grouped)
    assert [run.object_id for run in run_due_alarms()] == [Object.objects.get(name="other").pk]


def test_a_pause_ends_by_itself(due: Scripted, clock: FakeClock, script: Script) -> None:
    """From ``until`` on, by the database's clock, runs start again, though nobody resumed."""
    pauses.pause(Scripted, until=timedelta(minutes=5))
    clock.advance(timedelta(minutes=5) - timedelta(microseconds=1))
    assert run_due_alarms() == []
    clock.advance(timedelta(microseconds=1))
    assert len(run_due_alarms()) == 1
    assert not pauses.resume(Scripted), "it does not stand any more"
    assert not Pause.objects.exists()


def test_a_pause_that_stands_is_replaced(due: Scripted, clock: FakeClock) -> None:
    """Who pauses what is paused says why and until when from then on; there is one pause of each."""
    pauses.pause(due, reason="first", by="ann", until=MINUTE)
    clock.advance(timedelta(seconds=1))
    pauses.pause(due, reason="second", by="bob")
    assert list(Pause.objects.values_list("reason", "by", "since", "until")) == [("second", "bob", clock.now(), None)]
    pauses.pause(None)
    pauses.pause(None, reason="again")
    assert Pause.objects.filter(scope="everything").count() == 1


def test_a_row_names_one_thing(due: Scripted) -> None:
    """The database refuses a second pause of everything, and a row that names nothing or two things."""
    pauses.pause(None)
    now, kind = engine_clock.now(), Scripted.kind_pk()
    for values in ({"scope": "everything"}, {"scope": "class"}, {"scope": "object", "kind_id": kind}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Pause.objects.create(since=now, **values)


def test_its_alarm_is_set_and_changed_as_ever(due: Scripted, clock: FakeClock, script: Script) -> None:
    """Calls on a paused object work: its alarm is set, read, moved and deleted, and operators do so, too."""
    pauses.pause(None)
    at = clock.now() + timedelta(hours=1)
    due.storage.set_alarm(at)
    assert due.storage.get_alarm() == at
    actions.fire_now(due)
    assert slot_of(due).due_at == clock.now()
    due.storage.delete_alarm()
    assert due.storage.get_alarm() is None
    Scripted.objects.set_alarms({"a": timedelta(0), "b": timedelta(0)})
    assert run_due_alarms() == []
    pauses.resume(None)
    assert len(run_due_alarms()) == 2


@each_scope
def test_it_is_not_late_and_said_everywhere(
    scope: Callable[[Scripted], pauses.What], due: Scripted, clock: FakeClock
) -> None:
    """Health is not red for it; counts, lists, the doctor and ``explain`` say that it is paused, by whom and why."""
    pauses.pause(scope(due), reason="new columns", by="ann", until=timedelta(hours=1))
    clock.advance(MINUTE)
    figures = health.report()
    assert (figures["status"], figures["overdue"], figures["paused"], figures["oldest_overdue_seconds"]) == (
        "ok",
        0,
        1,
        0,
    )
    assert metrics.oldest_overdue(clock.now()) is None
    assert metrics.counts(clock.now(), ["due", "overdue", "paused", "armed"]) == {
        "due": 0, "overdue": 0, "paused": 1, "armed": 1,
    }  # fmt: skip
    assert metrics.paused_due(clock.now()) == 1
    findings = {finding.code: finding for finding in doctor.glance(clock.now())}
    assert "by ann" in findings["paused"].text
    assert not findings["paused"].is_trouble
    assert "late" not in findings
    found = explain(Object.objects.get(name="a"), clock.now())
    assert found.status.word == "paused"
    assert "by ann, until 2026-05-01 13:01:00 UTC (in 59m)" in found.why[0]
    assert "new columns." in found.why[0]
    assert found.next[0].startswith("From 2026-05-01 13:01:00 UTC on, or once it is resumed before, the next pass")
    assert command("list", "--state", "paused")[0]["name"] == "a"
    pauses.resume(scope(due))
    assert health.report()["status"] == "late"


def test_explain_names_every_pause_that_holds_it(due: Scripted, clock: FakeClock) -> None:
    """It waits for the last of them: the widest is named first, and one without an end means that somebody resumes."""
    pauses.pause(due, reason="one")
    pauses.pause(Scripted, reason="two", until=MINUTE)
    pauses.pause(None, reason="three")
    found = explain(Object.objects.get(name="a"), clock.now())
    assert [line.rpartition(": ")[2] for line in found.why] == ["three.", "two.", "one."]
    assert found.next[0].startswith("Once it is resumed,")
    due.storage.delete_alarm()
    assert explain(Object.objects.get(name="a"), clock.now()).status.word == "idle"


def test_what_cannot_be_paused_is_refused(obj: Scripted, clock: FakeClock) -> None:
    """A time that is past or names no moment, a text that no database keeps, an object that was never used."""
    bad: list[Any] = [timedelta(0), -MINUTE, clock.now(), datetime(2036, 1, 1), "tomorrow", 90, timedelta.max]  # noqa: DTZ001  naive on purpose
    for until in bad:
        with pytest.raises(InvalidInput, match="until is"):
            pauses.pause(None, until=until)
    with pytest.raises(InvalidInput, match="NUL"):
        pauses.pause(None, reason="a\0b")
    with pytest.raises(InvalidInput, match="surrogate"):
        pauses.pause(None, by="\ud800")
    with pytest.raises(DurableObjectError, match=r"tests.Scripted 'a' was never used"):
        pauses.pause(obj)
    assert not Pause.objects.exists()


def test_it_goes_with_its_object(due: Scripted) -> None:
    """An object that is deleted takes its pause along: another one of its name is not paused."""
    pauses.pause(due)
    due.delete()
    assert not Pause.objects.exists()


def test_drain_waits_for_runs_that_had_started(obj: Scripted, script: Script) -> None:
    """A run in ``unlocked()`` is waited for, one that would start is not; the wait has an end."""
    entered, leave = threading.Event(), threading.Event()

    def slowly(one: Any, info: Any) -> None:
        with one.unlocked():
            entered.set()
            await_event(leave)

    script.alarm = slowly
    obj.storage.set_alarm(timedelta(0))
    run = InThread(run_due_alarms)
    await_event(entered)
    with pytest.raises(DurableObjectError, match="not paused: new runs start all the time"):
        pauses.drain(Scripted, MINUTE)
    for what in (None, Scripted, obj):
        pauses.pause(what)
        assert pauses.running(what).number == 1
        assert not pauses.drain(what, timedelta(seconds=0.3))
    assert pauses.running(Counter).number == 0
    seen: list[pauses.Running] = []
    leave.set()
    assert pauses.drain(obj, MINUTE, lambda found, left: seen.append(found))
    assert len(run.result()) == 1
    assert all(1 <= found.number <= 2 for found in seen)  # while it locks again it is seen as both


def test_drain_waits_for_runs_that_keep_their_lock(obj: Scripted, script: Script) -> None:
    """A run that never unlocks is waited for as well: on PostgreSQL it is seen, on SQLite ``pause`` waits for it."""
    entered, leave = threading.Event(), threading.Event()

    def slowly(one: Any, info: Any) -> None:
        entered.set()
        await_event(leave)

    script.alarm = slowly
    obj.storage.set_alarm(timedelta(0))
    run = InThread(run_due_alarms)
    await_event(entered)
    if connection.vendor == "postgresql":
        for what in (None, Scripted, obj):
            pauses.pause(what)
            assert pauses.running(what) == pauses.Running(1, 0, 0)
            assert not pauses.drain(what, timedelta(seconds=0.3))
        assert pauses.running(Counter).number == 0
        leave.set()
    else:
        beside = InThread(lambda: pauses.pause(None))
        leave.set()
        beside.result()
    assert pauses.drain(None, MINUTE)
    assert (len(run.result()), slot_of(obj).state) == (1, "idle")


def test_a_call_is_no_run(obj: Scripted, script: Script) -> None:
    """Calls go on while their class is paused, and are not waited for."""
    pauses.pause(Scripted)
    entered, leave = threading.Event(), threading.Event()

    def call() -> None:
        entered.set()
        await_event(leave)

    beside = InThread(lambda: obj.run_exclusive(call))
    await_event(entered)
    drained = pauses.drain(Scripted, timedelta(seconds=5))
    leave.set()
    beside.result()
    assert drained


def test_what_a_dead_worker_left_behind_does_not_run(due: Scripted, clock: FakeClock) -> None:
    """A lease that is over keeps nobody waiting, is reported, and is not taken over before the pause is."""
    pauses.pause(Scripted)
    Alarm.objects.update(leased_until=clock.now() - MINUTE, fence=3)
    assert pauses.running(None) == pauses.Running(0, 0, 1)
    assert pauses.drain(Scripted, MINUTE)
    assert run_due_alarms() == []
    assert slot_of(due).fence == 3


def test_drain_is_refused_inside_a_transaction(due: Scripted) -> None:
    """A pause that may still be undone says nothing about others' runs."""
    with transaction.atomic():
        pauses.pause(None)
        with pytest.raises(DurableObjectError, match="inside a transaction"):
            pauses.drain(None, MINUTE)


def test_the_commands(due: Scripted, clock: FakeClock) -> None:
    """``pause``, ``drain``, ``resume`` and ``pauses`` by class, object and ``--all``, for people and as JSON."""
    text = said("pause", "tests.Scripted", "--reason", "deploy", "--by", "ann", "--until", "90")
    assert text.startswith("Paused since 2026-05-01 12:01:00 UTC by ann, until 2026-05-01 12:02:30 UTC (in 1m 30s)")
    assert "(tests.Scripted): deploy." in text
    assert command("pause", "tests.Scripted", "a", "--by", "")[0]["what"] == "tests.Scripted 'a'"
    assert command("pause", "--all")[0]["scope"] == "everything"
    assert [each["scope"] for each in command("pauses")] == ["class", "object", "everything"]
    assert "1 due" in said("pauses")
    assert command("drain", "--all") == [{"drained": True, "locked": 0, "unlocked": 0}]
    assert "nothing starts until it is resumed" in said("drain", "tests.Scripted")
    assert "still held: Paused since" in said("resume", "tests.Scripted", "a")
    assert command("resume", "tests.Scripted") == [{"resumed": True, "still_paused": True}]
    assert said("resume", "--all").strip() == "everything is resumed."
    with pytest.raises(CommandError, match="was not paused"):
        call_command("alarms", "resume", "--all")
    with pytest.raises(CommandError, match="not paused"):
        call_command("alarms", "drain", "tests.Scripted")
    for wrong in ([], ["tests.Scripted", "--all"]):
        with pytest.raises(CommandError, match="by --all"):
            call_command("alarms", "pause", *wrong)
    with pytest.raises(CommandError, match="never used"):
        call_command("alarms", "pause", "tests.Scripted", "nobody")
    assert len(run_due_alarms()) == 1


def test_the_command_that_drains_gives_up(due: Scripted, clock: FakeClock) -> None:
    """It says on standard error what it waits for, and ends with 1 when that still runs after the time given."""
    Alarm.objects.update(leased_until=clock.now() + MINUTE, leased_by="other")
    pauses.pause(None)
    err = StringIO()
    with pytest.raises(
        CommandError, match=r"not drained within 300ms: 1 still runs \(1 in unlocked\(\)\) of everything"
    ):
        call_command("alarms", "drain", "--all", "--within", "0.3", stderr=err)
    assert err.getvalue().startswith("1 still runs (1 in unlocked()); waiting for ")


@pytest.mark.django_db
class TestConditions(TestCase):
    """Which objects a set of pauses holds."""

    @settings(max_examples=examples(60), deadline=None)
    @given(
        pausing=st.lists(
            st.tuples(
                st.sampled_from(["all", "Scripted", "Grouped", "a", "b", "g"]), st.sampled_from([-1, 0, 1, None])
            ),
            max_size=5,
        )
    )
    def test_each_form_of_the_rule_agrees(self, pausing: list[tuple[str, int | None]]) -> None:
        """For one object, as a condition on alarms and on objects, in a run's own read, and as a list of pauses."""
        with FakeClock(datetime(2026, 5, 1, 12, tzinfo=UTC)) as clock:
            handles = [
                Scripted.objects.get_by_name("a"),
                Scripted.objects.get_by_name("b"),
                Grouped.objects.get_by_name("g"),
            ]
            for handle in handles:
                handle.storage.set_alarm(timedelta(0))
            keys = {row.name: Target(row.kind_id, row.pk) for row in Object.objects.all()}
            keys |= {"all": Target(), "Scripted": Target(Scripted.kind_pk()), "Grouped": Target(Grouped.kind_pk())}
            for what, until in pausing:
                end = None if until is None else clock.now() + until * MINUTE
                rows.put(keys[what], clock.now(), reason="", by="", until=end)
            last = dict(pausing)
            stands = {what for what, until in last.items() if until is None or until > 0}
            expected = {handle.name for handle in handles if stands & {"all", type(handle).__name__, handle.name}}
            found = rows.paused(clock.now())
            objects = Object.objects.all()
            assert {row.name for row in objects if found.holds(row.pk, row.kind_id)} == expected
            assert {row.name for row in objects if rows.of_object(row.pk, row.kind_id, clock.now())} == expected
            assert {row.object.name for row in queries.alarms_in("paused", clock.now())} == expected
            assert {
                row.name for row in objects.filter(queries.condition("paused", clock.now(), "alarm_row__"))
            } == expected
            due = {row.object.name for row in queries.alarms_in("due", clock.now())}
            assert due == {handle.name for handle in handles} - expected
            run_due_alarms()
            assert {row.object.name for row in Alarm.objects.filter(state="armed")} == expected
