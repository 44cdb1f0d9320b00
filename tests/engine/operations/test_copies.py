"""An object is copied, and restored from a snapshot, as a whole or not at all; it arrives paused."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from durable_objects import AlarmHandlerMissing, ClassUnknown, DurableObjectError, InvalidInput, ObjectBusy
from durable_objects.alarms.error_groups import fingerprint
from durable_objects.operations import copies, dump, pauses
from durable_objects.tables import Alarm, Object, Pause, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.engine.management.test_objects_command import VALUES, objects
from tests.models import Account, Counter, Script, Scripted
from tests.support.admin_pages import park
from tests.support.combined_calls import locked
from tests.support.threads import InThread, run_in_threads

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def full(obj: Scripted, clock: FakeClock) -> Scripted:
    """An object with entries of every type, more than a page, an alarm, and schedules of every state."""
    obj.storage.put_many({**VALUES, **{f"k{number:03}": number for number in range(250)}})
    obj.storage.set_alarm(HOUR)
    obj.schedules.set("hourly", "scheduled", every=HOUR, args=(1, {2}), kwargs={"at": clock.now()}, misfire="all")
    obj.schedules.set("nightly", "scheduled", cron="30 3 * * *", zone="Europe/Berlin", grace=HOUR)
    obj.schedules.set("died", "scheduled", at=clock.now() + HOUR)
    error = "ValueError: no"
    Schedule.objects.filter(name="died").update(
        state="dead", due_at=None, died_at=clock.now(), retry_count=6, last_error=error, error_group=fingerprint(error)
    )
    return obj


def state_of(obj: Scripted) -> tuple[Any, ...]:
    """All that a copy has of it."""
    calls = Schedule.objects.filter(object__name=obj.name).order_by("name")
    fields = [f.name for f in Schedule._meta.concrete_fields if f.name not in {"id", "object", "set_number"}]
    return obj.storage.list(), obj.storage.get_alarm(), list(calls.values_list(*fields))


def row_of(obj: Any) -> Object:
    """The row that operators act on."""
    return Object.objects.get(kind=obj.kind_pk(), name=obj.name)


def by_copy(source: Scripted, name: str, **choices: Any) -> dump.Imported:
    """Copy it."""
    return copies.copy(row_of(source), name, **choices)


def by_snapshot(source: Scripted, name: str, **choices: Any) -> dump.Imported:
    """Take a snapshot and restore that."""
    return copies.restore([*copies.snapshot(row_of(source))], name=name, **choices)


WAYS = pytest.mark.parametrize("store", [by_copy, by_snapshot])
Store = Callable[..., dump.Imported]


@WAYS
def test_what_arrives_is_what_was_there(store: Store, full: Scripted, script: Script) -> None:
    """Entries with their types, alarm and schedules with their times and states; and the source as it was."""
    before = state_of(full)
    stored = store(full, "b")
    other = Scripted.objects.get_by_name("b")
    assert state_of(other) == state_of(full) == before
    assert (stored.kind, stored.name, stored.entries, stored.alarm) == ("tests.Scripted", "b", 253, "armed")
    assert script.infos == []


@WAYS
def test_it_is_paused_until_it_is_resumed(store: Store, full: Scripted, clock: FakeClock, script: Script) -> None:
    """Nothing of the copy runs before that, and then what has come due; ``armed`` leaves it free from the start."""
    store(full, "paused", by="ann")
    store(full, "armed", armed=True)
    full.delete()
    pause = Pause.objects.get()
    assert (pause.object, pause.by) == (row_of(Scripted.objects.get_by_name("paused")), "ann")
    assert pause.reason in {"copied from a", "restored from a snapshot"}
    clock.advance(HOUR)
    names = {run.object.name for run in run_due_alarms()}
    assert names == {"armed"}
    pauses.resume(Scripted.objects.get_by_name("paused"))
    assert {run.object.name for run in run_due_alarms()} == {"paused"}


def test_own_fields_and_a_dead_alarm_come_along(clock: FakeClock, obj: Scripted) -> None:
    """A subclass's columns, and the error of an alarm that died."""
    Account.objects.get_by_name("ann").deposit(5)
    copies.copy(row_of(Account.objects.get_by_name("ann")), "bob")
    assert Account.objects.get_by_name("bob").deposit(1) == 6
    assert Account.objects.get(name="ann").balance == 5
    obj.storage.set_alarm(HOUR)
    Alarm.objects.filter(pk=obj.pk).update(state="dead", due_at=None, retry_count=6, last_error="ValueError: no")
    assert copies.copy(row_of(obj), "b").alarm == "dead"
    copied = Alarm.objects.get(object__name="b")
    assert (copied.state, copied.retry_count, copied.last_error) == ("dead", 6, "ValueError: no")


