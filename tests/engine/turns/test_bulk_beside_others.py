"""Many alarms set by one call while others hold objects, or the table has rules of its own: on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from durable_objects import ObjectBusy
from durable_objects.alarms import sql
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Object
from tests.models import Once, Script, Scripted
from tests.support.database_sessions import waiting
from tests.support.services import own_session
from tests.support.threads import InThread, await_event, await_that

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "postgresql",
        reason="needs two sessions of PostgreSQL: set TEST_DATABASE_URL=postgresql://…",
    ),
]

HOUR = timedelta(hours=1)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Somebody else has this object locked."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with Scripted.objects.get_by_name(name).storage.transaction():
            inside.set()
            await_event(leave)

    holder = InThread(hold)
    await_event(inside)
    try:
        yield
    finally:
        leave.set()
        holder.result()


def test_does_not_name_an_object_that_was_free(settings: Settings) -> None:
    """Of several objects the database does not say which one was not free: the error names no single one."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(milliseconds=200)}
    with locked("c"), pytest.raises(ObjectBusy, match=r"all of 3 objects of tests\.Scripted, from 'a' on,") as refused:
        Scripted.objects.set_alarms(dict.fromkeys("abc", HOUR))
    assert refused.value.key is None
    with locked("c"), pytest.raises(ObjectBusy, match=r"could not lock tests\.Scripted 'c' within") as refused:
        Scripted.objects.set_alarms({"c": HOUR})
    assert refused.value.key == ("tests.Scripted", "c")
    assert not Alarm.objects.exists()


def test_a_handler_that_met_a_busy_one_is_put_off(obj: Scripted, script: Script, settings: Settings) -> None:
    """A handler that sets the alarms of its own object and of others waits for these in vain: that is no failure of
    it, and uses up no retry.
    """
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(milliseconds=200)}
    obj.storage.set_alarm(timedelta(0))
    script.alarm = lambda obj, info: Scripted.objects.set_alarms(dict.fromkeys("abc", HOUR))
    with locked("b"):
        assert fire(Object.objects.get(name="a").pk).verdict is Verdict.AGAIN
    assert Alarm.objects.get(object__name="a").retry_count == 0
    assert fire(Object.objects.get(name="a").pk).verdict is Verdict.SUCCEEDED
    assert Alarm.objects.filter(state=Alarm.State.ARMED).count() == 3


def test_one_that_is_deleted_meanwhile_is_made_again() -> None:
    """Who waits for an object that is then deleted sets its alarm on a new one, as ``set_alarm`` does."""
    Once.objects.set_alarms({"a": HOUR, "b": HOUR})
    with transaction.atomic():
        Once.objects.get_by_name("a").storage.put("k", 1)
        beside = InThread(lambda: Once.objects.set_alarms({"a": 2 * HOUR, "b": 2 * HOUR}))
        await_that(waiting())
        Once.objects.get_by_name("a").delete()
    beside.result()
    assert dict(Once.objects.values_list("name", "alarm_row__generation")) == {"a": 1, "b": 2}


@contextmanager
def under_row_security(role: str = "pg_read_all_data") -> Iterator[None]:
    """This session is of a user for whom the table of alarms has row-level security, which allows all."""
    everything = [f"ALL ON ALL {what} IN SCHEMA public" for what in ("TABLES", "SEQUENCES")]
    with connection.cursor() as cursor:
        for each in everything:
            cursor.execute(f"GRANT {each} TO {role}")
        cursor.execute(f"CREATE POLICY everything ON {sql.TABLE} USING (true)")
        cursor.execute(f"ALTER TABLE {sql.TABLE} ENABLE ROW LEVEL SECURITY; SET ROLE {role}")
        try:
            yield
        finally:
            cursor.execute(f"RESET ROLE; ALTER TABLE {sql.TABLE} DISABLE ROW LEVEL SECURITY")
            cursor.execute(f"DROP POLICY everything ON {sql.TABLE}")
            for each in everything:
                cursor.execute(f"REVOKE {each} FROM {role}")


@own_session
def test_under_row_security_they_are_inserted() -> None:
    """Where the server refuses COPY, many alarms are set as few are."""
    with under_row_security():
        Once.objects.set_alarms({str(number): HOUR for number in range(sql.MANY)})
    assert Alarm.objects.filter(state=Alarm.State.ARMED).count() == sql.MANY
