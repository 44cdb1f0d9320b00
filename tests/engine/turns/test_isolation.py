"""A turn decides on what was committed while it waited, so its transaction is READ COMMITTED or refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

from durable_objects import IsolationNotSupported
from durable_objects.tables import Alarm, Object
from tests.models import Counter, Script, Scripted
from tests.support.database_sessions import waiting
from tests.support.services import own_session
from tests.support.threads import InThread, await_that

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "postgresql",
        reason="needs two sessions of PostgreSQL: set TEST_DATABASE_URL=postgresql://…",
    ),
]

HOUR = timedelta(hours=1)


def test_caller_at_another_isolation_level_is_refused_before_anything_ran(obj: Scripted, script: Script) -> None:
    """Inside REPEATABLE READ or SERIALIZABLE a turn would decide on old rows: ``IsolationNotSupported``."""
    ran: list[Scripted] = []
    script.initialize = ran.append
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        for call in (
            lambda: obj.run_exclusive(lambda: ran.append(obj)),
            lambda: obj.storage.put("k", 1),
            lambda: obj.storage.set_alarm(HOUR),
            lambda: obj.storage.delete("k"),
            obj.storage.delete_all,
        ):
            with transaction.atomic():
                connection.cursor().execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                with pytest.raises(IsolationNotSupported, match=level):
                    call()
                assert obj.storage.get("k") is None
    assert ran == []
    assert not Object.objects.exists()


@own_session
def test_turn_of_its_own_is_read_committed_whatever_the_default() -> None:
    """Where the session's default is REPEATABLE READ a turn reads what was committed while it waited for the lock."""
    counter = Counter.objects.get_by_name("a")
    counter.add()

    def copy_at_repeatable_read() -> None:
        connection.cursor().execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ContentType.objects.clear_cache()  # as in a process that meets the class for the first time
        other = Counter.objects.get_by_name("a")
        other.run_exclusive(lambda: other.storage.put("copy", other.storage.get("count")))

    with counter.storage.transaction():
        beside = InThread(copy_at_repeatable_read)
        await_that(waiting())
        counter.add()
    beside.result()
    assert counter.storage.get("copy") == 2


@own_session
def test_alarms_are_set_whatever_the_default() -> None:
    """A process that meets a class for the first time, at REPEATABLE READ, sets many alarms as any other."""

    def set_at_repeatable_read() -> None:
        connection.cursor().execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        ContentType.objects.clear_cache()
        Scripted.objects.set_alarms({"a": HOUR, "b": HOUR})

    InThread(set_at_repeatable_read).result()
    assert Alarm.objects.filter(state="armed").count() == 2
