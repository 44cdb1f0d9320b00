"""An object that is never idle: its alarm stands in line as callers do, and has its turn within a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from durable_objects import AlarmInfo, ObjectBusy
from durable_objects.alarms import backoff
from durable_objects.database.backends.sqlite import Queue
from durable_objects.execution import firing, waiting_line
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.tables import Object
from tests.models import Script, Scripted
from tests.support.threads import InThread, await_event, await_that

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)
#: How long each caller keeps the object, and how long a wake-up waits at first.
KEPT, BRIEFLY = 0.2, timedelta(seconds=0.05)
LOCK_TIMEOUT = 2.0


@pytest.fixture(autouse=True)
def _brief(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(seconds=LOCK_TIMEOUT)}
    monkeypatch.setattr(firing, "WAIT_FOR_LOCK", BRIEFLY)


@contextmanager
def never_idle(callers: int = 2) -> Iterator[list[int]]:
    """This many threads lock the object in turn, each again at once; how often each was refused."""
    over, refused = threading.Event(), [0] * callers
    calls: list[int] = []

    def call(number: int) -> None:
        obj = Scripted.objects.get_by_name("a")
        while not over.is_set():
            try:
                obj.run_exclusive(lambda: time.sleep(KEPT))
                calls.append(number)
            except ObjectBusy:
                refused[number] += 1

    threads = [InThread(lambda number=number: call(number)) for number in range(callers)]  # type: ignore[misc]  # an int
    try:
        await_that(lambda: len(calls) >= callers)
        yield refused
    finally:
        over.set()
        for thread in threads:
            thread.result()


def as_a_worker(pk: int, seconds: float) -> tuple[Fired, float]:
    """Fire until it comes to something, with the waits between two tries cut to a tenth of a second; and how long."""
    begun, waits = time.monotonic(), 0
    while True:
        fired = fire(pk, waits=waits)
        waits += 1
        took = time.monotonic() - begun
        if fired.verdict is not Verdict.AGAIN or took > seconds:
            return fired, took
        time.sleep(0.1)


@pytest.mark.parametrize("callers", [2, 4])
def test_alarm_of_an_object_that_is_never_idle_has_its_turn(obj: Scripted, script: Script, callers: int) -> None:
    """Turned away once, it stands in line: for the calls before it, and no longer. No caller is refused for it."""
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    with never_idle(callers) as refused:
        fired, took = as_a_worker(pk, 8.0)
    assert fired.verdict is Verdict.SUCCEEDED
    assert took < LOCK_TIMEOUT + KEPT + 2.0, "those before it, the longest call, and a little"
    assert sum(refused) == 0


def test_run_that_lets_go_of_an_object_that_is_never_idle_comes_back(obj: Scripted, script: Script) -> None:
    """After ``unlocked()`` it stands in line, too."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            time.sleep(KEPT)
        obj.storage.put("back", True)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    with never_idle():
        fired, _ = as_a_worker(pk, 8.0)
    assert fired.verdict is Verdict.SUCCEEDED
    assert obj.storage.get("back") is True


@contextmanager
def kept() -> Iterator[None]:
    """One call keeps the object for the whole block."""
    inside, over = threading.Event(), threading.Event()

    def keep() -> None:
        inside.set()
        await_event(over)

    keeper = InThread(lambda: Scripted.objects.get_by_name("a").run_exclusive(keep))
    await_event(inside)
    try:
        yield
    finally:
        over.set()
        keeper.result()


def test_few_of_a_workers_threads_stand_in_line(obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy objects do not take all threads of a worker: beyond a few, a wake-up is turned away soon again."""
    monkeypatch.setattr(waiting_line, "MOST_IN_LINE", 0)
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    with kept():
        begun = time.monotonic()
        assert fire(pk, waits=3).verdict is Verdict.AGAIN
        assert time.monotonic() - begun < LOCK_TIMEOUT, "not a patience of 16 s"


def test_copies_of_a_wake_up_do_not_fill_the_line(obj: Scripted, script: Script) -> None:
    """While one wake-up of an object stands in line, another of the same object is turned away soon."""
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    with kept():
        first = InThread(lambda: fire(pk, waits=1))
        await_that(lambda: pk in waiting_line._in_line)
        begun = time.monotonic()
        assert fire(pk, waits=1).verdict is Verdict.AGAIN
        assert time.monotonic() - begun < LOCK_TIMEOUT, "not a patience of 4 s"
    assert first.result().verdict is Verdict.SUCCEEDED
    assert not waiting_line._in_line


def test_patience_grows_to_a_limit() -> None:
    """The first line is longer than any caller's; later ones are for objects whose calls are longer still."""
    lock_timeout = timedelta(seconds=5)
    waits = [backoff.patience(number, lock_timeout).total_seconds() for number in (1, 2, 3, 7, 50)]
    assert waits == [10, 20, 30, 30, 30]
    assert backoff.patience(50, timedelta(minutes=9)) == timedelta(minutes=9)


def test_threads_of_a_process_take_turns_on_sqlite() -> None:
    """In the order in which they came; who has waited long enough goes, and those behind it move up."""
    line, order = Queue(), []
    assert line.enter(0.1)

    def come(number: int, seconds: float) -> None:
        if line.enter(seconds):
            order.append(number)
            line.leave()
        else:
            order.append(-number)

    threads = []
    for number, seconds in ((1, 5.0), (2, 0.05), (3, 5.0)):
        threads.append(InThread(lambda number=number, seconds=seconds: come(number, seconds)))  # type: ignore[misc]  # typed by come
        await_that(lambda: len(line._waiting) >= len([each for each in threads if not each.is_over()]))
    await_that(lambda: order == [-2])
    line.leave()
    for thread in threads:
        thread.result()
    assert order == [-2, 1, 3]
    assert line.enter(0.1)


def test_hook_after_the_commit_may_call_an_object(obj: Scripted, settings: Any) -> None:
    """It does not wait for the turn that has just ended, whose hook it is, and nobody waits afterwards."""
    settings.DURABLE_OBJECTS = {"LOCK_TIMEOUT": timedelta(minutes=1)}
    other = Scripted.objects.get_by_name("other")

    def call() -> None:
        transaction.on_commit(lambda: other.storage.put("k", 1))

    def call_and_again() -> None:
        obj.run_exclusive(call)
        obj.storage.put("k", 2)

    InThread(call_and_again).result()
    assert (other.storage.get("k"), obj.storage.get("k")) == (1, 2)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…")
def test_the_wait_has_no_other_limit(obj: Scripted, script: Script) -> None:
    """A ``statement_timeout`` of the session ends the wait of a wake-up no sooner."""
    obj.storage.set_alarm(NOW)
    pk = Object.objects.get().pk
    with never_idle():
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '100ms'")
        assert fire(pk, waits=1).verdict is Verdict.SUCCEEDED
    connection.close()
