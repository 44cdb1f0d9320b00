"""What a class's turns read anyway comes with the lock: as it was then, and without a query of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, models, transaction
from django.test.utils import CaptureQueriesContext

from durable_objects.models import Object
from tests.models import Counter, Profile, Profiled
from tests.support.combined_calls import call_while_locked
from tests.support.database_sessions import waiting
from tests.support.threads import InThread, await_that

pytestmark = pytest.mark.django_db(transaction=True)

needs_postgresql = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL")


@pytest.fixture
def obj() -> Profiled:
    """One with a profile and a key."""
    made = Profiled.objects.get_by_name("a")
    made.storage.put("seen", 1)
    Profile.objects.create(object_id=Object.objects.get().pk, text="first")
    return made


def statements(call: Any) -> list[str]:
    """The statements sent to the database while the call lasted."""
    with CaptureQueriesContext(connection) as queries:
        call()
    return [query["sql"] for query in queries]


def test_key_and_row_come_with_the_lock(obj: Profiled) -> None:
    """Reading them in the turn costs no statement more than the turn itself; what is not there neither."""
    never = Profiled.objects.get_by_name("never used")
    never.look()

    def read() -> None:
        for one in (obj, never):
            one.run_combined(partial(look_twice, one))

    def look_twice(one: Profiled) -> None:
        for _ in range(2):
            one.storage.get("seen")
            one.row_of(Profile)

    def do_nothing() -> None:
        for one in (obj, never):
            one.run_combined(lambda: None)

    assert len(statements(read)) == len(statements(do_nothing))


def test_what_was_written_since_wins(obj: Profiled) -> None:
    """A turn sees what it has put over what came with the lock, and that again once the put is undone."""

    def change() -> list[int]:
        seen = [obj.storage.get("seen")]
        try:
            with obj.storage.transaction():
                obj.storage.put("seen", 2)
                seen.append(obj.storage.get("seen"))
                raise ValueError("undo")
        except ValueError:
            seen.append(obj.storage.get("seen"))
        obj.storage.delete_all()
        return [*seen, obj.storage.get("seen")]

    assert obj.run_exclusive(change) == [1, 2, 1, None]


def test_after_unlocked_it_is_read_again(obj: Profiled) -> None:
    """What others have written while the object was unlocked is seen."""

    def wait() -> int:
        with obj.unlocked():
            InThread(lambda: Profiled.objects.get_by_name("a").storage.put("seen", 2)).result()
        seen: int = obj.storage.get("seen")
        return seen

    assert obj.run_exclusive(wait) == 2


@needs_postgresql
def test_it_is_what_was_committed_while_the_turn_waited(obj: Profiled) -> None:
    """Who waited for the lock gets key and row as the one before left them."""

    def look() -> tuple[int, str]:
        other = Profiled.objects.get_by_name("a")
        seen, row = other.run_combined(lambda: (other.storage.get("seen"), other.row_of(Profile)))
        assert row is not None
        return seen, row.text

    with transaction.atomic():
        obj.storage.put("seen", 2)
        Profile.objects.update(text="second")
        beside = InThread(look)
        await_that(waiting())
    assert beside.result() == (2, "second")


def test_calls_that_share_a_turn_share_the_row(obj: Profiled) -> None:
    """They get one instance, as it was when the object was locked; a call of its own asks for each."""

    def look(one: Any) -> Profile | None:
        row: Profile | None = one.row_of(Profile)
        return row

    first, *others = [thread.result() for thread in call_while_locked(obj, look, look, look)]
    assert first is not None
    assert first.text == "first"
    assert all(other is first for other in others)
    mine = obj.run_exclusive(lambda: (obj.row_of(Profile), obj.row_of(Profile)))
    assert mine[0] == mine[1] == first
    assert mine[0] is not mine[1]


def test_a_turn_that_changes_the_row_sees_it_changed(obj: Profiled) -> None:
    """In a turn of one's own the row is read by a query each time."""

    def change() -> str:
        obj.row_of(Profile)
        Profile.objects.filter(pk=obj.pk).update(text="second")
        row = obj.row_of(Profile)
        assert row is not None
        return row.text

    assert obj.run_exclusive(change) == "second"


def test_outside_of_a_turn_it_is_a_query(obj: Profiled) -> None:
    """Asked outside, by a handle that knows its key or not; one that was never used has none, and gets no row."""
    assert obj.row_of(Profile) == Profiled.objects.get_by_name("a").row_of(Profile) == Profile.objects.get()
    assert Profiled.objects.get_by_name("never used").row_of(Profile) is None
    assert Counter.objects.get_by_name("a").row_of(Profile) is None
    assert Object.objects.count() == 1


@pytest.mark.parametrize(
    "values",
    [
        {"text": "it's; ünïcödé 🎈", "is_open": True, "extra": {"a": [1, None, "t"]}},
        {"text": "", "is_open": False, "extra": []},
        {"pause": timedelta(days=400, microseconds=1), "price": Decimal("-1234567.125")},
        {"pause": timedelta(seconds=-1), "since": datetime(2026, 3, 29, 1, 30, 0, 5, tzinfo=UTC)},
    ],
)
def test_values_are_those_of_the_orm(obj: Profiled, values: dict[str, Any]) -> None:
    """Whatever the field, the row that came with the lock has the values that a query gives."""
    Profile.objects.filter(pk=obj.pk).update(**values)
    seen, asked = obj.look(), Profile.objects.get()
    assert seen is not None
    fields = [field.attname for field in Profile._meta.concrete_fields]
    assert [getattr(seen, name) for name in fields] == [getattr(asked, name) for name in fields]
    assert {name: getattr(seen, name) for name in values} == values
    assert seen.pk == obj.pk


def test_a_field_that_makes_something_of_nothing(obj: Profiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a field's own ``from_db_value`` says of NULL holds here too."""
    monkeypatch.setattr(models.JSONField, "from_db_value", lambda field, value, *args: value or "nothing")
    monkeypatch.setitem(connections["default"].__dict__, "durable_objects_converted", {})  # as on a new connection
    seen = obj.look()
    assert seen is not None
    assert seen.extra == Profile.objects.get().extra == "nothing"


def test_a_new_object_has_nothing_yet() -> None:
    """The turn that makes the row reads nothing, and what it writes is there for the next."""
    new = Profiled.objects.get_by_name("new")
    assert new.run_combined(lambda: (new.storage.get("seen"), new.row_of(Profile))) == (None, None)
    new.run_combined(lambda: new.storage.put("seen", 5))
    assert new.run_combined(lambda: new.storage.get("seen")) == 5
