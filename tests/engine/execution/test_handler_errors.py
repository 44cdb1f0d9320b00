"""Whatever a handler raises is its failure, counted and kept with its traceback; only what ends the process is not."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown, WorkerTerminate
from django.db import connection

from durable_objects import AlarmInfo, RunSuperseded, tasks
from durable_objects.conf import engine
from durable_objects.execution import groups
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import explain
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.models import Grouped, Note, Script, Scripted
from tests.support.combined_calls import call_while_locked
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


class OfMine(BaseException):
    """No ``Exception``, and nobody else's."""


def in_group() -> BaseException:
    """What a task group raises whose task was cancelled."""
    return BaseExceptionGroup("several", [ValueError("one"), asyncio.CancelledError("other")])


FAILURES: list[Callable[[], BaseException]] = [
    asyncio.CancelledError,
    GeneratorExit,
    functools.partial(SystemExit, 3),
    OfMine,
    in_group,
    functools.partial(ExceptionGroup, "several", [ValueError("one")]),
    StopIteration,
    RecursionError,
    MemoryError,
]
ENDS: list[Callable[[], BaseException]] = [
    KeyboardInterrupt,
    SimulatedCrash,
    functools.partial(BaseExceptionGroup, "several", [KeyboardInterrupt()]),
]


def name_of(make: Any) -> str:
    """What it raises, for the name of a test."""
    return repr(make())


class Places:
    """Where an object's code may raise, while its alarm runs."""

    @staticmethod
    def alarm(script: Script, fail: Callable[[Any], object]) -> None:
        script.alarm = lambda obj, info: fail(obj)

    @staticmethod
    def unlocked(script: Script, fail: Callable[[Any], object]) -> None:
        def alarm(obj: Scripted, info: AlarmInfo) -> None:
            with obj.unlocked():
                fail(obj)

        script.alarm = alarm

    @staticmethod
    def after_unlocked(script: Script, fail: Callable[[Any], object]) -> None:
        def alarm(obj: Scripted, info: AlarmInfo) -> None:
            with obj.unlocked():
                pass
            fail(obj)

        script.alarm = alarm

    @staticmethod
    def initialize(script: Script, fail: Callable[[Any], object]) -> None:
        script.initialize = fail


def raising(make: Callable[[], BaseException]) -> Callable[[Any], None]:
    """Writes, and then raises."""

    def fail(obj: Scripted) -> None:
        Note.objects.create(text="left behind")
        raise make()

    return fail


@pytest.mark.parametrize("place", ["alarm", "unlocked", "after_unlocked", "initialize"])
@pytest.mark.parametrize("make", FAILURES, ids=name_of)
def test_whatever_a_handler_raises_is_counted(
    clock: FakeClock, obj: Scripted, script: Script, make: Callable[[], BaseException], place: str
) -> None:
    """It is a failed run with its traceback, what it wrote is undone, and the retry comes after two seconds."""
    obj.storage.set_alarm(NOW)
    getattr(Places, place)(script, raising(make))
    (run,) = run_due_alarms()
    assert (run.outcome, run.retry_count) == ("failed", 0)
    assert "Traceback" in run.error
    assert type(make()).__name__ in run.error
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, slot.crashed_starts, slot.leased_until) == ("armed", 1, 0, None)
    assert Note.objects.count() == (1 if place == "unlocked" else 0), "outside of a turn it was committed"
    assert type(make()).__name__ in str(explain.explain(Object.objects.get(), clock.now()).why)
    script.alarm, script.initialize = lambda obj, info: None, lambda obj: None
    clock.advance(timedelta(seconds=2))
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]


@pytest.mark.parametrize("place", ["alarm", "unlocked", "initialize"])
@pytest.mark.parametrize("make", ENDS, ids=name_of)
def test_what_ends_the_process_is_not_counted(
    clock: FakeClock, obj: Scripted, script: Script, make: Callable[[], BaseException], place: str
) -> None:
    """Ctrl-C passes: nothing is counted, and the alarm is armed as before."""
    obj.storage.set_alarm(NOW)
    getattr(Places, place)(script, raising(make))
    with pytest.raises(type(make())):
        run_due_alarms()
    assert not AlarmRun.objects.exists()
    assert (Alarm.objects.get().state, Alarm.objects.get().retry_count) == ("armed", 0)


