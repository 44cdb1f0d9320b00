"""Many alarms set by one call: the same as set one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils.safestring import SafeString

from durable_objects import AlarmHandlerMissing, InvalidAlarmTime, InvalidInput, InvalidName
from durable_objects.alarms import sql
from durable_objects.alarms.slot import Slot
from durable_objects.database.backends import backend_of
from durable_objects.delivery import publisher
from durable_objects.tables import Alarm, Object
from durable_objects.testing import FakeClock
from tests.models import Counter, Once, Script, Scripted

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def test_each_object_gets_its_time(clock: FakeClock, script: Script) -> None:
    """New objects and old ones, times and spans, a past time: all as by ``set_alarm``, ``initialize()`` included."""
    seen: list[str] = []
    old = Scripted.objects.get_by_name("old")
    old.storage.put("k", 1)
    old.storage.set_alarm(HOUR)

    def initialize(obj: Scripted) -> None:
        seen.append(obj.name)
        obj.storage.put("seen", True)

    script.initialize = initialize
    Scripted.objects.set_alarms({"new": HOUR, "old": 2 * HOUR, "past": -HOUR, "at": datetime(2030, 1, 1, tzinfo=UTC)})
    script.initialize = lambda obj: None
    got = {obj.name: obj.storage.get_alarm() for obj in Scripted.objects.all()}
    now = clock.now()
    assert got == {"new": now + HOUR, "old": now + 2 * HOUR, "past": now, "at": datetime(2030, 1, 1, tzinfo=UTC)}
    assert sorted(seen) == ["at", "new", "old", "past"]
    assert old.storage.list() == {"k": 1, "seen": True}
    assert Alarm.objects.get(object__name="old").generation == 2


@pytest.mark.parametrize(
    ("name", "when", "error"),
    [
        ("", HOUR, InvalidName),
        (5, HOUR, InvalidName),
        ("b", 5, InvalidAlarmTime),
        ("b", timedelta.max, InvalidAlarmTime),
    ],
)
def test_bad_input_changes_nothing(clock: FakeClock, name: str, when: timedelta, error: type[Exception]) -> None:
    """One bad name or time refuses the whole call before anything is set."""
    with pytest.raises(error):
        Scripted.objects.set_alarms({"a": HOUR, name: when})
    assert not Object.objects.exists()


@pytest.mark.parametrize("times", [iter(["a"]), ["a"], [("a", HOUR)], None], ids=lambda times: type(times).__name__)
def test_what_is_no_dict_is_refused(times: Any) -> None:
    """Whatever gives no time for each name is refused with words, also an iterator, of which nothing would be set."""
    with pytest.raises(InvalidInput, match="wants a dict of names to times"):
        Scripted.objects.set_alarms(times)


def test_class_without_handler_is_refused() -> None:
    """As by ``set_alarm``."""
    with pytest.raises(AlarmHandlerMissing):
        Counter.objects.set_alarms({"a": HOUR})
    Counter.objects.set_alarms({})


def test_is_part_of_the_callers_transaction(clock: FakeClock, script: Script) -> None:
    """Rolled back with it, however many."""
    with transaction.atomic():
        Scripted.objects.set_alarms({str(number): HOUR for number in range(1_001)})
        assert Alarm.objects.count() == 1_001
        transaction.set_rollback(True)
    assert not Object.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_class_with_nothing_of_its_own_stores_the_same(
    published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New objects and old ones of a class whose turns begin with nothing of its own have the rows, and the wake-ups,
    that ``set_alarm`` would have given them, however they were stored.
    """
    monkeypatch.setattr(sql, "MANY", 2)
    at = datetime(2100, 1, 1, tzinfo=UTC)
    times = {"a": at, "b": at - HOUR, "due": datetime(2020, 1, 1, tzinfo=UTC), "old": at, "unset": at}
    columns = {each.attname for each in Alarm._meta.concrete_fields} - {"object_id"}
    due, found = {"scheduled_at", "due_at", "wake_at", "wake_up_for"}, []
    for way in ("each", "all"):
        Once.objects.all().delete()
        Once.objects.get_by_name("unset").storage.put("k", 1)
        Once.objects.get_by_name("old").storage.set_alarm(at - 2 * HOUR)
        Alarm.objects.filter(object__name="old").update(retry_count=2, last_error="before", crashed_starts=1)
        published.clear()
        if way == "all":
            Once.objects.set_alarms(times)
        else:
            for name, when in times.items():
                Once.objects.get_by_name(name).storage.set_alarm(when)
        rows = {row.pop("object__name"): row for row in Alarm.objects.values("object__name", *columns)}
        assert [wake_up.object_id for wake_up in published] == [Object.objects.get(name="due").pk]
        assert all(rows["due"].pop(column) for column in due), "moments of the call"
        found.append(rows)
    assert found[0] == found[1]
    assert found[0].keys() == times.keys()


