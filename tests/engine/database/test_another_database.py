"""What a handler meets at a database that is not the engine's is the handler's own affair: it counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from django.db import Error, OperationalError
from django.db.utils import ConnectionHandler

from durable_objects.delivery import publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Object
from tests.models import Grouped, Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


def refused() -> None:
    """Connects where nobody listens."""
    there = {"ENGINE": "django.db.backends.postgresql", "NAME": "elsewhere", "HOST": "127.0.0.1", "PORT": "1"}
    ConnectionHandler({"default": {}, "elsewhere": there})["elsewhere"].ensure_connection()


def hung_up() -> None:
    """As an administrator of the other server ends a session there; raises what Django makes of it."""
    raise OperationalError("terminating connection") from psycopg.errors.AdminShutdown("terminating connection")


@pytest.mark.parametrize("meet", [refused, hung_up])
def test_other_database_that_is_away_is_a_failure(obj: Scripted, script: Script, meet: Callable[[], None]) -> None:
    """An alarm whose handler asks another database, which is away, fails, is retried with a count, and dies."""

    def handler(obj: Scripted, info: object) -> None:
        obj.storage.put("written", True)
        meet()

    script.alarm = handler
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    fired = fire(pk)
    assert fired.verdict is Verdict.FAILED
    assert isinstance(fired.error, Error)
    assert Alarm.objects.get().retry_count == 1
    assert obj.storage.get("written") is None


def test_so_it_is_in_a_group(script: Script, published: list[publisher.WakeUp]) -> None:
    """The one whose other database is away is put out of the group; the others run."""
    script.alarm = lambda obj, info: refused() if obj.name == "a" else None
    Grouped.objects.set_alarms({"a": NOW, "b": NOW})
    assert fire_group([(each.object_id, each.wake_up_number) for each in published], timedelta(minutes=1)) == 1
    assert Alarm.objects.get(object__name="b").state == "idle"


def test_caller_gets_the_other_databases_error(obj: Scripted) -> None:
    """A caller whose code asks the other database gets its error, once, and its object is as before."""

    def write_and_ask() -> None:
        with obj.storage.transaction():
            obj.storage.put("written", True)
            refused()

    with pytest.raises(OperationalError):
        write_and_ask()
    assert obj.storage.get("written") is None
