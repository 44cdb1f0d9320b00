"""A class declares schedules: each of its objects has them, from its first turn or the next ``migrate`` on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db.migrations.recorder import MigrationRecorder

from durable_objects import cron, declared_schedules, doctor, every, exclusive, renamed_models
from durable_objects.alarms import schedule_sql
from durable_objects.alarms.declarations import declarations_of
from durable_objects.conf import engine
from durable_objects.errors import InvalidName, InvalidSchedule
from durable_objects.tables import Alarm, Object, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Scripted
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let ``Counter`` declare these methods instead of what it had."""

    def change(**methods: Any) -> None:
        declarations_of.cache_clear()
        for name, method in methods.items():
            method.__name__ = name
            monkeypatch.setattr(Counter, name, method, raising=False)

    yield change
    monkeypatch.undo()
    declarations_of.cache_clear()


def tick(self: Counter) -> None:
    """Count."""
    self.storage.put("ticks", self.storage.get("ticks", 0) + 1)


def fresh() -> Callable[[Counter], None]:
    """A method of its own that counts."""

    def counts(self: Counter) -> None:
        tick(self)

    return counts


def migrate() -> None:
    """Do what follows ``migrate``."""
    declared_schedules.reconcile(engine.DATABASE)


def names(name: str) -> list[str]:
    """The schedules of an object."""
    return [each.name for each in Counter.objects.get_by_name(name).schedules.list()]


def test_an_object_has_them_from_its_first_turn(declare: Callable[..., None], clock: FakeClock) -> None:
    """The first turn of an object sets what its class declares; a plain read makes nothing."""
    declare(tick=every(hours=1)(fresh()), nightly=cron("0 3 * * *", zone="Europe/Berlin", name="night")(fresh()))
    counter = Counter.objects.get_by_name("a")
    assert counter.schedules.list() == []
    assert not Object.objects.exists()
    counter.add()
    first, second = counter.schedules.list()
    assert (first.name, first.method, first.declared) == ("night", "nightly", True)
    assert (second.name, second.next_at) == ("tick", clock.now())
    assert first.next_at == datetime(2026, 5, 2, 1, tzinfo=UTC)
    clock.advance(DAY)
    assert len(run_due_alarms()) == 2
    assert counter.storage.get("ticks") == 2


