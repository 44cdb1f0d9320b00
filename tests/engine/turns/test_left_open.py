"""What code leaves open on its connection ends with its run or call, which has failed; the next one goes well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from durable_objects.database.connection import is_as_new
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Object
from durable_objects.turns.transaction import unlocked_on
from durable_objects.turns.turn import open_turns
from tests.models import Counter, Grouped, Note, Script, Scripted
from tests.support.services import own_session
from tests.support.threads import InThread

pytestmark = [own_session, pytest.mark.django_db(transaction=True)]

NOW = timedelta(0)
Code = Callable[[Scripted], Any]
#: What was begun and not ended lives on.
KEPT: list[Any] = []
#: Whether errors can be looked at: not while the engine has them, but by who reports on the test.
CALM = [True]


class Untouchable(Exception):
    """Nothing can be asked of it."""

    def __getattribute__(self, name: str) -> Any:
        if CALM[0]:
            return super().__getattribute__(name)
        raise ZeroDivisionError(name)


@contextmanager
def calm_after() -> Iterator[None]:
    """The block may meet errors of that kind."""
    CALM[0] = False
    try:
        yield
    finally:
        CALM[0] = True


def kept(block: Any) -> None:
    """Enters a block that is never left."""
    block.__enter__()
    KEPT.append(block)


def closed(obj: Scripted) -> None:
    """The connection is closed, as ``connections.close_all()`` would."""
    Note.objects.create(text="before")
    connection.close()


def atomic(obj: Scripted) -> None:
    """A block of a generator that nobody finishes."""

    def steps() -> Iterator[None]:
        with transaction.atomic():
            yield

    KEPT.append(steps())
    next(KEPT[-1])
    obj.storage.put("k", 1)


def two_atomics(obj: Scripted) -> None:
    """Blocks in each other."""
    kept(transaction.atomic())
    kept(transaction.atomic())


def part(obj: Scripted) -> None:
    """A part of a turn."""
    kept(obj.storage.transaction())


def outside(obj: Scripted) -> None:
    """A block that is begun outside of the lock."""
    with obj.unlocked():
        kept(transaction.atomic())


def no_autocommit(obj: Scripted) -> None:
    """A transaction by hand, outside of the lock."""
    with obj.unlocked():
        transaction.set_autocommit(False)
        Note.objects.create(text="by hand")


def begun(obj: Scripted) -> None:
    """A transaction in SQL, outside of the lock."""
    with obj.unlocked(), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO tests_note (text) VALUES ('by hand')")


def untouchable(obj: Scripted) -> None:
    """An error that raises whatever is asked of it."""
    raise Untouchable


CLOSED = pytest.param(
    closed,
    marks=pytest.mark.skipif(
        connection.vendor == "sqlite", reason="SQLite's transaction lives as long as a statement: set TEST_DATABASE_URL"
    ),
)
LEFT: list[Any] = [CLOSED, atomic, two_atomics, part, outside, no_autocommit, begun, untouchable]
each_way = pytest.mark.parametrize("leave", LEFT, ids=lambda each: str(each.__name__))


@pytest.fixture(autouse=True)
def _connections_of_their_own() -> Iterator[None]:
    yield
    KEPT.clear()
    connection.close()


def armed(name: str) -> int:
    """The key of an object whose alarm is due."""
    Scripted.objects.get_by_name(name).storage.set_alarm(NOW)
    return Object.objects.get(name=name).pk


def states() -> dict[str, tuple[str, int]]:
    """As another session sees them: of each alarm its state, and how often it failed."""
    rows = InThread(lambda: list(Alarm.objects.values_list("object__name", "state", "retry_count"))).result()
    return {name: (state, retries) for name, state, retries in rows}


@each_way
def test_a_handler_that_leaves_something_open_has_failed(script: Script, leave: Code) -> None:
    """It is counted, nothing of it is stored, and the next alarm of that thread runs as if nothing had been."""
    script.alarm = lambda obj, info: leave(obj) if obj.name == "a" else None
    one, other = armed("a"), armed("b")
    with calm_after():
        fired = fire(one)
    assert fired.verdict is Verdict.FAILED
    if leave is closed:
        assert "connection.close()" in str(fired.error)
    assert is_as_new(connection)
    assert not {*open_turns(connection), *unlocked_on(connection)}
    assert fire(other).verdict is Verdict.SUCCEEDED
    assert states() == {"a": ("armed", 1), "b": ("idle", 0)}
    assert Scripted.objects.get_by_name("a").storage.list() == {}
    assert Note.objects.count() == 0


@each_way
def test_initialize_may_leave_nothing_open_either(script: Script, leave: Code) -> None:
    """As above, of what runs before."""
    one, other = armed("a"), armed("b")
    script.initialize = lambda obj: leave(obj) if obj.name == "a" and not KEPT else None
    with calm_after():
        fire(one)
    KEPT.append(None)
    assert fire(other).verdict is Verdict.SUCCEEDED
    assert states()["b"] == ("idle", 0)


@pytest.mark.parametrize("leave", [CLOSED, atomic, two_atomics, part, untouchable], ids=lambda each: str(each.__name__))
def test_in_a_group_it_fails_alone(script: Script, published: list[Any], leave: Code) -> None:
    """The others of the group run, together or alone."""
    script.alarm = lambda obj, info: leave(obj) if obj.name == "a" else None
    Grouped.objects.set_alarms(dict.fromkeys("abc", NOW))
    with calm_after():
        fire_group([(each.object_id, each.wake_up_number) for each in published], timedelta(minutes=1))
        for wake_up in list(published)[1:]:
            fire(wake_up.object_id, wake_up.wake_up_number)
    assert states() == {"a": ("armed", 1), "b": ("idle", 0), "c": ("idle", 0)}


@pytest.mark.parametrize("leave", [atomic, two_atomics, part, untouchable], ids=lambda each: str(each.__name__))
def test_a_call_that_leaves_something_open_is_refused(script: Script, leave: Code) -> None:
    """The caller gets an error, nothing is stored, and the next call goes well."""
    obj = Scripted.objects.get_by_name("a")

    def call() -> None:
        with calm_after(), obj.storage.transaction():
            obj.storage.put("before", 1)
            leave(obj)

    with pytest.raises((transaction.TransactionManagementError, Untouchable, ZeroDivisionError)):
        call()
    assert is_as_new(connection)
    assert not {*open_turns(connection), *unlocked_on(connection)}
    assert obj.storage.list() == {}
    assert Counter.objects.get_by_name("a").add() == 1
    assert InThread(lambda: Counter.objects.get_by_name("a").add()).result() == 2


def test_what_interrupted_unlocked_is_the_end_of_the_run(script: Script) -> None:
    """When its commit was refused by a hook, and the handler goes on, nothing that it does then is kept."""

    def refuse() -> None:
        raise ValueError("a hook")

    def handler(obj: Scripted, info: object) -> None:
        transaction.on_commit(refuse)
        try:
            with obj.unlocked():
                pass
        except ValueError:
            obj.storage.put("after", 1)

    script.alarm = handler
    assert fire(armed("a")).verdict is Verdict.FAILED
    assert Scripted.objects.get_by_name("a").storage.list() == {}
    assert states() == {"a": ("armed", 1)}
