"""What a connection sends often is prepared by PostgreSQL, and nobody notices but by the speed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, NotSupportedError, connection, transaction
from django.test.utils import CaptureQueriesContext

from durable_objects import ObjectBusy
from durable_objects.database import round_trip
from durable_objects.database.backends import prepared
from durable_objects.delivery import publisher
from durable_objects.execution.groups import fire_group
from tests.models import Counter, Grouped, Note, Profile, Profiled, Script
from tests.support.services import own_session

pytestmark = [
    own_session,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…"),
]

OFTEN = 7


@pytest.fixture(autouse=True)
def _prepared_after_five() -> Iterator[None]:
    """A connection of the test's own, with the switch on."""
    options = connection.settings_dict["OPTIONS"]
    before = options.get("prepare_threshold")
    connection.close()
    options["prepare_threshold"] = 5
    yield
    connection.close()
    options["prepare_threshold"] = before


def kept() -> dict[str, bool]:
    """What this connection has prepared, and whether it was used."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT statement, generic_plans + custom_plans > 0 FROM pg_prepared_statements "
            "WHERE name LIKE 'durable_objects_%'"
        )
        return dict(cursor.fetchall())


def note(text: str) -> round_trip.Statement:
    """Stores one."""
    return "INSERT INTO tests_note (text) VALUES (%s)", [text]


def test_what_is_said_often_is_kept_and_used() -> None:
    """After ``prepare_threshold`` times a statement is prepared, and executed by its name from then on."""
    for number in range(5):
        round_trip.send(connection, [note(str(number))])
    assert kept() == {}
    for number in range(5, OFTEN):
        round_trip.send(connection, [note(str(number))])
    assert list(kept().values()) == [True]
    assert Note.objects.count() == OFTEN


def test_without_the_switch_nothing_is_kept() -> None:
    """Where ``prepare_threshold`` is None, as Django has it, all is sent in full."""
    connection.close()
    connection.settings_dict["OPTIONS"]["prepare_threshold"] = None
    counter = Counter.objects.get_by_name("a")
    assert [counter.add() for _ in range(OFTEN)] == list(range(1, OFTEN + 1))
    assert kept() == {}


def test_where_the_driver_prepares_itself_nothing_is_kept() -> None:
    """With ``server_side_binding`` the driver drops all that is prepared after a rollback, its own or not: the engine
    keeps nothing then, and calls go on after a block that was undone.
    """
    connection.close()
    connection.settings_dict["OPTIONS"]["server_side_binding"] = True
    counter = Counter.objects.get_by_name("a")

    def warm() -> None:
        for _ in range(OFTEN):
            Note.objects.filter(text="none").count()  # prepared by the driver
        counter.add()

    def undo() -> None:
        with suppress(KeyError), transaction.atomic():
            raise KeyError
        counter.add()

    try:
        for _ in range(OFTEN):
            counter.run_exclusive(warm)
        assert kept() == {}
        counter.run_exclusive(undo)
        assert counter.storage.get("count") == OFTEN + 1
    finally:
        del connection.settings_dict["OPTIONS"]["server_side_binding"]


def test_turns_are_the_same_kept_or_not() -> None:
    """A turn's messages have all their parts, whichever of them are prepared just then."""
    counter, profiled = Counter.objects.get_by_name("a"), Profiled.objects.get_by_name("a")
    profiled.storage.put("seen", 1)
    Profile.objects.create(object_id=profiled.pk, text="it's")
    for number in range(1, 4 * OFTEN):
        with CaptureQueriesContext(connection) as messages:
            assert counter.add() == number
            row = profiled.look()
        assert row is not None
        assert row.text == "it's"
        verbs = [message["sql"].partition(" ")[0] for message in messages]
        assert [word for word in verbs if word != "COMMIT"].count("BEGIN") == 4, (
            "Django's, and the turns' own: no retry"
        )
    assert len(kept()) >= 4


def test_groups_of_any_size_are_two_statements(script: Script, published: list[publisher.WakeUp]) -> None:
    """A group of alarms locks its objects by one statement and reads them by one, prepared, however many they are."""
    for size in range(1, OFTEN + 1):
        published.clear()
        for number in range(size):
            Grouped.objects.get_by_name(f"{size}-{number}").storage.set_alarm(timedelta(0))
        assert fire_group([(each.object_id, each.wake_up_number) for each in published], timedelta(minutes=1)) == size
    assert [used for text, used in kept().items() if "unnest" in text] == [True, True]