@WAYS
def test_what_is_there_is_not_overwritten_unasked(store: Store, full: Scripted) -> None:
    """It is refused in words and left as it was; ``replace`` makes it what the source is, and nothing else."""
    there = Scripted.objects.get_by_name("b")
    there.storage.put_many({"a": "mine", "mine": 1})
    there.schedules.set("mine", "scheduled", every=HOUR)
    before = state_of(there)
    with pytest.raises(DurableObjectError, match=r"tests\.Scripted 'b' is there already, and nothing was changed"):
        store(full, "b")
    assert state_of(there) == before
    assert not Pause.objects.exists()
    store(full, "b", replace=True)
    assert state_of(there) == state_of(full)


def test_a_run_in_progress_is_not_overwritten(full: Scripted, clock: FakeClock) -> None:
    """An object whose run has unlocked would write into what was restored: it is refused, with the time."""
    there = Scripted.objects.get_by_name("b")
    there.storage.set_alarm(HOUR)
    Alarm.objects.filter(pk=there.pk).update(leased_until=clock.now() + HOUR)
    with pytest.raises(DurableObjectError, match="not overwritten while a run of it is in progress"):
        copies.copy(row_of(full), "b", replace=True)
    assert there.storage.list() == {}


@WAYS
def test_nothing_of_it_stays_when_the_pause_fails(
    store: Store, full: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Object and pause are one transaction: it is never there and free to run."""

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no pause")

    monkeypatch.setattr(pauses, "pause", fail)
    with pytest.raises(ValueError, match="no pause"):
        store(full, "b")
    assert not Object.objects.filter(name="b").exists()


def test_what_cannot_be_copied(full: Scripted) -> None:
    """Onto itself, without its class, under no name, inside its own turn: in words, and nothing is stored."""
    lost, before = park("lost"), Object.objects.count()
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: copies.copy(row_of(full), "a"), InvalidInput, "cannot be copied onto itself"),
        (lambda: copies.copy(lost, "b"), ClassUnknown, "this code has no such class"),
        (lambda: copies.copy(row_of(full), ""), InvalidInput, "1 to 512 characters"),
        (lambda: full.run_exclusive(lambda: copies.copy(row_of(full), "b")), DurableObjectError, "inside its own turn"),
    ]
    for call, error, words in cases:
        with pytest.raises(error, match=words):
            call()
    assert (Object.objects.count(), Pause.objects.count()) == (before, 0)


LINE = '{"kind":"tests.scripted","name":"x"%s}\n'
SCHEDULE: dict[str, Any] = {
    "name": "s", "method": "scheduled", "misfire": "one", "declared": False, "state": "armed", "is_decided": False,
    "retry_count": 0, "last_error": "", "scheduled_at": None, "due_at": None, "follow_at": None, "died_at": None,
    "arguments": [[], {}], "rule": {"every": 3_600_000_000}, "grace": None,
}  # fmt: skip
BAD: list[tuple[str, type[Exception], str]] = [
    ("", InvalidInput, "these are 0"),
    (LINE % "" + LINE % "", InvalidInput, "these are 2: `objects import` takes all"),
    ('{"kind":"ghost.phantom","name":"x"}\n', DurableObjectError, "this code has no class 'ghost.phantom'"),
    (LINE % ',"schedules":[{"name":"s"}]', InvalidInput, "a schedule cannot be"),
    *[
        (LINE % f',"schedules":[{json.dumps({**SCHEDULE, **changed})}]', InvalidInput, words)
        for changed, words in cast(
            "list[tuple[dict[str, Any], str]]",
            [
                ({"state": "well"}, "no state of a schedule"),
                ({"declared": 1}, "neither true nor false"),
                ({"method": 5}, "is no text"),
                ({"rule": {"never": 1}}, "text of a rule"),
                ({"misfire": "maybe"}, "misfire is"),
                ({"due_at": "soon"}, "not an ISO 8601 time"),
                ({"arguments": 7}, "a schedule cannot be"),
                ({"name": ""}, "1 to 512 characters"),
            ],
        )
    ],
    (LINE % f',"schedules":[{json.dumps(SCHEDULE | {"method": "gone"})}]', DurableObjectError, "has no method 'gone'"),
]


@pytest.mark.parametrize(("lines", "error", "words"), BAD)
def test_what_cannot_be_restored(lines: str, error: type[Exception], words: str) -> None:
    """Lines of no object, of several, of one that this code cannot have: in words, and nothing is stored."""
    text = '{"format":"durable_objects/1"}\n' + lines
    with pytest.raises(error, match=words):
        copies.restore(text.splitlines())
    assert not Object.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_copy_is_of_one_moment(script: Script) -> None:
    """Whoever changes the source meanwhile waits, or the copy does: never half of a change is in it."""
    source = Counter.objects.get_by_name("source")

    def change(one: Counter, by: int) -> None:
        one.storage.put_many({"left": by, "right": by})

    change(source, 0)

    def play(number: int) -> None:
        for turn in range(5):
            if number:
                change(Counter.objects.get_by_name("source"), turn)
            else:
                copies.copy(row_of(source), f"copy {turn}")

    run_in_threads(3, play)
    for turn in range(5):
        values = Counter.objects.get_by_name(f"copy {turn}").storage.list()
        assert values["left"] == values["right"]


@pytest.mark.django_db(transaction=True)
def test_a_copy_waits_for_the_sources_lock(settings: Any, obj: Scripted) -> None:
    """A source that stays locked is ``ObjectBusy``, and nothing is stored: what is copied is never in the middle."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(seconds=0.3)}
    obj.save()
    row = row_of(obj)
    with locked(obj):
        thread = InThread(lambda: copies.copy(row, "b"))
        with pytest.raises(ObjectBusy):
            thread.result()
    assert not Object.objects.filter(name="b").exists()


def test_a_copy_is_part_of_the_callers_transaction(full: Scripted) -> None:
    """Rolled back with it, nothing of the copy or its pause stays."""
    with transaction.atomic():
        copies.copy(row_of(full), "b")
        transaction.set_rollback(True)
    assert not Object.objects.filter(name="b").exists()
    assert not Pause.objects.exists()


def test_export_and_import_take_schedules_along(full: Scripted, script: Script) -> None:
    """``import`` leaves those that would run on hold, as the alarm; ``arm`` sets them, with their times."""
    before = state_of(full)
    lines = [*dump.dump(Object.objects.all())]
    full.delete()
    (held,) = dump.load(lines)
    assert held.alarm == "held"
    assert [each.name for each in Scripted.objects.get_by_name("a").schedules.list()] == ["died"]
    (armed,) = dump.load(lines, arm=True, replace=True)
    assert armed.alarm == "armed"
    assert state_of(Scripted.objects.get_by_name("a")) == before


def test_a_schedule_alone_is_held_too(obj: Scripted, clock: FakeClock) -> None:
    """An object with a schedule and no alarm is reported as on hold, and counts as used."""
    obj.schedules.set("hourly", "scheduled", every=HOUR)
    lines = [*dump.dump(Object.objects.all())]
    assert [each.outcome for each in dump.load(lines)] == ["exists"]
    obj.delete()
    assert [each.alarm for each in dump.load(lines)] == ["held"]


# -- the commands


def test_the_commands(full: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``copy``, ``snapshot`` to a file or standard output, ``restore`` from either; the file is its owner's alone."""
    kind, file = "tests.Scripted", tmp_path / "a.jsonl"
    (copied,) = objects("copy", kind, "a", "b")
    assert (copied["name"], copied["entries"], copied["alarm"], copied["paused"]) == ("b", 253, "armed", True)
    (taken,) = objects("snapshot", kind, "a", str(file))
    assert (taken["entries"], taken["file"]) == (253, str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    objects("restore", str(file), "--as", "c", "--armed")
    out = StringIO()
    call_command("objects", "snapshot", kind, "a", stdout=out)
    monkeypatch.setattr("sys.stdin", StringIO(out.getvalue()))
    objects("restore", "-", "--as", "d")
    assert {state_of(Scripted.objects.get_by_name(name)) == state_of(full) for name in "bcd"} == {True}
    assert set(Pause.objects.values_list("object__name", flat=True)) == {"b", "d"}
    out = StringIO()
    call_command("objects", "restore", str(file), "--replace", stdout=out)
    assert "253 entries, alarm armed. It is paused: `alarms resume tests.Scripted a` lets its alarm" in out.getvalue()


def test_what_the_commands_refuse(full: Scripted, tmp_path: Path) -> None:
    """What is there, what was never used, a folder that is not there: one line each, and no file is left."""
    with pytest.raises(CommandError, match="is there already"):
        objects("restore", str(snapshot_file(tmp_path)))
    with pytest.raises(CommandError, match="it was never used"):
        objects("copy", "tests.Scripted", "nobody", "b")
    with pytest.raises(CommandError, match="No such file or directory"):
        objects("snapshot", "tests.Scripted", "a", str(tmp_path / "none" / "a.jsonl"))
    with pytest.raises(CommandError, match="No such file or directory"):
        objects("restore", str(tmp_path / "none.jsonl"))


def snapshot_file(folder: Path) -> Path:
    """A file with the object ``a``."""
    objects("snapshot", "tests.Scripted", "a", str(folder / "a.jsonl"))
    return folder / "a.jsonl"


def test_a_snapshot_that_fails_leaves_the_old_file(
    full: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one takes its place once it is whole."""
    file = snapshot_file(tmp_path)
    before = file.read_text("utf-8")

    def broken(row: Object) -> Any:
        yield "half"
        raise AlarmHandlerMissing("in the middle")

    monkeypatch.setattr(copies, "snapshot", broken)
    with pytest.raises(CommandError, match="in the middle"):
        objects("snapshot", "tests.Scripted", "a", str(file))
    assert file.read_text("utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
