"""A lock on the engine's tables, a full disk, a time-out of an administrator's: no handler's fault, and no caller's.

What the engine's own statements meet uses up no retry, leaves nothing behind and comes again; a caller gets
``ObjectBusy``. What users' own statements meet is theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from durable_objects import AlarmInfo, ObjectBusy
from durable_objects.bulk_delete import sweep
from durable_objects.delivery import publisher
from durable_objects.execution import waiting_line
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun, Entry, Object
from tests.models import Account, Counter, Grouped, Note, Script, Scripted
from tests.support.threads import InThread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…"),
]

NOW, HOUR = timedelta(0), timedelta(hours=1)
TABLES = [Object, Alarm, Entry, AlarmRun]
#: A full disk, a time-out, a fault of the server's, a standby: one of each class (the table has a test of its own).
STATES = ["53100", "57014", "XX000", "25006"]


@pytest.fixture(autouse=True)
def _brief(settings: Any) -> None:
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(milliseconds=150)}


@contextmanager
def locked(table: type[Any]) -> Iterator[None]:
    """Another session has the table for itself, as VACUUM FULL or a rewriting ALTER TABLE would."""
    session = connection.get_new_connection(connection.get_connection_params())
    try:
        session.execute(f"LOCK TABLE {table._meta.db_table} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        session.close()


@contextmanager
def refusing(table: type[Any], sqlstate: str) -> Iterator[None]:
    """Whatever is written into the table fails with this SQLSTATE."""
    name = f"refuse_{table._meta.db_table}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '{sqlstate}'; END $$"
        )
        cursor.execute(
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE ON {table._meta.db_table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP FUNCTION {name}() CASCADE")


@contextmanager
def database_setting(setting: str) -> Iterator[None]:
    """An administrator's setting for all new sessions on this database."""
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" SET {setting}')
    connection.close()
    try:
        yield
    finally:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(f'ALTER DATABASE "{name}" RESET {setting.partition(" ")[0]}')
        connection.close()


def armed(obj: Scripted) -> int:
    """Its alarm is due, and it has an entry; its key."""
    obj.storage.put("before", 1)
    obj.storage.set_alarm(NOW)
    return Object.objects.get(name=obj.name).pk


def count(obj: Any, info: AlarmInfo) -> None:
    """Reads and writes."""
    obj.storage.put("runs", obj.storage.get("runs", 0) + 1)


def nothing_counts(pk: int) -> None:
    """No run is on record, the alarm stands as it was."""
    alarm = Alarm.objects.get(pk=pk)
    assert (alarm.state, alarm.retry_count, alarm.crashed_starts, alarm.last_error) == ("armed", 0, 0, "")
    assert alarm.leased_until is None
    assert not AlarmRun.objects.exists()


