"""``manage.py objects``: list, show, call, export, import; and verbs on all alarms that match."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries

from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.engine.management.test_alarms_command import alarms
from tests.models import Account, Counter, Script, Scripted
from tests.support.admin_pages import fail, park

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
VALUES = {"a": (1, {"n": Decimal("1.50")}), "b": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "ü \u2028": 10**40}


def objects(*arguments: str) -> list[Any]:
    """Return what the command prints with ``--json``, a value per line."""
    out = StringIO()
    call_command("objects", *arguments, "--json", stdout=out, stderr=StringIO())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_list_goes_by_class_and_name(clock: FakeClock, script: Script) -> None:
    """The classes with their numbers; then the objects of one, by name, in pages, by state and prefix."""
    for name in ("b", "a2", "a1"):
        Scripted.objects.get_by_name(name).save()
    Scripted.objects.get_by_name("a2").storage.set_alarm(HOUR)
    Counter.objects.get_by_name("c").add()
    assert objects("list") == [{"kind": "tests.Counter", "objects": 1}, {"kind": "tests.Scripted", "objects": 3}]
    names = [line["name"] for line in objects("list", "tests.Scripted")]
    assert names == ["a1", "a2", "b"]
    assert [line["name"] for line in objects("list", "tests.Scripted", "--after", "a1", "--limit", "1")] == ["a2"]
    assert [line["name"] for line in objects("list", "tests.Scripted", "--prefix", "a")] == ["a1", "a2"]
    (armed,) = objects("list", "tests.Scripted", "--state", "armed")
    assert armed == {
        "kind": "tests.Scripted", "name": "a2", "alarm": "armed", "due_at": (clock.now() + HOUR).isoformat(),
    }  # fmt: skip


def test_list_asks_once_for_each_class_that_has_objects(
    script: Script, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The list of classes takes a query, and one for each class with objects: none for the project's other models."""
    for model in (Scripted, Counter):
        model.objects.get_by_name("a").save()
    objects("list")  # content types are known afterwards
    with django_assert_num_queries(3):
        objects("list")


