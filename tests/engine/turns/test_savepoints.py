"""Storage and the user's own rows agree, however a savepoint was made and however it ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.transaction import TransactionManagementError

from durable_objects import AlarmInfo, CannotUnlock
from durable_objects.models import DurableObject
from durable_objects.tables import AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Grouped, Note, Script, Scripted
from tests.support.combined_calls import call_while_locked
from tests.support.storage_and_rows import agree, sql, write

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def by_django(obj: DurableObject) -> None:
    """Made and rolled back by Django's functions."""
    sid = transaction.savepoint()
    write(obj, "undone")
    transaction.savepoint_rollback(sid)


def rolled_back_and_released(obj: DurableObject) -> None:
    """Rolled back to, used again, and released."""
    sid = transaction.savepoint()
    write(obj, "undone")
    transaction.savepoint_rollback(sid)
    write(obj, "kept")
    transaction.savepoint_commit(sid)


def rolled_back_twice(obj: DurableObject) -> None:
    """Rolled back to, used again, and rolled back to again."""
    sid = transaction.savepoint()
    write(obj, "undone")
    transaction.savepoint_rollback(sid)
    write(obj, "undone")
    transaction.savepoint_rollback(sid)
    write(obj, "kept")


def in_words(obj: DurableObject) -> None:
    """In any spelling that the databases know."""
    for begin, undo, release in (
        ("SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "RELEASE SAVEPOINT a"),
        ("savepoint\n  A", "  rollback to a;", "release A"),
        ('/* here */ SavePoint "a b"', 'ROLLBACK TRANSACTION TO "a b"', 'RELEASE "a b" -- gone'),
        ("-- now\nsavepoint späť", "rollback to savepoint späť", "release späť"),
    ):
        sql(begin)
        write(obj, "undone")
        sql(undo)
        sql(release)
    write(obj, "kept")


def of_the_same_name(obj: DurableObject) -> None:
    """The name says the last one of it; the first is met again once that is released."""
    sql("SAVEPOINT a")
    write(obj, "undone")
    sql("SAVEPOINT a")
    write(obj, "undone too")
    sql("ROLLBACK TO a")
    sql("RELEASE a")
    sql("ROLLBACK TO a")
    write(obj, "kept")


def out_of_order(obj: DurableObject) -> None:
    """Releasing the outer one releases what is inside of it."""
    write(obj, "kept before")
    sql("SAVEPOINT outer_one")
    write(obj, "kept")
    sql("SAVEPOINT inner_one")
    write(obj, "kept too")
    sql("RELEASE outer_one")
    with pytest.raises((DatabaseError, TransactionManagementError)), transaction.atomic():
        sql("ROLLBACK TO inner_one")


def released_inside_undone(obj: DurableObject) -> None:
    """What was released goes with what is around it."""
    sid = transaction.savepoint()
    with transaction.atomic(), obj.storage.transaction():
        inner = transaction.savepoint()
        write(obj, "undone")
        transaction.savepoint_commit(inner)
    obj.storage.get("undone")
    transaction.savepoint_rollback(sid)


def left_open(obj: DurableObject) -> None:
    """What nobody ends is kept with the turn."""
    transaction.savepoint()
    write(obj, "kept")
    transaction.savepoint()
    write(obj, "kept too")


def everything_else(obj: DurableObject) -> None:
    """Deletes, ``delete_all()``, alarms and reads go with it as well."""
    obj.storage.put("there", 1)
    obj.storage.set_alarm(HOUR)
    before = obj.storage.get_alarm()
    sid = transaction.savepoint()
    obj.storage.delete_all()
    assert obj.storage.get("there") is None
    obj.storage.put("undone", 2)
    obj.storage.set_alarm(2 * HOUR)
    assert obj.storage.list() == {"undone": 2}
    transaction.savepoint_rollback(sid)
    assert obj.storage.get("undone") is None
    assert obj.storage.list() == {"there": 1}
    assert obj.storage.get_alarm() == before
    obj.storage.delete("there")


def deleted(obj: DurableObject) -> None:
    """An object whose deletion is rolled back is there."""
    sid = transaction.savepoint()
    obj.delete()
    transaction.savepoint_rollback(sid)
    write(obj, "kept")


def other_object(obj: DurableObject) -> None:
    """Another object's turn inside goes with it, and one on this object by way of the other."""
    other = Counter.objects.get_by_name("other")
    sid = transaction.savepoint()
    other.run_exclusive(lambda: write(other, "undone"))
    other.run_exclusive(lambda: write(obj, "undone too"))
    transaction.savepoint_rollback(sid)
    assert other.storage.list() == {}
    other.run_exclusive(lambda: by_django(other))


WAYS: list[Callable[[Any], None]] = [
    by_django, rolled_back_and_released, rolled_back_twice, in_words, of_the_same_name, out_of_order,
    released_inside_undone, left_open, everything_else, deleted, other_object,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_call_agrees_with_own_rows(obj: Scripted, way: Callable[[Any], None]) -> None:
    """In a call's turn."""
    obj.run_exclusive(lambda: way(obj))
    agree(obj)


@pytest.mark.parametrize("way", WAYS)
def test_handler_agrees_with_own_rows(
    clock: FakeClock, obj: Scripted, script: Script, way: Callable[[Any], None]
) -> None:
    """In a handler's, after an ``unlocked()``, and in storage.transaction()."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            pass
        way(obj)

    obj.storage.set_alarm(timedelta(0))
    script.alarm = alarm
    assert [run.outcome for run in run_due_alarms(limit=1, raise_errors=True)] == ["succeeded"]
    agree(obj)


@pytest.mark.parametrize("way", WAYS)
def test_turn_in_the_callers_transaction_agrees(obj: Scripted, way: Callable[[Any], None]) -> None:
    """Inside the caller's own transaction and savepoint, which are ended afterwards."""
    with transaction.atomic():
        sid = transaction.savepoint()
        obj.run_exclusive(lambda: way(obj))
        transaction.savepoint_commit(sid)
    agree(obj)


def test_callers_savepoint_takes_the_whole_turn_along(obj: Scripted) -> None:
    """One made by hand around a turn undoes it; the object is there for the next one."""
    with transaction.atomic():
        sid = transaction.savepoint()
        obj.run_exclusive(lambda: write(obj, "undone"))
        transaction.savepoint_rollback(sid)
        obj.run_exclusive(lambda: write(obj, "kept"))
    agree(obj)
    assert obj.storage.list() == {"kept": 1}


def test_combined_calls_keep_their_savepoints_apart(obj: Scripted) -> None:
    """One that leaves a savepoint open, one that rolls one back, and one that raises share a turn."""

    def undo(obj: Scripted) -> None:
        sid = transaction.savepoint()
        obj.storage.put("undone", 1)
        transaction.savepoint_rollback(sid)
        obj.storage.put("b", 1)

    def leave_open(obj: Scripted) -> None:
        transaction.savepoint()
        obj.storage.put("a", 1)

    def fail(obj: Scripted) -> None:
        transaction.savepoint()
        obj.storage.put("undone", 1)
        raise LookupError

    threads = call_while_locked(obj, leave_open, undo, fail, undo)
    with pytest.raises(LookupError):
        threads.pop(2).result()
    for thread in threads:
        thread.result()
    assert obj.storage.list() == {"a": 1, "b": 1}


def test_group_agrees(script: Script) -> None:
    """Handlers that share a transaction, each with savepoints of its own, one left open."""
    from durable_objects.execution.groups import fire_group
    from durable_objects.tables import Alarm

    def alarm(obj: Grouped, info: AlarmInfo) -> None:
        sid = transaction.savepoint()
        obj.storage.put("undone", 1)
        transaction.savepoint_rollback(sid)
        obj.storage.put("kept", 1)
        transaction.savepoint()
        obj.storage.put("kept too", 1)

    script.alarm = alarm
    Grouped.objects.set_alarms(dict.fromkeys("abc", timedelta(0)))
    assert fire_group([(pk, 0) for pk in Alarm.objects.values_list("pk", flat=True)], timedelta(minutes=1)) in {0, 3}
    Alarm.objects.filter(state="armed").update(wake_up_number=0)
    fire_group([(pk, 0) for pk in Alarm.objects.values_list("pk", flat=True)], timedelta(minutes=1))
    assert AlarmRun.objects.count() == 3
    for name in "abc":
        assert Grouped.objects.get_by_name(name).storage.list() == {"kept": 1, "kept too": 1}


@pytest.mark.parametrize("text", [
    "COMMIT", "commit;", " /* x */ COMMIT WORK", "END", "ROLLBACK", "rollback work", "ABORT", "BEGIN",
    "START TRANSACTION", "PREPARE TRANSACTION 'x'", "COMMIT AND CHAIN",
])  # fmt: skip
def test_ending_the_transaction_is_refused_and_changes_nothing(obj: Scripted, text: str) -> None:
    """The turn's transaction is not the code's to end: refused before it is sent, and the turn goes on unharmed."""

    def work() -> None:
        write(obj, "kept")
        with pytest.raises(TransactionManagementError, match="inside a turn"):
            sql(text)
        obj.storage.put("then", 1)
        Note.objects.create(text="then")

    obj.run_exclusive(work)
    agree(obj)
    assert set(obj.storage.list()) == {"kept", "then"}


@pytest.mark.parametrize("end", ["savepoint_rollback", "savepoint_commit"])
def test_callers_savepoint_is_not_the_turns_to_end(obj: Scripted, end: str) -> None:
    """From inside a turn a savepoint from before it is refused, and the turn goes on."""
    with transaction.atomic():
        sid = transaction.savepoint()

        def work() -> None:
            write(obj, "kept")
            with pytest.raises(TransactionManagementError, match="not one of this turn's"):
                getattr(transaction, end)(sid)

        obj.run_exclusive(work)
    agree(obj)
    assert obj.storage.list() == {"kept": 1}


@pytest.mark.parametrize("and_then", [False, True], ids=["", "and then"])
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_end_by_the_drivers_own_connection_is_noticed(obj: Scripted, ending: str, and_then: bool) -> None:
    """What passes Django by cannot be refused: the turn does not end well, and the next one does."""

    def work() -> None:
        obj.storage.put("k", 1)
        connection.cursor().execute("SELECT 1")
        getattr(connection.connection, ending)()
        if and_then:
            with pytest.raises(TransactionManagementError, match="ended from inside"):
                Note.objects.create(text="outside of any turn")

    with pytest.raises(TransactionManagementError, match="ended from inside"):
        obj.run_exclusive(work)
    obj.run_exclusive(lambda: write(obj, "next"))
    agree(obj)


def test_end_by_the_drivers_own_connection_in_a_handler(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """Such a run has failed, with these words."""
    obj.storage.set_alarm(timedelta(0))
    script.alarm = lambda obj, info: connection.connection.commit()
    (run,) = run_due_alarms()
    assert run.outcome == "failed"
    assert "ended from inside" in run.error


def test_unlocked_in_a_savepoint_is_refused(obj: Scripted) -> None:
    """What has to stay undoable cannot be committed; once it is released, it can."""

    def work() -> None:
        sid = transaction.savepoint()
        write(obj, "kept")
        with pytest.raises(CannotUnlock, match="savepoint"), obj.unlocked():
            pass
        transaction.savepoint_commit(sid)
        with obj.unlocked():
            pass

    obj.run_exclusive(work)
    agree(obj)


def test_names_and_texts_are_not_taken_for_statements(obj: Scripted) -> None:
    """Columns, values and comments that look so do nothing."""

    def work() -> None:
        write(obj, "kept")
        for text in (
            "SELECT 'x; COMMIT' AS \"end\"",
            'SELECT 1 AS "rollback" -- ; rollback',
            "SELECT CASE WHEN 1 = 1 THEN 1 ELSE 0 END",
            "SELECT /* ; commit; */ 1",
        ):
            sql(text)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT %s", ["; rollback to a;"])

    obj.run_exclusive(work)
    agree(obj)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite takes one statement at a time")
def test_several_statements_in_one_text(obj: Scripted) -> None:
    """Each of them counts, on PostgreSQL, and so does what psycopg composes."""
    from psycopg.sql import SQL, Identifier

    def work() -> None:
        sql("SAVEPOINT a; SELECT 'x;y', $$ ; commit $$; SAVEPOINT \"B\"")
        write(obj, "undone")
        with connection.cursor() as cursor:
            cursor.execute(SQL("ROLLBACK TO {}").format(Identifier("a")))
        write(obj, "kept")
        with pytest.raises(TransactionManagementError):
            sql("SELECT 1; COMMIT")

    obj.run_exclusive(work)
    agree(obj)