def test_objects_that_set_alarms_makes_have_them(
    declare: Callable[..., None], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their first turn is that of ``set_alarms``, which sets what the class declares as well."""
    monkeypatch.setattr(Counter, "alarm", lambda self, info: None)
    declare(tick=every(hours=1)(fresh()))
    Counter.objects.set_alarms({"a": DAY, "b": DAY})
    assert (names("a"), names("b")) == (["tick"], ["tick"])


def test_a_first_turn_that_is_undone_sets_nothing(declare: Callable[..., None], clock: FakeClock) -> None:
    """Schedules are set with the turn, or not."""

    def fail() -> None:
        raise ZeroDivisionError

    declare(tick=every(hours=1)(fresh()))
    with pytest.raises(ZeroDivisionError):
        Counter.objects.get_by_name("a").run_exclusive(fail)
    assert not Schedule.objects.exists()


def test_migrate_reconciles(declare: Callable[..., None], clock: FakeClock) -> None:
    """Objects that are there get what is declared, changed, removed; twice changes nothing. What users set stands."""
    for name in ("a", "b", "c"):
        Counter.objects.get_by_name(name).add()
    Scripted.objects.get_by_name("other").storage.put("x", 1)
    declare(tick=every(hours=1)(fresh()), tock=every(hours=2)(fresh()), tack=every(hours=2)(fresh()))
    Counter.objects.get_by_name("b").schedules.set("tick", Counter.add, after=HOUR)
    Counter.objects.get_by_name("b").schedules.set("mine", Counter.add, after=HOUR)
    migrate()
    assert names("a") == names("c") == ["tack", "tick", "tock"]
    assert names("b") == ["mine", "tack", "tick", "tock"]
    before = list(Schedule.objects.order_by("pk").values())
    clock.advance(HOUR / 2)
    migrate()
    assert list(Schedule.objects.order_by("pk").values()) == before
    assert Counter.objects.get_by_name("a").schedules.cancel("tack")
    declare(tick=every(hours=3)(fresh()))
    Counter.objects.get_by_name("c").add()
    kept = Counter.objects.get_by_name("c").schedules.get("tick")
    assert kept is not None
    assert kept.rule.describe() == "every hour"  # a change takes effect by migrate
    declare(tick=every(hours=3)(fresh()), tock=fresh(), tack=every(hours=5)(fresh()))
    migrate()
    assert names("a") == names("c") == ["tack", "tick"]
    assert names("b") == ["mine", "tack", "tick"]
    assert {row.name: row.state for row in Schedule.objects.filter(object__name="a")} == {
        "tack": "cancelled",
        "tick": "armed",
    }
    assert Schedule.objects.get(object__name="a", name="tick").due_at == datetime(2026, 5, 1, 15, tzinfo=UTC)
    assert Schedule.objects.get(object__name="b", name="tick").method == "add"
    assert Alarm.objects.get(object__name="a").wake_at == datetime(2026, 5, 1, 15, tzinfo=UTC)
    assert not Schedule.objects.filter(object__name="other").exists()


def test_of_names_the_only_object(declare: Callable[..., None], clock: FakeClock) -> None:
    """With ``of`` only the object of that name has it, made by ``migrate``; when it moves, the old one loses it."""
    declare(tick=every(hours=1, of="main")(fresh()))
    Counter.objects.get_by_name("a").add()
    assert names("a") == []
    migrate()
    assert names("main") == ["tick"]
    assert names("a") == []
    declare(tick=every(hours=1, of="a")(fresh()))
    migrate()
    assert (names("main"), names("a")) == ([], ["tick"])
    declare(tick=fresh())
    migrate()
    assert (names("main"), names("a")) == ([], [])


def test_a_flush_makes_it_again(declare: Callable[..., None], clock: FakeClock) -> None:
    """``flush``, as after each ``TransactionTestCase``, leaves the object that ``of`` names, with its schedule."""
    declare(tick=every(hours=1, of="main")(fresh()))
    call_command("flush", interactive=False, verbosity=0)
    assert names("main") == ["tick"]


def test_a_renamed_class_keeps_its_only_object(
    declare: Callable[..., None], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects of a class that was renamed are moved before ``of`` makes its object, which would be in their way."""
    old = ContentType.objects.create(app_label="tests", model="oldcounter")
    pk = Object.objects.create(kind=old, name="main").pk
    monkeypatch.setattr(renamed_models, "_renames", lambda using: [("tests", "oldcounter", "counter")])
    declare(tick=every(hours=1, of="main")(fresh()))
    emit_post_migrate_signal(0, False, engine.DATABASE)
    assert Counter.objects.get_by_name("main").schedules.get("tick") is not None
    assert Object.objects.get(name="main", kind=Counter.kind_pk()).pk == pk


def test_a_database_without_migrations_has_it(
    declare: Callable[..., None], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tests run without migrations (``--nomigrations``), tables are there and no migration is on record."""
    declare(tick=every(hours=1, of="main")(fresh()))
    monkeypatch.setattr(MigrationRecorder, "applied_migrations", lambda recorder: {})
    emit_pre_migrate_signal(0, False, engine.DATABASE)
    emit_post_migrate_signal(0, False, engine.DATABASE)
    assert names("main") == ["tick"]


def test_cancelled_on_an_object_stays_so_until_it_is_set(declare: Callable[..., None], clock: FakeClock) -> None:
    """A declared schedule that was cancelled does not come back by a turn or by ``migrate``, but by ``set``."""
    declare(tick=every(hours=1)(fresh()))
    counter = Counter.objects.get_by_name("a")
    counter.add()
    assert counter.schedules.cancel("tick") is True
    assert counter.schedules.cancel("tick") is False
    migrate()
    counter.add()
    clock.advance(DAY)
    assert run_due_alarms() == []
    counter.schedules.set("tick", "tick", every=HOUR)
    assert len(run_due_alarms()) == 1


def test_what_is_locked_is_waited_for(
    declare: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An object in a turn of somebody else's is tried again; one that stays locked is left, and the log says so."""
    monkeypatch.setattr(declared_schedules, "SECONDS_BETWEEN_TRIES", 0.05)
    for name in ("a", "b"):
        Counter.objects.get_by_name(name).add()
    declare(tick=every(hours=1)(fresh()))
    monkeypatch.setattr(declared_schedules, "_reconcile_some", lambda model, declared, pks: pks)
    migrate()
    assert "2 objects are locked" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: every(hours=0),
        lambda: every(seconds=0.5),
        lambda: every(hours=1, misfire="some"),
        lambda: cron("0 0 30 2 *"),
        lambda: cron("0 0 * * *", zone="Mars/Base"),
    ],
)
def test_what_never_comes_is_refused_at_import(wrong: Callable[[], object]) -> None:
    """A declaration is checked where it stands."""
    with pytest.raises(InvalidSchedule):
        wrong()


def test_two_of_one_name_are_refused(declare: Callable[..., None]) -> None:
    """A class cannot declare two schedules of one name for one object; for two objects it can."""
    declare(tick=every(hours=1, name="x")(fresh()), tock=every(hours=2, name="x")(fresh()))
    with pytest.raises(InvalidSchedule, match="x"):
        declarations_of(Counter)
    declare(tick=every(hours=1, name="x", of="a")(fresh()), tock=every(hours=2, name="x", of="b")(fresh()))
    assert len(declarations_of(Counter)) == 2


