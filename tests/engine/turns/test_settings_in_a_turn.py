"""What code in a turn says about its own transaction is its own affair, and does not keep the turn from its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, NotSupportedError, connection
from django.db.transaction import TransactionManagementError

from durable_objects import AlarmInfo, ObjectBusy
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Entry
from tests.engine.database.test_trouble import locked
from tests.models import Grouped, Note, Script, Scripted
from tests.support.services import own_session
from tests.support.storage_and_rows import sql

pytestmark = [
    own_session,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…"),
]

BRIEF = ["SET LOCAL statement_timeout = '5ms'", "SELECT set_config('statement_timeout', '5', true)"]


def put_much(obj: Any) -> None:
    """More than the server reads and stores within the limits here."""
    for key in "abcdef":
        obj.storage.put(key, "x" * 1_900_000)


def due(obj: Any) -> int:
    """Its alarm is due; its key."""
    obj.storage.set_alarm(timedelta(0))
    return int(obj.pk)


@pytest.mark.parametrize("statement", BRIEF)
@pytest.mark.parametrize("unlocks", [False, True])
def test_limit_for_ones_own_statements_is_none_for_the_end(
    obj: Scripted, script: Script, statement: str, unlocks: bool
) -> None:
    """What a handler or a call has put is stored, with the turn's own limits, also when it unlocks."""

    def alarm(obj: Scripted, info: AlarmInfo | None = None) -> None:
        sql(statement)
        put_much(obj)
        if unlocks:
            with obj.unlocked():
                pass

    script.alarm = alarm
    assert fire(due(obj)).verdict is Verdict.SUCCEEDED
    assert Entry.objects.count() == 6
    obj.storage.delete_all()
    obj.run_exclusive(lambda: alarm(obj))
    assert Entry.objects.count() == 6


def test_limit_of_one_in_a_group(script: Script, published: list[Any]) -> None:
    """What one of a group sets does not keep the others' writes."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        sql("SET LOCAL statement_timeout = '5ms'")
        put_much(obj)

    script.alarm = alarm
    Grouped.objects.set_alarms(dict.fromkeys("ab", timedelta(0)))
    pairs = [(each.object_id, each.wake_up_number) for each in published]
    assert fire_group(pairs, timedelta(minutes=1)) == 2
    assert Entry.objects.count() == 12


def test_statement_that_took_longer_than_the_handler_allowed(obj: Scripted, script: Script) -> None:
    """That is its failure, though the statement was the engine's: it would be put off for ever."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        sql("SET LOCAL statement_timeout = '50ms'")
        obj.storage.get("k")

    script.alarm = alarm
    pk = due(obj)
    with locked(Entry):
        assert fire(pk).verdict is Verdict.FAILED
    assert "statement timeout" in Alarm.objects.get().last_error


@contextmanager
def refused_at_the_commit(sqlstate: str) -> Iterator[None]:
    """A deferred trigger of the user's own refuses each note, as the transaction commits."""
    sql(
        "CREATE FUNCTION refuse_note() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'not this note' USING ERRCODE = '{sqlstate}'; END $$"
    )
    sql(
        "CREATE CONSTRAINT TRIGGER refuse_note AFTER INSERT ON tests_note DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse_note()"
    )
    try:
        yield
    finally:
        sql("DROP FUNCTION refuse_note() CASCADE")


@pytest.mark.parametrize("sqlstate", ["XX000", "55000", "55P03", "53100", "57014", "25006", "57P01", "P0001"])
def test_deferred_trigger_is_users_own(obj: Scripted, script: Script, sqlstate: str) -> None:
    """What it raises at the commit counts as the handler's failure, whatever it is called, and is the caller's."""

    def alarm(obj: Scripted, info: AlarmInfo | None = None) -> None:
        obj.storage.put("k", 1)
        Note.objects.create(text="refused")

    script.alarm = alarm
    pk = due(obj)
    with refused_at_the_commit(sqlstate):
        assert fire(pk).verdict is Verdict.FAILED
        with pytest.raises(DatabaseError, match="not this note") as raised:
            obj.run_exclusive(lambda: alarm(obj))
    assert not isinstance(raised.value, ObjectBusy)
    found = Alarm.objects.get()
    assert (found.retry_count, "not this note" in found.last_error, obj.storage.list()) == (1, True, {})


@pytest.mark.parametrize("statement", ["SET TRANSACTION READ ONLY", "set local transaction_read_only to on"])
def test_turn_is_not_made_read_only(obj: Scripted, script: Script, statement: str) -> None:
    """It could not be written out, and not be made writable again: refused at once."""
    script.alarm = lambda obj, info: sql(statement)
    assert fire(due(obj)).verdict is Verdict.FAILED
    with pytest.raises(TransactionManagementError, match="SET TRANSACTION inside a turn"):
        obj.run_exclusive(lambda: sql(statement))


def test_text_is_stored_as_it_is_or_not_at_all(obj: Scripted, script: Script) -> None:
    """A session of another encoding is refused, and one that was left so is replaced."""

    def alarm(obj: Scripted, info: AlarmInfo | None = None) -> None:
        obj.storage.put("k", "Grüße")
        sql("SET LOCAL client_encoding = 'LATIN1'")

    script.alarm = alarm
    pk = due(obj)
    assert fire(pk).verdict is Verdict.FAILED
    assert "client_encoding of this session is LATIN1" in Alarm.objects.get().last_error
    with pytest.raises(NotSupportedError, match="LATIN1"):
        obj.run_exclusive(lambda: alarm(obj))
    assert obj.storage.list() == {}
    sql("SET client_encoding = 'LATIN1'")
    obj.storage.put("k", "Grüße")
    assert obj.storage.get("k") == "Grüße"
    with connection.cursor() as cursor:
        cursor.execute("SELECT value::bytea FROM durable_objects_entry")
        assert "Grüße".encode() in bytes(cursor.fetchone()[0])


@pytest.mark.parametrize("does", ["the engine's", "its own"])
def test_session_that_the_handlers_own_limit_ended(obj: Scripted, script: Script, does: str) -> None:
    """A handler that lets the server end its session for being idle has failed: it would do so again, for ever."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        sql("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
        time.sleep(0.5)
        if does == "its own":
            Note.objects.create(text="too late")
        obj.storage.get("k")

    script.alarm = alarm
    assert fire(due(obj)).verdict is Verdict.FAILED
    assert "idle-in-transaction" in Alarm.objects.get().last_error
