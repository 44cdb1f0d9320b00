"""Alarms of a class that this code does not have: left alone, not taken for late ones, cancelled and deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection

from durable_objects import DurableObjectError, doctor, health
from durable_objects.alarms import queries
from durable_objects.conditions import ask
from durable_objects.database import clock as engine_clock
from durable_objects.errors import ClassUnknown
from durable_objects.execution import executor
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import actions, metrics
from durable_objects.operations.explain import explain
from durable_objects.tables import Alarm, Entry, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted
from tests.support.another_class import make_of

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
#: The app and its models are gone; the class is gone; a class of that name is there, and is no durable object.
KINDS = [("ghost", "phantom"), ("tests", "gone"), ("auth", "user"), ("durable_objects", "durableobject")]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=".".join)


@pytest.fixture(autouse=True)
def _classes_of_this_test() -> Iterator[None]:
    """The keys of content types that are made here are another test's next."""
    ContentType.objects.clear_cache()
    yield
    ContentType.objects.clear_cache()


def parked(kind: tuple[str, str], name: str = "lost", by: timedelta = DAY, **values: Any) -> Object:
    """An object of this class, with an entry, whose alarm is overdue by so much."""
    content_type, _ = ContentType.objects.get_or_create(app_label=kind[0], model=kind[1])
    row = Object.objects.create(kind=content_type, name=name)
    Entry.objects.create(object=row, key="k", value="1")
    due = engine_clock.now() - by
    Alarm.objects.create(
        object=row, kind_id=row.kind_id, **{"state": "armed", "due_at": due, "scheduled_at": due} | values
    )
    return row


def command(*arguments: str) -> list[Any]:
    """What a command prints with ``--json``, a value per line."""
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@each_kind
def test_a_parked_alarm_is_not_late(kind: tuple[str, str], clock: FakeClock, script: Script) -> None:
    """However long overdue, it keeps no health red, is no trouble of the doctor's, and is counted apart."""
    row = parked(kind)
    figures = health.report()
    assert (figures["status"], figures["cause"], figures["overdue"], figures["parked"]) == ("ok", None, 0, 1)
    assert metrics.oldest_overdue(clock.now()) is None
    assert {state: queries.count(queries.alarms_in(state, clock.now())) for state in ("due", "overdue", "parked")} == {
        "due": 0,
        "overdue": 0,
        "parked": 1,
    }
    assert [finding.code for finding in doctor.glance(clock.now()) if finding.is_trouble] == ["dispatcher"]
    assert explain(row, clock.now()).status.word == "parked"
    Scripted.objects.get_by_name("here").storage.set_alarm(timedelta(0))
    clock.advance(timedelta(minutes=1))
    figures = health.report()
    assert (figures["status"], figures["overdue"], figures["oldest_overdue_seconds"]) == ("late", 1, 60.0)


@each_kind
@pytest.mark.parametrize("state", ["armed", "dead"])
def test_its_alarm_is_cancelled_without_the_class(kind: tuple[str, str], state: str, clock: FakeClock) -> None:
    """``alarms cancel`` takes it away, armed or dead, as it would with the class, and keeps the storage."""
    row = parked(kind, state=state)
    label = ".".join(kind)
    listed = command("alarms", "list", "--state", "dead" if state == "dead" else "parked")
    assert [(each["kind"], each["name"]) for each in listed] == [(label, "lost")]
    assert command("alarms", "cancel", label, "lost") == [{"cancelled": True}]
    slot = Alarm.objects.get(pk=row.pk)
    assert (slot.state, slot.due_at, slot.generation) == ("idle", None, 1)
    assert command("alarms", "cancel", label, "lost") == [{"cancelled": False}]
    assert command("objects", "show", label, "lost")[0]["alarm"]["word"] == "idle"
    assert Entry.objects.filter(object=row).exists()