def test_names_are_stored_as_they_are() -> None:
    """Names with what means something in SQL, in JSON or to the driver are those of the objects."""
    names = {*"'\"\\%[1", '","', "\\u0041", "\\'", "%s", "a\tb\n\x7f", " a ", "null", "zoë ☃ 😀", "x" * 512}
    Once.objects.set_alarms(dict.fromkeys(names, HOUR))
    assert {obj.name for obj in Once.objects.all()} == names
    assert Alarm.objects.filter(state=Alarm.State.ARMED).count() == len(names)


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL")
def test_what_is_copied_arrives_as_it_is() -> None:
    """Texts with whatever is in them, and NULL, are stored as they are."""
    errors = ["", "a\tb", "a\\tb\\", "\r\n\\.\n", "\\N", "'\"\x08\x7f", "zoë ☃", SafeString("a\tb")]
    slots = []
    for number, text in enumerate(errors):
        slot = Slot(Object.objects.create(kind_id=Counter.kind_pk(), name=str(number)).pk, Counter.kind_pk())
        slot.set(last_error=text, leased_until=None, set_by_trace="")
        slots.append(slot)
    columns = ["object_id", "kind_id", "last_error", "leased_until"]
    rows = [(slot.object_id, slot.kind_id, slot.last_error, None) for slot in slots]
    with transaction.atomic():
        copy = backend_of(connection).copier(Alarm._meta.db_table)
        assert copy is not None
        copy(columns, rows)
    stored = Alarm.objects.order_by("pk").values_list("last_error", "leased_until")
    assert list(stored) == [(text, None) for text in errors]


def test_many_new_rows_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database has a faster way, it is the one that new rows take, from a number of them on."""
    copied: list[int] = []
    backend = type(backend_of(connection))
    monkeypatch.setattr(backend, "copier", lambda self, table: lambda columns, rows: copied.append(len(list(rows))))
    with transaction.atomic():
        Once.objects.set_alarms({str(number): HOUR for number in range(sql.MANY - 1)})
        Once.objects.set_alarms({f"again {number}": HOUR for number in range(sql.MANY)})
        Once.objects.set_alarms({str(number): 2 * HOUR for number in range(sql.MANY - 1)} | {"one": HOUR})
    assert copied == [sql.MANY]


def test_joins_the_turn_of_an_object_among_them(clock: FakeClock, script: Script) -> None:
    """In a turn of one of the objects its alarm is that turn's: the last that is asked for counts, and goes with it."""
    ada = Scripted.objects.get_by_name("ada")

    def call(fail: bool) -> None:
        ada.storage.set_alarm(HOUR)
        Scripted.objects.set_alarms({"ada": 2 * HOUR, "bob": HOUR})
        assert ada.storage.get_alarm() == clock.now() + 2 * HOUR
        ada.storage.put("k", 1)
        if fail:
            raise LookupError

    with pytest.raises(LookupError):
        ada.run_exclusive(lambda: call(fail=True))
    assert not Object.objects.exists()
    ada.run_exclusive(lambda: call(fail=False))
    assert ada.storage.get_alarm() == clock.now() + 2 * HOUR
    assert ada.storage.list() == {"k": 1}
    assert Scripted.objects.get_by_name("bob").storage.get_alarm() == clock.now() + HOUR


@pytest.mark.django_db(transaction=True)
def test_a_call_that_shares_a_turn_undoes_it_by_itself(clock: FakeClock, script: Script) -> None:
    """A combined call that sets alarms of others is run again alone: what it set goes when it raises, and only that."""

    def call(obj: Scripted, *, fail: bool) -> None:
        Scripted.objects.set_alarms({f"other of {fail}": HOUR})
        if fail:
            raise LookupError

    calls = [lambda obj: call(obj, fail=True), lambda obj: call(obj, fail=False), lambda obj: obj.storage.put("k", 1)]
    raised, *answers = Scripted.objects.call_each("a", calls)
    assert isinstance(raised, LookupError)
    assert answers == [None, None]
    assert sorted(Object.objects.values_list("name", flat=True)) == ["a", "other of False"]