def test_end_of_the_worker_is_not_counted(obj: Scripted, script: Script) -> None:
    """What Celery raises to end its worker passes, also out of a handler in the solo pool."""
    for error in (WorkerShutdown, WorkerTerminate):
        obj.storage.set_alarm(NOW)
        script.alarm = lambda obj, info, error=error: raising(error)(obj)  # type: ignore[misc]
        with pytest.raises(error):
            fire(Object.objects.get().pk)
    assert not AlarmRun.objects.exists()


class Terminated:
    """A handler of a signal that ends the process as billiard's does, and is gone by then."""

    def __call__(self, *args: Any) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        raise SystemExit(1)

    def as_method(self, number: int, frame: Any) -> None:
        """The same with its arguments by name."""
        self(number, frame)


@pytest.mark.parametrize("handler", [Terminated(), Terminated().as_method, functools.partial(Terminated())])
def test_exit_by_a_signal_is_not_counted(obj: Scripted, script: Script, handler: Any) -> None:
    """``SystemExit`` that a signal's handler raises into the code says that the process is to end."""
    obj.storage.set_alarm(NOW)

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(0.01)

    script.alarm = alarm
    before = signal.signal(signal.SIGUSR2, handler)
    try:
        with pytest.raises(SystemExit):
            fire(Object.objects.get().pk)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not AlarmRun.objects.exists()