def test_an_async_method_is_refused() -> None:
    """Its body would never run."""

    async def tick(self: Counter) -> None: ...

    with pytest.raises(TypeError, match="async"):
        every(hours=1)(tick)


def test_it_goes_with_exclusive_in_either_order() -> None:
    """A method that is a turn may be declared, whichever decorator stands above."""
    assert [each.method for each in declarations_of(_Both)] == ["first", "second"]


class _Both:
    @exclusive
    @every(hours=1)
    def first(self) -> None: ...

    @every(hours=1)
    @exclusive
    def second(self) -> None: ...


def test_many_objects_at_once(declare: Callable[..., None], clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are reconciled in chunks, each by one transaction, and none is left out."""
    monkeypatch.setattr(declared_schedules, "MAX_OBJECTS", 3)
    for number in range(8):
        Counter.objects.get_by_name(f"{number}").add()
    declare(tick=every(hours=1)(fresh()))
    migrate()
    assert Schedule.objects.count() == 8
    assert Alarm.objects.filter(wake_at=clock.now()).count() == 8


def test_a_locked_object_is_reconciled_afterwards(
    declare: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps an object for a moment keeps it from nothing."""
    import threading

    from tests.support.threads import await_event

    monkeypatch.setattr(declared_schedules, "SECONDS_BETWEEN_TRIES", 0.3)
    counter = Counter.objects.get_by_name("a")
    counter.add()
    inside, go_on = threading.Event(), threading.Event()

    def stay() -> None:
        counter.add()
        inside.set()
        await_event(go_on)

    declare(tick=every(hours=1)(fresh()))
    if engine_is_sqlite():
        pytest.skip("SQLite has one lock for all")
    staying = InThread(lambda: counter.run_exclusive(stay))
    await_event(inside)
    migrating = InThread(migrate)
    go_on.set()
    staying.result()
    migrating.result()
    assert names("a") == ["tick"]


def engine_is_sqlite() -> bool:
    """Whether the tests run on SQLite."""
    from durable_objects.database import clock as engine_clock

    return engine_clock.connection().vendor == "sqlite"


def test_an_end_that_has_come_stops_no_import(declare: Callable[..., None], clock: FakeClock) -> None:
    """A declaration whose end is past is taken: no object gets it, and the next ``migrate`` takes it from those that
    have it.
    """
    declare(tick=every(hours=1)(fresh()))
    Counter.objects.get_by_name("a").add()
    assert names("a") == ["tick"]
    declare(tick=every(hours=1, end=datetime(2026, 1, 1, tzinfo=UTC))(fresh()))
    migrate()
    Counter.objects.get_by_name("b").add()
    assert names("a") == names("b") == []


@pytest.mark.parametrize("options", [{"name": "n" * 513}, {"name": ""}, {"of": "\0"}, {"of": "n" * 513}])
def test_a_name_that_cannot_be_is_refused_at_import(options: dict[str, Any]) -> None:
    """As ``schedules.set`` does, and not by the first call, or in the midst of ``migrate``."""
    with pytest.raises(InvalidName):
        every(hours=1, **options)(fresh())


def test_a_method_that_asks_for_arguments_is_refused_at_import() -> None:
    """It is called without any, and would fail at each of its times."""

    def greedy(self: Counter, number: int) -> None:
        """Take a number."""

    with pytest.raises(InvalidSchedule, match="number"):
        cron("0 3 * * *")(greedy)
    every(hours=1)(exclusive(tick))


def test_the_doctor_finds_objects_without_them(declare: Callable[..., None], clock: FakeClock) -> None:
    """Objects that lack what their class declares are a notice that names the class, until ``migrate`` ran."""
    Counter.objects.get_by_name("a").add()
    declare(tick=every(hours=1)(fresh()), gone=every(hours=1, end=clock.now() - HOUR)(fresh()))
    found = [each.text for each in doctor.examine(clock.now()) if each.code == "declared_schedules"]
    assert found == ["Objects without the schedules that their class declares: 1 of tests.Counter."]
    migrate()
    assert declared_schedules.behind() == {}


def test_only_the_object_that_of_names_reads_schedules(
    declare: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns of an object for which its class declares nothing are as quick as where a class declares nothing."""
    declare(tick=every(hours=1, of="main")(fresh()))

    def read(*args: Any) -> None:
        raise AssertionError("its schedules were read")

    monkeypatch.setattr(schedule_sql, "load", read)
    Counter.objects.get_by_name("a").add()
    with pytest.raises(AssertionError, match="were read"):
        Counter.objects.get_by_name("main").add()
