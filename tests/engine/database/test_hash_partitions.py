"""The engine's tables in hash partitions: as they were but for that, there and back, and everything works in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from durable_objects import DurableObjectError
from durable_objects.database import hash_partitions
from durable_objects.operations import partitions
from durable_objects.tables import Alarm, AlarmRun, Entry, Schedule
from durable_objects.testing import run_due_alarms
from tests.models import Counter, Profiled, Script, Scripted

needs_partitions = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="hash partitions are PostgreSQL's: TEST_DATABASE_URL names no such server"
)
pytestmark = pytest.mark.django_db(transaction=True)

SCHEMA = """
    SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
           attgenerated::text, attcollation::regcollation::text, pg_get_expr(adbin, adrelid)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = ANY(%(tables)s::regclass[]) AND attnum > 0
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL,
           NULL FROM pg_constraint WHERE conrelid = ANY(%(tables)s::regclass[])
    UNION ALL SELECT 'index', indrelid::regclass::text, pg_get_indexdef(indexrelid), NULL, NULL, NULL, NULL, NULL, NULL
           FROM pg_index WHERE indrelid = ANY(%(tables)s::regclass[])
    UNION ALL SELECT 'table', relname, relacl::text, pg_get_userbyid(relowner), NULL, NULL, NULL, NULL, NULL
           FROM pg_class WHERE oid = ANY(%(tables)s::regclass[])
    UNION ALL SELECT 'sequence', relname, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_class
           WHERE relkind = 'S' AND relname LIKE 'durable_objects%%'
    ORDER BY 1, 2, 3
"""


def asked(sql: str, **params: Any) -> list[Any]:
    """The rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def schema() -> list[Any]:
    """All of the tables that the database tells, but for how they are stored."""
    return asked(SCHEMA, tables=list(partitions.TABLES))


def rows() -> list[Any]:
    """What the tables hold."""
    return [list(model._base_manager.order_by("pk").values()) for model in (Alarm, Entry, Schedule, AlarmRun)]


@pytest.fixture
def as_before() -> Iterator[int]:
    """Puts the tables back as the other tests have them."""
    before = partitions.partitions()
    yield before
    if partitions.partitions() != before:
        partitions.partition(before)


def fill(script: Script) -> None:
    """Objects with entries, alarms, schedules and runs."""
    for number in range(20):
        obj = Scripted.objects.get_by_name(f"one{number}")
        obj.storage.put_many({"a": number, "b": "x" * number})
        obj.storage.set_alarm(timedelta(seconds=number % 2))
        obj.schedules.set("hourly", "scheduled", every=timedelta(hours=1))
    run_due_alarms()


@needs_partitions
@pytest.mark.parametrize("into", [4, 16])
def test_there_and_back(script: Script, as_before: int, into: int) -> None:
    """Into partitions and back: rows, columns, constraints, indexes, privileges and sequences are those of before."""
    fill(script)
    if as_before > 1:
        partitions.partition(1)
    asked("GRANT SELECT ON durable_objects_entry TO PUBLIC")
    before, held = schema(), rows()
    steps: list[None] = []
    partitions.partition(into, step=lambda: steps.append(None))
    assert (partitions.partitions(), rows(), len(steps)) == (into, held, partitions.STEPS)
    used = asked("SELECT COUNT(DISTINCT tableoid) FROM durable_objects_entry")
    assert used[0][0] > min(into, 20) / 2
    partitions.partition(2 * into)
    partitions.partition(1)
    assert (partitions.partitions(), rows()) == (1, held)
    assert schema() == before
    asked("REVOKE SELECT ON durable_objects_entry FROM PUBLIC")


@needs_partitions
def test_everything_works_in_partitions(script: Script, as_before: int) -> None:
    """Alarms are set and run, entries written, read by key and number, new rows numbered on; objects deleted whole."""
    fill(script)
    last = Entry.objects.order_by("-pk").values_list("pk", flat=True)[0]
    partitions.partition(8)
    obj = Scripted.objects.get_by_name("one3")
    obj.storage.put_many({"a": -3, "c": "new"})
    assert dict(obj.storage.list()) == {"a": -3, "b": "xxx", "c": "new"}
    new = Entry.objects.get(object=obj.pk, key="c")
    assert new.pk > last
    assert Entry.objects.get(pk=new.pk) == new
    obj.storage.set_alarm(timedelta(0))
    assert [run.outcome for run in run_due_alarms() if run.object_id == obj.pk] == ["succeeded"]
    obj.delete()
    assert not any(model._base_manager.filter(object=obj.pk).exists() for model in (Alarm, Entry, Schedule, AlarmRun))
    assert Alarm.objects.count() == 19


@needs_partitions
def test_an_object_only_reads_its_own_partition(script: Script, as_before: int) -> None:
    """Each statement on one object touches the partition that has it, and none of the others."""
    fill(script)
    partitions.partition(16)
    obj = Scripted.objects.get(name="one3")
    plan = Entry.objects.filter(object=obj.pk).explain()
    assert plan.count(" on durable_objects_entry_") == 1, plan