@each_kind
def test_what_needs_the_class_says_so(kind: tuple[str, str], clock: FakeClock) -> None:
    """To run, move or revive it, and to call it, is refused in words on what can be done; nothing is changed."""
    row = parked(kind)
    before = Alarm.objects.filter(pk=row.pk).values().get()
    for verb, *more in (["run"], ["revive"], ["move", "90"]):
        with pytest.raises(CommandError, match="can be cancelled"):
            call_command("alarms", verb, ".".join(kind), "lost", *more, stdout=StringIO())
    with pytest.raises(CommandError):
        call_command("objects", "call", ".".join(kind), "lost", "add", stdout=StringIO())
    assert Alarm.objects.filter(pk=row.pk).values().get() == before


@each_kind
def test_it_is_shown_exported_and_deleted_without_the_class(kind: tuple[str, str], clock: FakeClock) -> None:
    """``objects list``, ``show`` and ``export`` have it; ``delete`` takes storage, alarm and history along."""
    parked(kind)
    label = ".".join(kind)
    assert {"kind": label, "objects": 1} in command("objects", "list")
    assert command("objects", "list", label)[0]["alarm"] == "parked"
    assert command("objects", "show", label, "lost")[0]["storage"] == {"k": "••••••"}
    exported = command("objects", "export", label)
    assert [line.get("name") or line.get("key") for line in exported[1:]] == ["lost", "k"]
    with pytest.raises(CommandError, match="add --yes to delete without asking"):
        command("objects", "delete", label, "lost")
    assert command("objects", "delete", label, "lost", "--yes") == [{"deleted": 1, "failed": 0}]
    assert [model.objects.count() for model in (Object, Entry, Alarm)] == [0, 0, 0]
    assert not any(each["kind"] == label for each in command("objects", "list"))


def test_delete_takes_all_that_match_and_known_ones_by_their_own_delete(clock: FakeClock, script: Script) -> None:
    """``--all`` with a class, and a prefix, deletes page by page; one of a known class goes by its own ``delete()``."""
    for name in ("a1", "a2", "b"):
        parked(("ghost", "phantom"), name)
        Scripted.objects.get_by_name(name).storage.set_alarm(DAY)
    assert command("objects", "delete", "ghost.phantom", "--all", "--prefix", "a", "--yes")[0]["deleted"] == 2
    assert command("objects", "delete", "tests.Scripted", "a1", "--yes")[0]["deleted"] == 1
    assert command("objects", "delete", "tests.Scripted", "never-used", "--yes")[0]["deleted"] == 0
    assert sorted(Object.objects.values_list("kind__model", "name")) == [
        ("phantom", "b"), ("scripted", "a2"), ("scripted", "b"),
    ]  # fmt: skip
    for wrong in (["ghost.phantom"], ["ghost.phantom", "b", "--all"], ["--all"]):
        with pytest.raises(CommandError, match="name one by KIND and NAME"):
            command("objects", "delete", *wrong, "--yes")


@pytest.mark.parametrize("verb", [actions.cancel, actions.delete])
def test_a_run_in_progress_elsewhere_is_reported(verb: Any, clock: FakeClock, script: Script) -> None:
    """A worker that has the class is in the middle of a run, unlocked: its alarm stays cancelled, its object gone."""
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(timedelta(0))
    kind = Object.objects.get(name="a").kind

    def handler(self: Scripted, info: Any) -> None:
        self.storage.set_alarm(DAY)
        with self.unlocked():
            row = Object.objects.get(name="a")
            make_of(ContentType.objects.create(app_label="x", model="y"), pk=row.pk)
            assert verb(Object.objects.get(pk=row.pk))
            make_of(kind, pk=row.pk)

    script.alarm = handler
    runs = [run.outcome for run in run_due_alarms()]  # of one that is deleted nothing is kept
    slots = list(Alarm.objects.values_list("state", flat=True))
    assert (runs, slots) == (([], []) if verb is actions.delete else (["succeeded"], ["idle"]))


