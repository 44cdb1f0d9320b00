"""What users test their objects with: a clock that stands still, alarms run by hand, and deaths at named points."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.test import TestCase

import durable_objects
from durable_objects import AlarmInfo
from durable_objects.conf import engine
from durable_objects.delivery import publisher
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.tasks import dispatch_alarms, fire_alarm
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from durable_objects.testing import crash_at as simulated_crash
from tests.models import Note, Script, Scripted
from tests.support.threads import InThread

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)
START = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


class TestInATestCase(TestCase):
    """Everything works inside Django's ``TestCase``, whose own transaction is none of the caller's."""

    def setUp(self) -> None:
        Scripted.script = Script()
        self.addCleanup(lambda: setattr(Scripted, "script", Script()))

    def test_alarms_and_unlocked(self) -> None:
        """Alarms run by hand, and a handler may unlock."""

        def alarm(obj: Scripted, info: AlarmInfo) -> None:
            with obj.unlocked():
                obj.storage.put("inside", 1)
            obj.storage.put("after", 1)

        Scripted.script.alarm = alarm
        obj = Scripted.objects.get_by_name("a")
        with FakeClock() as clock:
            obj.storage.set_alarm(timedelta(minutes=30))
            clock.advance(timedelta(minutes=30))
            runs = run_due_alarms(raise_errors=True)
        assert [run.outcome for run in runs] == ["succeeded"]
        assert obj.storage.list() == {"inside": 1, "after": 1}

    def test_the_tasks_can_be_called(self) -> None:
        """Called by hand inside the test case's transaction, the Celery tasks leave it open."""
        with FakeClock():
            Scripted.objects.get_by_name("a").storage.set_alarm(NOW)
            dispatch_alarms()
            assert fire_alarm(Alarm.objects.get().pk) == "succeeded"
        assert Scripted.objects.count() == 1

    def test_nothing_is_left_from_the_test_before(self) -> None:
        """The test case's rollback takes objects along."""
        assert Scripted.objects.get_by_name("a").storage.list() == {}
        assert not Scripted.objects.exists()


def test_clock_is_frozen_for_the_engine_and_its_threads() -> None:
    """Time stands still until it is moved, in every thread, and the real one is back afterwards."""
    with FakeClock(START.astimezone(timezone(HOUR))) as clock:
        assert clock.now() == durable_objects.now() == START
        assert clock.now().tzinfo is UTC
        assert InThread(durable_objects.now).result() == START
        clock.advance(HOUR)
        assert durable_objects.now() == START + HOUR
        clock.move_to(START - HOUR)
        assert durable_objects.now() == START - HOUR


@pytest.mark.django_db
def test_clock_starts_at_the_real_now_and_gives_it_back() -> None:
    """By default the fake starts where the real clock is."""
    before = durable_objects.now()
    with FakeClock() as clock:
        assert abs(clock.now() - before) < timedelta(minutes=1)
        clock.advance(timedelta(days=400))
    assert durable_objects.now() - before < timedelta(minutes=1)


def test_clock_refuses_what_would_mislead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A naive time, a second fake, or a worker that lives in this process: refused in words."""
    naive = datetime(2026, 1, 1)  # noqa: DTZ001  naive is what is refused
    with pytest.raises(ValueError, match="naive"):
        FakeClock(naive)
    with FakeClock() as clock:
        with pytest.raises(ValueError, match="naive"):
            clock.move_to(naive)
        with pytest.raises(RuntimeError, match="open already"), FakeClock():
            pass
        assert durable_objects.now() == clock.now()
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    publisher.worker_started()
    with pytest.raises(RuntimeError, match="worker"), FakeClock():
        pass
    publisher.worker_stopped()
    with FakeClock():
        pass


@pytest.mark.django_db
def test_runs_come_in_order_until_nothing_is_due(alarm_clock: FakeClock, script: Script) -> None:
    """The oldest alarm runs first, and what the handlers set for now runs too; the rows are in that order."""
    late, later, never = (Scripted.objects.get_by_name(name) for name in ("late", "later", "never"))

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if obj == late and len(script.infos) == 1:
            obj.storage.set_alarm(NOW)

    script.alarm = alarm
    later.storage.set_alarm(2 * SECOND)
    late.storage.set_alarm(SECOND)
    never.storage.set_alarm(HOUR)
    assert run_due_alarms() == []
    alarm_clock.advance(3 * SECOND)
    runs = run_due_alarms()
    assert [run.object_id for run in runs] == [late.pk, later.pk, late.pk]
    assert run_due_alarms() == []
    assert list(AlarmRun.objects.order_by("pk")) == runs


@pytest.mark.django_db
def test_limit_ends_a_loop(alarm_clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that sets its alarm for now each time is stopped at the limit, with its runs made."""
    script.alarm = lambda obj, info: obj.storage.set_alarm(NOW)
    obj.storage.set_alarm(NOW)
    with pytest.raises(RuntimeError, match="5 alarms"):
        run_due_alarms(limit=5)
    assert len(script.infos) == AlarmRun.objects.count() == 5
    script.alarm = lambda obj, info: None
    assert len(run_due_alarms(limit=1)) == 1


@pytest.mark.django_db
def test_errors_can_be_raised_after_they_were_counted(alarm_clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``raise_errors`` shows a test the handler's own error, of a run that is on record as failed."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        raise ZeroDivisionError("of the handler")

    script.alarm = fail
    obj.storage.set_alarm(NOW)
    with pytest.raises(ZeroDivisionError, match="of the handler"):
        run_due_alarms(raise_errors=True)
    assert AlarmRun.objects.get().outcome == "failed"
    assert Alarm.objects.get().retry_count == 1


#: (point, whether what the handler did before it unlocked is kept)
POINTS = [
    ("firing.before_handler", False),
    ("turn.after_commit", True),  # that of the unlocking
    ("turn.unlocked", True),
    ("turn.locked_again", True),
    ("firing.after_handler", True),
    ("turn.before_commit", True),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("point", "keeps_first"), POINTS)
def test_death_at_every_point_of_a_run_loses_nothing(
    alarm_clock: FakeClock,
    crash_at: Callable[[str], AbstractContextManager[None]],
    obj: Scripted,
    *,
    point: str,
    keeps_first: bool,
) -> None:
    """Wherever a run dies, what is committed stays, the rest never was, and the alarm runs to its end in time."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("first", info.retry_count)
        Note.objects.get_or_create(text="first")
        with obj.unlocked():
            pass
        obj.storage.put("second", info.retry_count)
        Note.objects.create(text="second")

    obj.script.alarm = alarm
    obj.storage.set_alarm(NOW)
    with crash_at(point), pytest.raises(SimulatedCrash, match=point):
        run_due_alarms()
    assert obj.storage.list() == ({"first": 0} if keeps_first else {})
    assert Note.objects.count() == keeps_first
    alarm_clock.advance(engine.LEASE)
    run_due_alarms()
    assert obj.storage.list() == {"first": 0, "second": 0}
    assert Note.objects.count() == 2
    assert [run.outcome for run in AlarmRun.objects.all()] == ["succeeded"]
    assert obj.storage.get_alarm() is None


@pytest.mark.django_db
def test_deaths_pass_every_handler_but_the_tests(obj: Scripted, script: Script) -> None:
    """A simulated crash is no ``Exception``, and outside its block nothing dies."""
    assert not issubclass(SimulatedCrash, Exception)
    with simulated_crash("turn.before_commit"), pytest.raises(SimulatedCrash):
        obj.storage.put("k", 1)
    obj.storage.put("k", 2)
    assert obj.storage.get("k") == 2
