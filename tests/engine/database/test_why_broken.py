"""Why a transaction cannot end well: what broke it, and not what broke an earlier one on the same connection."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction

from durable_objects import ObjectBusy
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Entry
from tests.models import Script, Scripted

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…"),
]


def read_in_a_transaction(obj: Scripted) -> None:
    """Read an entry in a transaction of the caller's, which waits for locks as long as the caller says."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = 50")
        obj.storage.get("before")


def test_trouble_of_an_earlier_transaction_excuses_no_later_one(script: Script) -> None:
    """A handler that asks for its own rollback has failed, whatever the database refused on this connection before."""
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(timedelta(0))
    other = connection.get_new_connection(connection.get_connection_params())
    try:
        other.execute(f"LOCK TABLE {Entry._meta.db_table} IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ObjectBusy):
            read_in_a_transaction(obj)
    finally:
        other.close()
    script.alarm = lambda obj, info: transaction.set_rollback(True)
    assert fire(Alarm.objects.get().pk).verdict is Verdict.FAILED
    assert Alarm.objects.get().retry_count == 1