@pytest.mark.parametrize("rescue", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_lock_on_a_table_uses_up_no_retry(obj: Scripted, script: Script, table: type[Any], rescue: bool) -> None:
    """While one of the engine's tables is locked, a wake-up comes again uncounted; afterwards the alarm runs."""
    script.alarm = count
    pk = armed(obj)
    with locked(table):
        fired = fire(pk, rescue=rescue)
    assert fired.verdict is Verdict.AGAIN
    assert fired.delay is not None
    nothing_counts(pk)
    assert fire(pk).verdict is Verdict.SUCCEEDED
    assert obj.storage.list() == {"before": 1, "runs": 1}


@pytest.mark.parametrize("sqlstate", STATES)
@pytest.mark.parametrize("table", [Entry, Alarm, AlarmRun])
def test_what_the_engine_cannot_write_uses_up_no_retry(
    obj: Scripted, script: Script, table: type[Any], sqlstate: str
) -> None:
    """A full disk and its kin, met when a run is written out or when its failure is, are no failure of the handler."""
    script.alarm = count
    pk = armed(obj)
    with refusing(table, sqlstate):
        assert fire(pk).verdict is Verdict.AGAIN
        script.alarm = lambda obj, info: 1 / 0
        if table is not Entry:
            assert fire(pk).verdict is Verdict.AGAIN
    nothing_counts(pk)
    script.alarm = count
    assert fire(pk).verdict is Verdict.SUCCEEDED


def swallow(obj: Any, info: AlarmInfo | None = None) -> None:
    """Hides what it meets."""
    with suppress(Exception):
        obj.storage.get("runs")


def say_otherwise(obj: Any, info: AlarmInfo | None = None) -> None:
    """Raises another error instead."""
    try:
        obj.storage.get("runs")
    except Exception:  # noqa: BLE001  that is the point
        raise ValueError("mine") from None


def go_on(obj: Any, info: AlarmInfo | None = None) -> None:
    """Hides it and asks again."""
    swallow(obj)
    obj.storage.list()


def use_a_model(obj: Any, info: AlarmInfo | None = None) -> None:
    """Hides it and goes on with models."""
    swallow(obj)
    Note.objects.create(text="after it")


def wrap(obj: Any, info: AlarmInfo | None = None) -> None:
    """Says what it comes from."""
    try:
        obj.storage.get("runs")
    except ObjectBusy as error:
        raise ValueError("mine") from error


def read_another(obj: Any, info: AlarmInfo | None = None) -> None:
    """Calls another object."""
    Counter.objects.get_by_name("other").add()


def clean(obj: Any, info: AlarmInfo | None = None) -> None:
    """Sweeps its entries, unlocked."""
    with obj.unlocked():
        sweep(obj, "1", 5, limit=4)


@pytest.mark.parametrize("does", [swallow, say_otherwise, go_on, use_a_model, wrap, read_another, clean])
def test_handler_that_hides_it_neither_failed_nor_succeeded(
    obj: Scripted, script: Script, does: Callable[[Any, AlarmInfo], None]
) -> None:
    """Whatever a handler makes of the error, its transaction is gone: the run is put off."""
    Counter.objects.get_by_name("other").add()
    script.alarm = does
    pk = armed(obj)
    with locked(Entry):
        assert fire(pk).verdict is Verdict.AGAIN
    nothing_counts(pk)
    assert not Note.objects.exists()


def test_handler_that_undoes_it_may_go_on(obj: Scripted, script: Script) -> None:
    """One that asked inside an ``atomic()`` block of its own has lost that block only, and decides for itself."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with suppress(ObjectBusy), transaction.atomic():
            obj.storage.get("runs")
        obj.storage.set_alarm(HOUR)

    script.alarm = alarm
    pk = armed(obj)
    with locked(Entry):
        assert fire(pk).verdict is Verdict.SUCCEEDED
    assert obj.storage.get_alarm() is not None


def test_initialize_and_alarm_died_are_put_off_too(obj: Scripted, script: Script) -> None:
    """What ``initialize()`` meets counts as little; and where ``alarm_died()`` meets it the alarm does not die yet."""

    def die(obj: Scripted, info: AlarmInfo, error: BaseException) -> None:
        obj.storage.get("left")
        obj.storage.set_alarm(HOUR)

    pk = armed(obj)
    script.initialize = lambda obj: obj.storage.get("x")
    with locked(Entry):
        assert fire(pk).verdict is Verdict.AGAIN
    nothing_counts(pk)
    script.initialize = lambda obj: None
    script.alarm, script.alarm_died = lambda obj, info: 1 / 0, die
    Alarm.objects.update(retry_count=Scripted.alarm_max_retries)
    with locked(Entry):
        assert fire(pk).verdict is Verdict.AGAIN
    assert Alarm.objects.get().state == "armed"
    assert fire(pk).verdict is Verdict.FAILED or Alarm.objects.get().state == "armed"
    assert obj.storage.get_alarm() is not None, "alarm_died() has set the next one"


def test_group_counts_nothing(script: Script, published: list[publisher.WakeUp]) -> None:
    """A group that meets it is woken one by one, and those come again."""
    script.alarm = count
    Grouped.objects.set_alarms(dict.fromkeys("abc", NOW))
    pairs = [(each.object_id, each.wake_up_number) for each in published]
    published.clear()
    with locked(Entry):
        assert fire_group(pairs, timedelta(minutes=1)) == 0
    assert len(published) == 3
    assert not AlarmRun.objects.exists()
    assert [fire(each.object_id, each.wake_up_number).verdict for each in published] == [Verdict.SUCCEEDED] * 3


def test_run_that_comes_back_to_its_object_waits(obj: Scripted, script: Script) -> None:
    """The end of ``unlocked()`` waits for the table as for the object: the run goes on when it is free again."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            lock = locked(Alarm)
            lock.__enter__()
            InThread(lambda: unlock_after(lock, 0.5))
        obj.storage.put("back", True)

    script.alarm = alarm
    pk = armed(obj)
    assert fire(pk).verdict is Verdict.SUCCEEDED
    assert obj.storage.get("back") is True


def unlock_after(lock: Any, seconds: float) -> None:
    """Give the table back, in a thread."""
    time.sleep(seconds)
    lock.__exit__(None, None, None)


CALLS: dict[str, Callable[[Counter, Scripted], object]] = {
    "an exclusive method": lambda counter, obj: counter.add(),
    "a combined call": lambda counter, obj: counter.run_combined(lambda: counter.storage.get("count")),
    "get": lambda counter, obj: counter.storage.get("count"),
    "list": lambda counter, obj: counter.storage.list(),
    "put": lambda counter, obj: counter.storage.put("count", 5),
    "delete of a key": lambda counter, obj: counter.storage.delete("count"),
    "delete_all": lambda counter, obj: counter.storage.delete_all(),
    "delete": lambda counter, obj: counter.delete(),
    "sweep": lambda counter, obj: sweep(counter, "1", 5, limit=4),
    "a look by sweep": lambda counter, obj: sweep(counter, "1", 5, limit=4, delete=False),
}
ALARM_CALLS: dict[str, Callable[[Counter, Scripted], object]] = {
    "set_alarm": lambda counter, obj: obj.storage.set_alarm(HOUR),
    "get_alarm": lambda counter, obj: obj.storage.get_alarm(),
    "delete_alarm": lambda counter, obj: obj.storage.delete_alarm(),
    "set_alarms": lambda counter, obj: Scripted.objects.set_alarms({"a": HOUR, "new": HOUR}),
    "fire now": lambda counter, obj: actions.fire_now(Object.objects.get(name="a")),
    "cancel": lambda counter, obj: actions.cancel(Object.objects.get(name="a")),
}


@pytest.mark.parametrize("call", [*CALLS, *ALARM_CALLS])
def test_caller_is_told_that_the_object_is_busy(obj: Scripted, call: str) -> None:
    """Every way into an object whose table is locked ends within LOCK_TIMEOUT, with ``ObjectBusy``, its cause in it."""
    counter = Counter.objects.get_by_name("c")
    counter.add()
    armed(obj)
    entries, alarm = obj.storage.list(), obj.storage.get_alarm()
    table: type[Any] = Entry if call in CALLS else Alarm
    with locked(table), pytest.raises(ObjectBusy) as raised:
        InThread(lambda: (CALLS | ALARM_CALLS)[call](counter, obj)).result()
    assert isinstance(raised.value.__cause__, DatabaseError)
    assert (obj.storage.list(), obj.storage.get_alarm(), counter.storage.get("count")) == (entries, alarm, 1)


@pytest.mark.parametrize("sqlstate", STATES)
def test_caller_is_told_what_it_was(sqlstate: str) -> None:
    """``ObjectBusy`` carries the database's own words, nothing of the call was done, and the next one goes well."""
    counter = Counter.objects.get_by_name("c")
    counter.add()
    with refusing(Entry, sqlstate), pytest.raises(ObjectBusy, match="no space"):
        counter.add()
    assert counter.add() == 2


def test_fields_of_an_objects_own_table(obj: Scripted) -> None:
    """The row of a subclass with fields is the engine's to read and to store."""
    account = Account.objects.get_by_name("a")
    account.deposit(5)
    with locked(Account), pytest.raises(ObjectBusy):
        account.deposit(5)
    assert account.deposit(1) == 6


@pytest.mark.parametrize("sqlstate", STATES)
def test_users_own_statements_are_users(obj: Scripted, script: Script, sqlstate: str) -> None:
    """The same errors of a statement of the handler's own are its failure, with its traceback."""
    script.alarm = lambda obj, info: Note.objects.create(text="mine")
    pk = armed(obj)
    with refusing(Note, sqlstate):
        assert fire(pk).verdict is Verdict.FAILED
        with pytest.raises(DatabaseError):
            obj.run_exclusive(lambda: Note.objects.create(text="mine"))
    alarm = Alarm.objects.get()
    assert alarm.retry_count == 1
    assert "no space" in alarm.last_error


def test_administrators_time_out_while_locking(obj: Scripted) -> None:
    """A ``statement_timeout`` shorter than LOCK_TIMEOUT ends the wait for an object: ``ObjectBusy``; no run is lost."""
    pk = armed(obj)
    with database_setting("statement_timeout = '100ms'"), obj.storage.transaction():
        with pytest.raises(ObjectBusy, match="statement timeout"):
            InThread(lambda: Scripted.objects.get_by_name("a").storage.put("k", 1)).result()
        assert InThread(lambda: fire(pk).verdict).result() is Verdict.AGAIN
    nothing_counts(pk)


def test_database_that_is_read_only(obj: Scripted, script: Script) -> None:
    """On a server that has become a standby nothing is counted; callers learn why."""
    pk = armed(obj)
    with database_setting("default_transaction_read_only = on"):
        with pytest.raises(ObjectBusy, match="read-only"):
            obj.storage.put("k", 1)
        assert fire(pk).verdict is Verdict.AGAIN
        assert obj.storage.get("before") == 1
    nothing_counts(pk)
    assert fire(pk).verdict is Verdict.SUCCEEDED


def test_it_is_told_once(obj: Scripted, script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what keeps alarms waiting, in the database's words, and not for each of them."""
    waiting_line._logged.clear()
    script.alarm = count
    pk = armed(obj)
    with refusing(Entry, "53100"):
        for _ in range(3):
            fire(pk)
    assert [record.levelname for record in caplog.records if "no space" in record.getMessage()] == ["WARNING"]


def test_who_keeps_another_object_is_told(obj: Scripted, script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that cannot have another object is put off as often as it takes, and the log names that object."""
    waiting_line._logged.clear()
    script.alarm = lambda obj, info: Counter.objects.get_by_name("kept").add()
    pk = armed(obj)
    with Counter.objects.get_by_name("kept").storage.transaction():
        fired = InThread(lambda: [fire(pk, waits=waits).verdict for waits in range(2)]).result()
    assert fired == [Verdict.AGAIN] * 2
    logged = [record.getMessage() for record in caplog.records if "put off" in record.getMessage()]
    assert len(logged) == 1
    assert "'kept'" in logged[0]