def test_no_two_connections_name_alike() -> None:
    """A name is one connection's own: behind a pooler that was not declared, nothing else is run by it."""
    one, other = prepared.Prepared(0), prepared.Prepared(0)
    assert one.parts("SELECT %s", [b"1"])[-1] != other.parts("SELECT %s", [b"1"])[-1]


@pytest.mark.parametrize(
    "text", ["plain", "it's", "back\\slash", "%s %% ;", "$1", "ünïcödé 🎈", "'; DROP TABLE x", "E'\\n'"]
)
def test_values_arrive_as_they_are(text: str) -> None:
    """Whatever a text holds, it is a value and nothing else."""
    for _ in range(OFTEN):
        assert round_trip.send(connection, [("SELECT %s || %s, %s", [text, "", None])]) == [(text, None)]
    assert list(kept().values()) == [True]


def test_an_error_leaves_nothing_behind_that_is_in_the_way() -> None:
    """A message that fails in the middle is an error once; what it was to prepare is prepared by a later one."""
    for number in range(5):
        round_trip.send(connection, [note(str(number))])
    with pytest.raises(DatabaseError), transaction.atomic():
        round_trip.send(connection, [("SELECT 1 / 0", ()), note("never")])
    with pytest.raises(DatabaseError), transaction.atomic():
        round_trip.send(connection, [note("0")])  # prepared, and then refused: it is there already
    for number in range(5, OFTEN):
        round_trip.send(connection, [note(str(number))])
    assert Note.objects.count() == OFTEN
    before = kept()
    assert list(before.values()) == [True, True], "by the message that was refused, and by the next under another name"
    round_trip.send(connection, [note("once more")])
    assert kept() == before


def test_what_was_never_sent_is_not_taken_for_prepared() -> None:
    """A message that is refused before it is sent leaves nothing that later ones count on."""
    for number in range(5):
        round_trip.send(connection, [note(str(number))])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL client_encoding = 'LATIN1'")
        with pytest.raises(NotSupportedError):
            round_trip.send(connection, [note("misread")])
        cursor.execute("SET LOCAL client_encoding = 'UTF8'")
        round_trip.send(connection, [("SELECT 1", ())])
        round_trip.send(connection, [note("whole")])
    assert Note.objects.count() == 6


def test_a_statement_that_the_server_has_lost_is_said_in_full_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    """An error once, with a word on poolers in the log; afterwards all is well."""
    for number in range(OFTEN):
        round_trip.send(connection, [note(str(number))])
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    with caplog.at_level(logging.WARNING), pytest.raises(ObjectBusy), transaction.atomic():
        round_trip.send(connection, [note("lost")])
    assert "BEHIND_PGBOUNCER" in caplog.text
    for number in range(OFTEN):
        round_trip.send(connection, [note(f"again {number}")])
    assert Note.objects.count() == 2 * OFTEN


def test_a_table_that_was_changed_is_an_error_once() -> None:
    """A column of another type makes a prepared statement useless: refused once, then sent in full."""
    statement = ("SELECT text FROM tests_note WHERE text = %s", ["a"])
    for _ in range(OFTEN):
        round_trip.send(connection, [statement])
    try:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tests_note ALTER COLUMN text TYPE text")
        with pytest.raises(ObjectBusy), transaction.atomic():
            round_trip.send(connection, [statement])
        assert round_trip.send(connection, [statement]) == []
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tests_note ALTER COLUMN text TYPE varchar(50)")


def test_all_are_planned_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was prepared is deallocated, and prepared again once it has been sent often."""
    for number in range(OFTEN):
        round_trip.send(connection, [note(str(number))])
    monkeypatch.setattr(connection.connection.durable_objects_prepared, "_until", 0.0)
    round_trip.send(connection, [note("after a minute")])
    assert kept() == {}
    for number in range(OFTEN):
        round_trip.send(connection, [note(f"again {number}")])
    assert list(kept().values()) == [True]
    assert Note.objects.count() == 2 * OFTEN + 1


def test_at_most_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither more statements than allowed are kept, nor those with very many values."""
    monkeypatch.setattr(prepared, "MOST_STATEMENTS", 3)
    for number in range(6):
        for _ in range(OFTEN):
            assert round_trip.send(connection, [(f"SELECT {number} + %s", [1])]) == [(str(number + 1),)]
    assert len(kept()) == 3
    connection.close()
    values: list[Any] = [1] * (prepared.MOST_VALUES + 1)
    for _ in range(OFTEN):
        round_trip.send(connection, [(f"SELECT {' + '.join(['%s'] * len(values))}", values)])
    assert kept() == {}
