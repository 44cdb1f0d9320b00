"""How a cleanup goes on: in chunks, for a while at a time, on record, whatever ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from cleaner import chunking
from cleaner.models import CleanerRun, PeriodicCleaner
from cleaner.targets import Chunk, OwnStorage
from durable_objects import DurableObjectError
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.support.passing_time import outcomes
from tests.support.threads import InThread, await_that

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
CrashAt = Callable[[str], AbstractContextManager[None]]
#: One chunk of ten entries per alarm.
SLOWLY = {"CHUNK": 10, "BUDGET": timedelta(0)}


@pytest.fixture
def _quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are as large as they may be, however busy the machine is."""
    monkeypatch.setattr(chunking, "WANTED_SECONDS", 1_000.0)
    monkeypatch.setattr(chunking, "CUT_OFF_SECONDS", 60.0)


@pytest.fixture
def cleaner(alarm_clock: FakeClock, _quick_machine: None) -> PeriodicCleaner:
    """A cleaner with 35 expired entries, of which every chunk of ten that was cleaned leaves no trace."""
    cleaner = PeriodicCleaner.objects.get_by_name("cache")
    cleaner.storage.put_many({f"{number:02}": {"timestamp": number} for number in range(35)})
    return cleaner


def spoil(monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[OwnStorage], object]) -> None:
    """Do something in the place of the chunk with this number, counted from 1."""
    chunks, real = [0], OwnStorage.chunk

    def chunk(self: OwnStorage, *args: Any, **kwargs: Any) -> Chunk:
        chunks[0] += 1
        if chunks[0] == at:
            act(self)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(OwnStorage, "chunk", chunk)


def test_what_does_not_fit_into_the_budget_goes_on_at_once(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, settings: Any
) -> None:
    """The rest is done by alarms of its own, one cleanup on record; then comes the next planned time, not shifted."""
    settings.CLEANER = SLOWLY
    planned = cleaner.storage.get_alarm()
    assert planned is not None
    cleaner.configure(max_age=timedelta(days=2))
    assert outcomes(alarm_clock, HOUR) == ["succeeded"] * 4
    assert cleaner.storage.list() == {}
    run = CleanerRun.objects.get()
    assert (run.planned_at, run.examined, run.removed, run.chunks) == (planned, 35, 35, 4)
    assert (run.ended_at, run.next_at) == (alarm_clock.now(), planned + HOUR)
    assert cleaner.storage.get_alarm() == planned + HOUR