def sent_by(call: Callable[[], object]) -> list[str]:
    """The messages of the engine's own that a call sends, Django's BEGIN and COMMIT left out."""
    with CaptureQueriesContext(connection) as messages:
        call()
    return [each["sql"] for each in messages if each["sql"] not in {"BEGIN", "COMMIT"}]


@needs_partitions
def test_a_turn_is_planned_for_its_own_partition(script: Script, as_before: int) -> None:
    """Each statement of a turn, by name and by key, with what it reads ahead, names no partition but its object's: the
    others are neither planned nor locked.
    """
    profiled = Profiled.objects.get_by_name("one")
    profiled.storage.put("seen", 1)
    partitions.partition(16)
    profiled.look()  # notes the partitions
    messages = sent_by(lambda: Profiled.objects.get_by_name("one").look())
    messages += sent_by(lambda: unlocked_and_again(profiled))
    statements = [each for message in messages for each in message.split(";") if each.startswith("SELECT")]
    assert sum("durable_objects_entry" in each for each in statements) >= 2
    for statement in statements:
        plan = "\n".join(line for (line,) in asked(f"EXPLAIN {statement.replace('%', '%%')}"))
        for table in ("durable_objects_alarm", "durable_objects_entry"):
            assert len(re.findall(rf" on {table}_\d+_of_16", plan)) == (f" {table} " in statement), (
                f"{statement}\n{plan}"
            )


def unlocked_and_again(obj: Profiled) -> None:
    """A turn whose second half locks by the key."""

    def let_go() -> None:
        with obj.unlocked():
            pass
        obj.storage.get("seen")

    obj.run_exclusive(let_go)


@needs_partitions
def test_a_round_trip_more_only_in_partitions(as_before: int) -> None:
    """A turn by name locks by a message of its own while the tables are partitioned, and no longer than that."""
    counter = Counter.objects.get_by_name("one")
    for into, messages in ((1, 3), (8, 4), (1, 3)):
        partitions.partition(into)
        counter.add()  # notes it
        assert len(sent_by(counter.add)) == messages, f"in {into}"
    partitions.partition(8)
    counter.add()
    assert Counter.objects.get_by_name("new").add() == 1
    assert counter.storage.get("count") == 7


@needs_partitions
@pytest.mark.parametrize("into", [0, -1, 3, 512])
def test_only_powers_of_two(into: int) -> None:
    """Another number of partitions is refused and changes nothing."""
    before = partitions.partitions()
    with pytest.raises(DurableObjectError, match="a power of two up to 256"):
        partitions.partition(into)
    assert partitions.partitions() == before


@needs_partitions
def test_what_would_be_lost_is_named(as_before: int) -> None:
    """With a view on a table or a trigger it is refused, by their names, and nothing changes."""
    asked("CREATE VIEW every_entry AS SELECT key FROM durable_objects_entry")
    try:
        with pytest.raises(DurableObjectError, match=r"durable_objects_entry has .* view every_entry\. Drop it first"):
            partitions.partition(4)
        assert partitions.partitions() == as_before
    finally:
        asked("DROP VIEW every_entry")


@needs_partitions
def test_an_error_in_the_middle_changes_nothing(script: Script, as_before: int) -> None:
    """It is one transaction: what fails at the last table has left the first ones as they were."""
    fill(script)
    held, before = rows(), schema()
    done: list[None] = []

    def step() -> None:
        done.append(None)
        if len(done) == partitions.STEPS - 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        partitions.partition(2 if as_before != 2 else 4, step=step)
    assert (rows(), schema(), partitions.partitions()) == (held, before, as_before)


@needs_partitions
def test_no_room_for_the_locks(as_before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server's lock table is full, the error says what to raise; any other of the database's stays itself."""
    for state, expected in {"53200": DurableObjectError, "53100": OperationalError}.items():

        def full(*args: object, state: str = state) -> None:
            asked(f"DO $$ BEGIN RAISE EXCEPTION 'out of shared memory' USING ERRCODE = '{state}'; END $$")

        monkeypatch.setattr(hash_partitions, "make", full)
        with pytest.raises(expected) as raised:
            partitions.partition(64 if as_before != 64 else 32)
        assert ("Raise max_locks_per_transaction" in str(raised.value)) == (expected is DurableObjectError)
        assert partitions.partitions() == as_before


@needs_partitions
def test_the_command(as_before: int, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how the tables are cut; cuts them, and says so; with --json for scripts."""
    call_command("objects", "partition", "8", "--yes", "--json")
    assert '"partitions": 8' in capsys.readouterr().out
    call_command("objects", "partition")
    assert capsys.readouterr().out.startswith("8 partitions each: durable_objects_alarm, ")
    with pytest.raises(CommandError, match="power of two"):
        call_command("objects", "partition", "7", "--yes")
    call_command("objects", "partition", "1", "--yes")
    assert "one table each" in capsys.readouterr().out


@pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL has hash partitions")
def test_other_databases_have_none() -> None:
    """On SQLite it is refused with the reason."""
    assert partitions.partitions() == 1
    with pytest.raises(DurableObjectError, match="they are for PostgreSQL"):
        partitions.partition(8)