def test_show_is_typed_and_masked(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored values with their types, alarm and runs; what the class masks is not shown."""
    obj = Counter.objects.get_by_name("one")
    obj.storage.put_many({**VALUES, "secret:key": "hunter2"})
    monkeypatch.setattr(Counter, "masked_keys", ("secret:*",))
    (shown,) = objects("show", "tests.Counter", "one")
    assert shown["storage"]["b"]["$type"] == "datetime"
    assert shown["storage"]["secret:key"] == "••••••"
    out = StringIO()
    call_command("objects", "show", "tests.Counter", "one", stdout=out)
    assert "b  datetime, " in out.getvalue()
    assert "2026-01-02 03:04:05.678901+00:00" in out.getvalue()
    assert "hunter2" not in out.getvalue()
    lost = park("lost")
    assert objects("show", "ghost.phantom", lost.name)[0]["storage"] == {"k": "••••••"}


def test_show_has_each_failed_runs_error(clock: FakeClock, script: Script) -> None:
    """A run that failed is listed with the line of its error that says most."""
    script.alarm = fail
    obj = Scripted.objects.get_by_name("one")
    obj.storage.set_alarm(timedelta(0))
    run_due_alarms()
    out = StringIO()
    call_command("objects", "show", "tests.Scripted", "one", stdout=out)
    (line,) = [line for line in out.getvalue().splitlines() if " late by " in line]
    assert "  failed  " in line
    assert line.endswith("ValueError: refused by <b>upstream</b>")


def test_call_runs_a_public_method(clock: FakeClock) -> None:
    """A method of the class is called with JSON arguments, by place or name, and its answer is printed as JSON."""
    assert objects("call", "tests.Counter", "one", "add", "5") == [5]
    assert objects("call", "tests.Counter", "one", "add", "by=2") == [7]
    assert Counter.objects.get_by_name("one").storage.get("count") == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tests.Counter", "one", "delete"), "'delete' is not one of its public methods: add"),
        (("tests.Busy", "one", "alarm"), "not one of its public methods: it has none"),
        (("tests.Counter", "one", "run_exclusive"), "not one of its public methods"),
        (("tests.Counter", "one", "_own_fields"), "not one of its public methods"),
        (("tests.Counter", "one", "add", "five"), "'five' is not JSON; as a text it is written"),
        (("tests.Counter", "one", "add", "1", "2"), "too many positional arguments; it is add"),
        (("tests.Counter", "one", "add", '"x"'), "TypeError: "),
        (("tests.Nothing", "one", "add"), "no class"),
    ],
)
def test_what_cannot_be_called(arguments: tuple[str, ...], words: str) -> None:
    """Anything else is refused in a line, and nothing is changed."""
    with pytest.raises(CommandError, match=words):
        objects("call", *arguments)
    assert not Object.objects.exists()


def exported(tmp_path: Path, *arguments: str) -> Path:
    """A file of what ``objects export`` writes."""
    path = tmp_path / "objects.jsonl"
    with path.open("w", encoding="utf-8") as file:
        call_command("objects", "export", *arguments, stdout=file, stderr=StringIO())
    return path


def test_out_and_in_again(clock: FakeClock, script: Script, tmp_path: Path) -> None:
    """What was exported comes back with exactly its types and own fields; alarms are held unless asked for."""
    one = Scripted.objects.get_by_name("one")
    one.storage.put_many({**VALUES, **{f"k{number:03}": number for number in range(250)}})
    one.storage.set_alarm(HOUR)
    stored = one.storage.list()
    dead = Scripted.objects.get_by_name("dead")
    dead.storage.set_alarm(HOUR)
    Alarm.objects.filter(pk=dead.pk).update(state="dead", due_at=None, retry_count=6, last_error="ValueError: no")
    Account.objects.get_by_name("ann").deposit(5)
    path = exported(tmp_path)
    (would,) = objects("import", str(path), "--replace", "--dry-run")
    assert (would["imported"], would["entries"], would["dry_run"]) == (3, 253, True)
    for obj in (one, dead, Account.objects.get_by_name("ann")):
        obj.delete()
    (done,) = objects("import", str(path))
    assert (done["imported"], done["held"], done["dead"], done["armed"]) == (3, 1, 1, 0)
    one, dead = (Scripted.objects.get_by_name(name) for name in ("one", "dead"))
    assert one.storage.list() == stored
    assert one.storage.get_alarm() is None
    row = Alarm.objects.get(object__name="dead")
    assert (row.state, row.retry_count, row.last_error) == ("dead", 6, "ValueError: no")
    assert Account.objects.get(name="ann").balance == 5
    one.storage.put("more", 1)
    (again,) = objects("import", str(path), "--replace", "--arm")
    assert (again["imported"], again["armed"]) == (3, 1)
    assert one.storage.list() == stored
    assert one.storage.get_alarm() == clock.now() + HOUR


@pytest.mark.parametrize("by", ["file", "standard input"])
def test_a_file_that_went_through_windows(
    by: str, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that end with CR LF after a byte order mark are read as what was exported."""
    Scripted.objects.get_by_name("one").storage.put("text", "a\r\nb")
    path = exported(tmp_path)
    Scripted.objects.get_by_name("one").delete()
    text = "\ufeff" + path.read_text("utf-8").replace("\n", "\r\n")
    path.write_text(text, "utf-8", newline="")
    monkeypatch.setattr("sys.stdin", StringIO(text, newline=""))
    (done,) = objects("import", str(path) if by == "file" else "-")
    assert done["imported"] == 1
    assert Scripted.objects.get_by_name("one").storage.get("text") == "a\r\nb"


def test_what_is_there_is_left_alone(clock: FakeClock, tmp_path: Path) -> None:
    """What is there already, or of a class unknown here, is not imported; the others are, and the exit code says so."""
    for name in ("a", "b"):
        Counter.objects.get_by_name(name).add(1)
    park("lost")
    path = exported(tmp_path)
    Counter.objects.get_by_name("b").delete()
    Counter.objects.get_by_name("a").add(9)
    with pytest.raises(CommandError, match="2 objects were not imported"):
        objects("import", str(path))
    assert Counter.objects.get_by_name("a").storage.get("count") == 10
    assert Counter.objects.get_by_name("b").storage.get("count") == 1


_DEAD = '{"state":"dead","scheduled_at":"2026-01-01T00:00:00Z","retry_count":-1,"last_error":""}'
BAD = {
    "not json\n": "line 2 is not a JSON object",
    "[]\n": "line 2 is not of the format",
    '{"kind":"tests.counter","name":""}\n': "object of line 2: .*characters",
    '{"kind":"tests.counter","name":"x"}\n{"key":"","value":1}\n': "line 3: .*bytes",
    '{"kind":"tests.counter","name":"x"}\n{"key":"k","value":{"$type":"newer"}}\n': "line 3: .*cannot be read",
    '{"kind":"tests.counter","name":"x"}\n{"key":"k","value":NaN}\n': "NaN is not JSON",
    '{"kind":"tests.account","name":"x","fields":{"balance":"many"}}\n': "field 'balance'",
    '{"kind":"tests.scripted","name":"x","alarm":{"state":"armed","due_at":"soon"}}\n': "not an ISO 8601 time",
    f'{{"kind":"tests.scripted","name":"x","alarm":{_DEAD}}}\n': "retry_count is -1: it must be a whole number",
}


@pytest.mark.parametrize("lines", BAD)
def test_a_file_that_cannot_be_meant(lines: str, tmp_path: Path) -> None:
    """A line that cannot be read is named with its number, and its object is not stored, not even in part."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"format":"durable_objects/1"}\n' + lines, "utf-8")
    with pytest.raises(CommandError, match=BAD[lines]):
        objects("import", str(path), "--arm")
    assert not Object.objects.exists()
    path.write_text('{"format":"other"}\n', "utf-8")
    with pytest.raises(CommandError, match="this code reads"):
        objects("import", str(path))


def test_verbs_work_on_all_that_match(clock: FakeClock, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--all`` changes every alarm that the filters match, over several pages, asks first, and tells what failed."""
    from durable_objects.management import base as command

    monkeypatch.setattr(command, "PAGE", 2)
    for name in ("a1", "a2", "a3", "a4", "b"):
        Scripted.objects.get_by_name(name).storage.set_alarm(HOUR)
    Alarm.objects.filter(object__name__in=["a1", "a2", "a3", "b"]).update(state="dead", due_at=None)
    with pytest.raises(CommandError, match=r"3 alarms \(dead, with a name that begins with a\) found: add --yes"):
        alarms("revive", "--all", "--prefix", "a")
    [revived] = alarms("revive", "--all", "--prefix", "a", "--yes")
    assert (revived["done"], revived["failed"], revived["failures"]) == (3, 0, [])
    assert alarms("move", "60", "--all", "--class", KIND_OF, "--yes")[0]["done"] == 4
    assert {row.due_at for row in Alarm.objects.filter(state="armed")} == {clock.now() + timedelta(minutes=1)}
    park(state="armed", due_at=clock.now(), scheduled_at=clock.now())
    with pytest.raises(CommandError, match=r"1 failed:\nlost: this code does not have its class"):
        alarms("move", "60", "--all", "--yes")
    assert alarms("cancel", "--all", "--yes")[0]["failed"] == 0
    assert set(Alarm.objects.values_list("object__name", "state")) >= {("b", "dead"), ("lost", "idle"), ("a1", "idle")}
    with pytest.raises(CommandError, match="name one by KIND and NAME"):
        alarms("cancel")


KIND_OF = "tests.Scripted"