@pytest.mark.parametrize("make", FAILURES, ids=name_of)
def test_alarm_died_that_raises_anything_leaves_a_dead_row(
    obj: Scripted, script: Script, make: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is logged and undone, and the alarm stays dead."""
    monkeypatch.setattr(Scripted, "alarm_max_retries", 0)
    obj.storage.set_alarm(NOW)
    script.alarm = lambda obj, info: raising(make)(obj)
    script.alarm_died = lambda obj, info, error: raising(make)(obj)
    assert fire(Object.objects.get().pk).verdict is Verdict.DEAD
    assert Alarm.objects.get().state == "dead"
    assert not Note.objects.exists()


@pytest.mark.parametrize("make", FAILURES, ids=name_of)
def test_call_that_raises_anything_is_undone_and_raises_it(obj: Scripted, make: Callable[[], BaseException]) -> None:
    """A caller's own error passes as it is; nothing is kept and the object is free."""

    def fail() -> None:
        obj.storage.put("left behind", 1)
        raising(make)(obj)

    with pytest.raises(type(make())):
        obj.run_exclusive(fail)
    assert not connection.in_atomic_block
    assert not Note.objects.exists()
    assert InThread(lambda: obj.run_exclusive(obj.storage.list)).result() == {}


@pytest.mark.parametrize("make", [asyncio.CancelledError, GeneratorExit, SystemExit, OfMine], ids=name_of)
@pytest.mark.parametrize("place", [0, 1])
def test_combined_call_keeps_its_error_to_itself(obj: Scripted, make: type[BaseException], place: int) -> None:
    """Whichever thread runs it, what a call raises reaches its own caller, and nobody else."""

    def fail(obj: Scripted) -> None:
        obj.storage.put("left behind", 1)
        raise make

    def add(obj: Scripted) -> None:
        obj.storage.put("count", obj.storage.get("count", 0) + 1)

    calls: list[Callable[[Scripted], object]] = [add, add]
    calls.insert(place, fail)
    threads = call_while_locked(obj, *calls)
    with pytest.raises(make):
        threads.pop(place).result()
    for thread in threads:
        thread.result()
    assert obj.storage.list() == {"count": 2}


@pytest.mark.parametrize("make", FAILURES, ids=name_of)
def test_group_goes_on_without_the_one_that_raises(script: Script, make: Callable[[], BaseException]) -> None:
    """One handler's error undoes the group, the others run again, and that one is woken alone."""
    Grouped.objects.set_alarms(dict.fromkeys("abc", NOW))
    alarms = [(slot.pk, slot.wake_up_number) for slot in Alarm.objects.order_by("pk")]
    Alarm.objects.update(wake_up_number=0)

    def alarm(obj: Grouped, info: AlarmInfo) -> None:
        if obj.name == "b":
            raising(make)(obj)
        obj.storage.put("ran", 1)

    script.alarm = alarm
    assert groups.fire_group([(pk, 0) for pk, _ in alarms], timedelta(minutes=1)) == 2
    assert not Note.objects.exists()
    assert sorted(AlarmRun.objects.values_list("object__name", flat=True)) == ["a", "c"]


def test_relocked_after_what_was_caught_around_unlocked(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that catches the end of its asynchronous work goes on with the object locked, and its writes count."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        try:
            with obj.unlocked():
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            obj.storage.put("went on", connection.in_atomic_block)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert obj.storage.list() == {"went on": True}


def test_interrupt_that_is_caught_around_unlocked_gives_nothing_back(obj: Scripted) -> None:
    """Ctrl-C while unlocked does not wait for the lock: the turn is over, and refuses what is asked of it since."""

    def work() -> None:
        try:
            with obj.unlocked():
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        obj.storage.put("left behind", 1)

    with pytest.raises(RunSuperseded, match="KeyboardInterrupt"):
        obj.run_exclusive(work)
    assert obj.storage.list() == {}


class Unformattable(Exception):
    """Whose every text raises while it is ``armed``: pytest has to tell it as well."""

    armed = False

    def __repr__(self) -> str:
        if self.armed:
            raise OfMine
        return "Unformattable()"

    __str__ = __repr__

    def __getattribute__(self, name: str) -> Any:
        if name == "__notes__" and self.armed:
            raise OfMine
        return super().__getattribute__(name)


@contextmanager
def armed() -> Iterator[None]:
    """``Unformattable`` cannot be described in this block."""
    Unformattable.armed = True
    try:
        yield
    finally:
        Unformattable.armed = False


class Circular(ValueError):
    """Is its own cause, by way of another."""

    def __init__(self) -> None:
        super().__init__("round and round")
        other = ValueError("other")
        self.__cause__, other.__cause__ = other, self


def huge() -> ValueError:
    """With a message of some megabytes."""
    return ValueError("x" * 5_000_000)


@pytest.mark.parametrize("make", [Unformattable, Circular, huge])
def test_retry_of_an_error_that_cannot_be_described_costs_no_rescue(
    obj: Scripted, script: Script, make: Callable[[], BaseException]
) -> None:
    """Its run is counted, its class is reported, and Celery is asked for the retry as for any other."""
    obj.storage.set_alarm(NOW)
    script.alarm = lambda obj, info: raising(make)(obj)
    with armed():
        try:
            tasks.fire_alarm.run(Object.objects.get().pk)
        except tasks.AlarmRunFailed as error:
            text = str(error) + repr(error.__cause__)[:300]
    assert len(text) < 1_000
    (run,) = AlarmRun.objects.all()
    assert type(make()).__name__ in run.error or make is huge
    assert run.outcome == "failed"


def test_dead_alarm_of_an_error_that_cannot_be_described(
    obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``alarm_died`` gets the error itself, and may raise one of the same kind."""
    monkeypatch.setattr(Scripted, "alarm_max_retries", 0)
    obj.storage.set_alarm(NOW)
    script.alarm = lambda obj, info: raising(Unformattable)(obj)
    script.alarm_died = lambda obj, info, error: raising(Unformattable)(obj)
    with armed():
        assert fire(Object.objects.get().pk).verdict is Verdict.DEAD
    assert [type(error) for error in script.deaths] == [Unformattable]


def test_group_with_an_error_that_cannot_be_described(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """It is woken alone like any other that raises; the log says which class of error it was."""
    caplog.set_level("INFO")
    Grouped.objects.set_alarms(dict.fromkeys("ab", NOW))
    pairs = list(Alarm.objects.values_list("pk", "wake_up_number"))

    def alarm(obj: Grouped, info: AlarmInfo) -> None:
        if obj.name == "b":
            raise Unformattable

    script.alarm = alarm
    with armed():
        assert groups.fire_group(pairs, timedelta(minutes=1)) == 1
    assert "Unformattable" in caplog.text


def test_worker_in_threads_lives(obj: Scripted, script: Script) -> None:
    """The thread that ran such a handler goes on: nothing but the task's own retry comes out of it."""
    obj.storage.set_alarm(NOW)
    script.alarm = lambda obj, info: raising(functools.partial(SystemExit, 1))(obj)
    seen: list[BaseException] = []

    def work() -> None:
        try:
            tasks.fire_alarm.run(Object.objects.using(engine.DATABASE).get().pk)
        except BaseException as error:  # noqa: BLE001  that is what is asked
            seen.append(error)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert [type(error) for error in seen] == [tasks.AlarmRunFailed]
