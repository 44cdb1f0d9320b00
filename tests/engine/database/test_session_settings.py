"""What somebody did to a session does not spoil the turns that come after on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from psycopg import sql

from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Object
from tests.models import Counter, Grouped, Script, Scripted
from tests.support.database_sessions import one_value
from tests.support.services import own_session

pytestmark = [
    own_session,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…"),
]

#: Only a superuser and its members may take this role; it can read and not write.
OTHER_ROLE = "SET ROLE pg_read_all_data"
#: Settings that outlive a transaction, as a handler may leave them.
LEFT = [
    "SET statement_timeout = 1",
    "SET lock_timeout = 1",
    "SET idle_in_transaction_session_timeout = '1min'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET default_transaction_isolation = 'serializable'",
    "SET search_path = nowhere",
    "SET TIME ZONE 'Asia/Kathmandu'",
    "SET DateStyle = 'German'",
    "SET synchronous_commit = off",
    OTHER_ROLE,
    "SELECT set_config('statement_timeout', '1', false)",
]
#: The same, as not everybody writes it.
ODD = [
    sql.SQL("SET statement_timeout = 1"),
    b"SET statement_timeout = 1",
    "/* a tag */ SET statement_timeout = 1",
    "-- why\nSET statement_timeout = 1",
    "SELECT 1; /* a tag */ SET statement_timeout = 1",
]


@pytest.fixture(autouse=True)
def _own_session() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


@pytest.fixture(autouse=True)
def _may_take_the_other_role(request: pytest.FixtureRequest) -> None:
    """Skips where the tests' own role may not become the other one, but fails where CI is set."""
    chosen = getattr(request.node, "callspec", None)
    wanted = chosen is not None and chosen.params.get("statement") == OTHER_ROLE
    if wanted and not one_value("SELECT pg_has_role('pg_read_all_data', 'MEMBER')"):
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs GRANT pg_read_all_data to the role in TEST_DATABASE_URL")


def say(statement: Any) -> None:
    """Through Django's cursor."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def armed() -> int:
    """The key of an object whose alarm is due."""
    Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(0))
    return Object.objects.get(name="a").pk


@pytest.mark.parametrize("statement", [*LEFT, *ODD], ids=str)
def test_handlers_settings_are_gone_after_its_run(obj: Scripted, script: Script, statement: Any) -> None:
    """The next wake-up of that thread has a session as new, whoever's it is."""
    before = one_value("SELECT pg_backend_pid()")
    script.alarm = lambda obj, info: say(statement)
    pk = armed()
    fire(pk)
    assert one_value("SELECT pg_backend_pid()") != before
    Alarm.objects.update(state="armed", retry_count=0, due_at="2020-01-01T00:00:00Z")
    script.alarm = lambda obj, info: one_value("SELECT pg_sleep(0.01)") and None
    assert fire(pk).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("statement", ["SET LOCAL lock_timeout = 5", "SET CONSTRAINTS ALL DEFERRED", "SELECT 1"])
def test_what_ends_with_the_transaction_costs_no_session(script: Script, statement: str) -> None:
    """A handler that says what it needs for its transaction keeps the session, and so does one that says nothing."""
    before = one_value("SELECT pg_backend_pid()")
    script.alarm = lambda obj, info: say(statement)
    assert fire(armed()).verdict is Verdict.SUCCEEDED
    assert one_value("SELECT pg_backend_pid()") == before


def test_statement_of_bytes_is_a_statement(script: Script) -> None:
    """As the driver takes it."""
    script.alarm = lambda obj, info: say(b"SELECT 1")
    assert fire(armed()).verdict is Verdict.SUCCEEDED


def test_session_that_a_group_began_is_kept(script: Script, published: list[Any]) -> None:
    """What the engine itself, or the project, sets on each new session is not taken for a handler's."""
    pids = []
    script.alarm = lambda obj, info: pids.append(one_value("SELECT pg_backend_pid()"))
    for _ in range(2):
        Grouped.objects.set_alarms({"a": timedelta(0)})
        if not pids:
            connection.close()
        assert fire_group([(published[-1].object_id, published[-1].wake_up_number)], timedelta(minutes=1)) == 1
    assert pids[0] == pids[1]


def test_groups_leave_nothing_either(script: Script, published: list[Any]) -> None:
    """As above, for alarms that run together."""
    before = one_value("SELECT pg_backend_pid()")
    script.alarm = lambda obj, info: say("SET lock_timeout = 1")
    Grouped.objects.set_alarms({"a": timedelta(0)})
    assert fire_group([(each.object_id, each.wake_up_number) for each in published], timedelta(minutes=1)) == 1
    assert one_value("SELECT pg_backend_pid()") != before


@pytest.mark.parametrize("statement", [each for each in LEFT if "statement_timeout" not in each])
def test_callers_next_turn_goes_well(statement: str) -> None:
    """Whatever a caller has left on its session, also past Django's cursor, its next call is done."""
    counter = Counter.objects.get_by_name("a")
    counter.add()
    connection.connection.execute(statement)
    assert counter.add() == 2
    assert counter.storage.get("count") == 2


def test_callers_settings_stay_where_they_do_no_harm() -> None:
    """A caller's session is the caller's: a turn that can run on it does not take it away."""
    counter = Counter.objects.get_by_name("a")
    say("SET statement_timeout = '1min'")
    before = one_value("SELECT pg_backend_pid()")
    counter.add()
    assert one_value("SELECT pg_backend_pid()") == before
    assert one_value("SELECT current_setting('statement_timeout')") == "1min"


def test_session_that_hung_up_is_replaced() -> None:
    """A call that begins on a session that the server has ended meanwhile is done on another one."""
    counter = Counter.objects.get_by_name("a")
    counter.add()
    pid = one_value("SELECT pg_backend_pid()")
    other = connection.get_new_connection(connection.get_connection_params())
    other.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    assert counter.add() == 2


def test_who_is_cut_off_is_noticed_by_the_server() -> None:
    """Each session asks for keepalives and a limit on what is not acknowledged, unless it has stricter ones."""
    host = str(connection.settings_dict["HOST"])
    if host.startswith("/"):
        pytest.skip("no network between the two")
    names = ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"]
    assert [one_value(f"SELECT current_setting('{name}')") for name in names] == ["15", "5", "3", "30000"]
