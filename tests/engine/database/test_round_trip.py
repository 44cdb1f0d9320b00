"""Several statements go to the database together, with their values as they are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from psycopg import IsolationLevel

from durable_objects.database import clock, round_trip
from durable_objects.database.backends import simple_query
from durable_objects.database.backends.base import Statement
from durable_objects.tables import Object
from durable_objects.turns.transaction import LockedTransaction
from tests.models import Counter, Note
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

needs_postgresql = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL")


def note(text: str) -> Statement:
    """Stores one."""
    return "INSERT INTO tests_note (text) VALUES (%s)", [text]


@pytest.mark.parametrize("text", ["plain", "it's", 'a "b"', "back\\slash", "%s %% ;", "ünïcödé 🎈", "'; DROP TABLE x"])
def test_values_arrive_as_they_are(text: str) -> None:
    """Whatever a text holds, it is a value and nothing else."""
    rows = round_trip.send(connection, [note(text), ("SELECT text, %s FROM tests_note", [None])])
    assert rows == [(text, None)]


def test_answers_are_the_last_statements() -> None:
    """One list of rows, of the last statement; an empty one when it gives none."""
    assert round_trip.send(connection, [("SELECT 1", ()), note("a")]) == []
    assert [str(value) for (value,) in round_trip.send(connection, [note("b"), ("SELECT 7", ())])] == ["7"]


def test_error_is_djangos_and_ends_it() -> None:
    """What follows a statement that failed is not executed, and the caller gets the error that Django has for it."""
    with pytest.raises(DatabaseError), transaction.atomic():
        round_trip.send(connection, [note("a"), ("SELECT nothing FROM nowhere", ()), note("b")])
    assert not Note.objects.exists()


def test_what_is_sent_first_in_an_atomic_block_is_part_of_it() -> None:
    """The first statements inside a block are undone with it, and read what the block's later ones read."""

    def send_and_fail() -> None:
        with transaction.atomic():
            round_trip.send(connection, [note("a")])
            raise KeyError

    with pytest.raises(KeyError):
        send_and_fail()
    assert not Note.objects.exists()


@needs_postgresql
def test_the_isolation_level_of_the_session_holds_for_what_is_sent_first() -> None:
    """A block that begins with a read of the engine's has the isolation level of ``DATABASES``."""
    Counter.objects.get_by_name("b").add()  # the class's content type is known from here on, and not read in the block
    driver: Any = connection.connection
    driver.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with transaction.atomic():
            assert Counter.objects.get_by_name("a").storage.get("count") is None
            InThread(Counter.objects.get_by_name("a").add).result()
            assert Counter.objects.get_by_name("a").storage.get("count") is None
    finally:
        driver.isolation_level = None


@needs_postgresql
def test_turn_is_two_round_trips_and_can_be_seen() -> None:
    """Opening and end are one entry each in Django's log of queries."""
    counter = Counter.objects.get_by_name("a")
    counter.add()
    with CaptureQueriesContext(connection) as queries:
        counter.run_exclusive(lambda: counter.storage.put("k", 1))
    sent = [query["sql"] for query in queries if query["sql"] not in {"BEGIN", "COMMIT"}]
    assert len(sent) == 2
    assert sent[0].startswith("BEGIN")
    assert sent[1].endswith("COMMIT")


@needs_postgresql
def test_commit_that_rolls_back_is_an_error() -> None:
    """A turn that swallowed an error of the database does not seem to end well, though it has nothing to store."""
    counter = Counter.objects.get_by_name("a")
    counter.add()

    def swallow() -> None:
        Note.objects.create(text="lost")
        with suppress(DatabaseError):
            connection.cursor().execute("SELECT nothing FROM nowhere")

    with pytest.raises(transaction.TransactionManagementError, match="rolled"):
        counter.run_exclusive(swallow)
    assert not Note.objects.exists()


@needs_postgresql
def test_an_object_that_appears_between_lock_and_look_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that another session commits after the lock found none, and before it is read, is locked all the same."""
    new, real, meanwhile = Counter.objects.get_by_name("new"), simple_query.exchange, [Counter.objects]

    def exchange(conn: Any, statements: Iterable[Statement]) -> list[Any]:
        *lock, look = statements
        if not meanwhile:
            return real(conn, [*lock, look])
        elsewhere = meanwhile.pop()
        results = real(conn, lock)
        InThread(lambda: elsewhere.get_by_name("new").save()).result()
        return [*results, *real(conn, [look])]

    def is_locked() -> bool:
        try:
            with transaction.atomic():
                Object.objects.select_for_update(nowait=True, no_key=True).get(name="new")
        except OperationalError:
            return True
        return False

    monkeypatch.setattr(simple_query, "exchange", exchange)
    assert new.run_exclusive(lambda: InThread(is_locked).result())


@pytest.mark.parametrize("ends", ["well", "with an error", "before it begins"])
def test_the_connection_is_known_for_as_long_as_a_turn_is_open(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it ends, afterwards it is Django's to say which connection this thread has."""
    counter = Counter.objects.get_by_name("a")

    def fail(*args: object) -> None:
        if ends != "well":
            raise KeyError

    if ends == "before it begins":
        monkeypatch.setattr(LockedTransaction, "_check_fence", fail)
    with suppress(KeyError):
        counter.run_exclusive(fail)
    usual = connections[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = other = usual.copy()
    try:
        assert clock.connection() is other
    finally:
        connections[DEFAULT_DB_ALIAS] = usual