def test_a_retry_goes_on_where_it_failed(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cleaned before stays cleaned and is not looked at again, and nothing is counted twice."""
    settings.CLEANER = {"CHUNK": 10}

    def fail(target: OwnStorage) -> None:
        raise OSError("not now")

    spoil(monkeypatch, 2, fail)
    assert outcomes(alarm_clock, HOUR) == ["failed"]
    assert len(cleaner.storage.list()) == 25
    assert outcomes(alarm_clock, timedelta(seconds=2)) == ["succeeded"]
    run = CleanerRun.objects.get()
    assert (run.examined, run.removed, run.error) == (35, 35, "")


@pytest.mark.django_db(transaction=True)
def test_a_crash_in_a_chunk_takes_back_that_chunk_only(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, settings: Any, crash_at: CrashAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletion and record commit together: a process that dies leaves neither without the other."""
    settings.CLEANER = {"CHUNK": 10}

    def die(target: OwnStorage) -> None:
        raise SimulatedCrash

    spoil(monkeypatch, 3, die)
    alarm_clock.advance(HOUR)
    with pytest.raises(SimulatedCrash):
        run_due_alarms()
    run = CleanerRun.objects.get()
    assert (run.removed, 35 - len(cleaner.storage.list()), run.ended_at) == (30, 30, None)
    assert outcomes(alarm_clock, timedelta(minutes=2)) == ["succeeded"]
    run.refresh_from_db()
    assert (run.removed, run.examined, run.ended_at) == (35, 35, alarm_clock.now())


def test_stopped_while_it_works(
    cleaner: PeriodicCleaner, alarm_clock: FakeClock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is deleted or planned once ``stop()`` has returned."""
    settings.CLEANER = {"CHUNK": 10}
    monkeypatch.setattr(chunking, "rest", lambda conn, seconds: PeriodicCleaner.objects.get_by_name("cache").stop())
    assert outcomes(alarm_clock, HOUR) == ["succeeded"]
    assert (len(cleaner.storage.list()), cleaner.storage.get_alarm()) == (25, None)
    assert CleanerRun.objects.get().error == "stopped"


def test_the_record_is_bounded(cleaner: PeriodicCleaner, settings: Any) -> None:
    """Only the last ``HISTORY`` cleanups of a cleaner are kept; another one's are not touched."""
    settings.CLEANER = {"HISTORY": 2}
    PeriodicCleaner.objects.get_by_name("other").cleanup()
    removed = [cleaner.cleanup() for _ in range(4)]
    assert removed == [35, 0, 0, 0]
    assert [run.removed for run in CleanerRun.objects.filter(object=cleaner)] == [0, 0]
    assert CleanerRun.objects.count() == 3


def test_no_cleanup_in_a_turn(cleaner: PeriodicCleaner) -> None:
    """It would be one long transaction; a look is none."""
    with pytest.raises(DurableObjectError, match=r"cleanup\(\) in a turn of the same object"):
        cleaner.run_exclusive(cleaner.cleanup)
    assert cleaner.run_exclusive(lambda: cleaner.cleanup(dry_run=True)) == 35
    assert not CleanerRun.objects.exists()


def test_chunks_go_by_time() -> None:
    """The next chunk is as large as the time allows, at most twice the last, and far smaller after one given up."""
    steps = chunking.Pace(500, 5_000)
    sizes = []
    for seconds in (0.001, 0.001, 0.02, 0.16, 0.16, 0.04):
        steps.took(seconds)
        sizes.append(steps.limit)
    assert sizes == [1_000, 2_000, 4_000, 2_000, 1_000, 2_000]
    steps.too_large()
    assert steps.limit == 250
    for _ in range(5):
        steps.too_large()
    assert (steps.limit, steps.cut_off) == (1, None)
    steps.took(0.01)
    assert (steps.limit, steps.cut_off) == (2, chunking.CUT_OFF_SECONDS)


@pytest.mark.django_db(transaction=True)
def test_a_chunk_that_takes_too_long_is_given_up(cleaner: PeriodicCleaner, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the values are, no transaction lasts: the chunk is undone, made smaller, and all get clean."""
    monkeypatch.setattr(chunking, "CUT_OFF_SECONDS", 0.002)
    cleaner.storage.put_many({f"large {number:03}": {"text": "x" * 20_000, "timestamp": 0} for number in range(400)})
    given_up: list[int] = []
    real = chunking.Pace.too_large

    def too_large(steps: chunking.Pace) -> None:
        given_up.append(steps.limit)
        real(steps)

    monkeypatch.setattr(chunking.Pace, "too_large", too_large)
    assert cleaner.cleanup() == 35 + 400
    assert given_up
    assert cleaner.storage.list() == {}
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
def test_others_come_in_between(cleaner: PeriodicCleaner, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to the cleaner does not wait for the cleanup's end, only for that of a chunk."""
    settings.CLEANER = {"CHUNK": 1}
    written = threading.Event()

    def wait(target: OwnStorage) -> None:
        monkeypatch.setattr(chunking, "rest", lambda conn, seconds: await_that(written.is_set))

    spoil(monkeypatch, 3, wait)
    beside = InThread(cleaner.cleanup)
    await_that(lambda: CleanerRun.objects.filter(removed__gte=3).exists())
    PeriodicCleaner.objects.get_by_name("cache").storage.put("meanwhile", 1)
    assert not beside.is_over()
    written.set()
    assert beside.result() == 35
    assert list(cleaner.storage.list()) == ["meanwhile"]