def test_a_table_of_the_class_that_is_left_is_reported(clock: FakeClock) -> None:
    """Where a table that this code does not know still points to the object, deleting says so and keeps it."""
    row = parked(("ghost", "phantom"))
    with connection.schema_editor() as editor:
        editor.execute(
            f"CREATE TABLE left_behind (object_id bigint REFERENCES {Object._meta.db_table} (id) "
            "DEFERRABLE INITIALLY DEFERRED)"
        )
    try:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO left_behind VALUES (%s)", [row.pk])
        with pytest.raises(DurableObjectError, match="deploy that class again to delete the object, or drop the table"):
            actions.delete(row)
        assert Alarm.objects.filter(pk=row.pk).exists()
    finally:
        with connection.schema_editor() as editor:
            editor.execute("DROP TABLE left_behind")
    assert actions.delete(row)


def misnamed() -> Object:
    """An object whose name was written past the engine, and is none, with an alarm that is due."""
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(timedelta(0))
    Object.objects.filter(pk=Object.objects.get().pk).update(name="")
    return Object.objects.get()


def test_a_name_that_is_none_keeps_no_wake_up_raising(clock: FakeClock, script: Script) -> None:
    """The wake-up is put off in words, not raised and not counted; the explanation says what to do."""
    row = misnamed()
    assert executor.fire(row.pk).verdict is Verdict.AGAIN
    assert script.infos == []
    explained = explain(row, clock.now())
    assert "No object can have the name" in explained.why[0]
    with pytest.raises(ClassUnknown, match="name that no object can have"):
        actions.fire_now(row)


@pytest.mark.parametrize(
    "cancel",
    [actions.cancel, lambda row: command("alarms", "cancel", "tests.scripted", "")[0]["cancelled"]],
    ids=["operate", "command"],
)
def test_with_a_name_that_is_none_its_alarm_is_cancelled(
    cancel: Callable[[Object], bool], clock: FakeClock, script: Script
) -> None:
    """That needs no name, from the command line as well."""
    row = misnamed()
    assert cancel(row)
    assert Alarm.objects.get().state == "idle"
    assert Object.objects.exists()


def test_with_a_name_that_is_none_it_is_deleted(clock: FakeClock, script: Script) -> None:
    """Storage and alarm go with it, as with any other."""
    row = misnamed()
    assert actions.delete(row)
    assert not Object.objects.exists()
    assert not Alarm.objects.exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda rows: rows.update(name="b"),
        lambda rows: rows.update(name=""),
        lambda rows: rows.update(kind=ContentType.objects.get_for_model(ContentType)),
        lambda rows: rows.update(kind_id=1),
        lambda rows: rows.bulk_update([rows.get()], ["name"]),
        lambda rows: rows.bulk_create([Scripted(name="b")]),
    ],
    ids=["a name", "no name", "a kind", "a kind's key", "bulk_update", "bulk_create"],
)
def test_what_an_object_is_cannot_be_written_past_the_engine(write: Any, script: Script) -> None:
    """Class and name are refused to ``update``, and rows to ``bulk_create``, before anything is written."""
    Scripted.objects.get_by_name("a").storage.put("k", 1)
    before = list(Object.objects.values())
    with pytest.raises(DurableObjectError):
        write(Scripted.objects.filter(name="a"))
    assert list(Object.objects.values()) == before


def test_an_alert_is_about_the_classes_that_are_gone(clock: FakeClock) -> None:
    """The condition *parked* counts each of them, and holds from its number on."""
    parked(("ghost", "phantom"))
    parked(("tests", "gone"), "other")
    found = ask("parked", engine_clock.now(), at_least=2)
    assert found is not None
    assert sorted(found.subjects.values()) == [
        "1 of ghost.phantom (unknown here)", "1 of tests.gone (unknown here)"
    ]  # fmt: skip
    assert ask("parked", engine_clock.now(), at_least=3) is None
