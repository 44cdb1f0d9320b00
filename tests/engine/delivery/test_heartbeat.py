"""Each process that runs alarms or makes passes keeps a row: alive, of which code, how busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from celery.worker import state
from pytest_django import Settings

import durable_objects
from durable_objects import process
from durable_objects.database import clock
from durable_objects.delivery import heartbeat, workers
from durable_objects.delivery.code_version import code_version
from durable_objects.operations import processes
from durable_objects.tables import Process

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


@dataclass(eq=False)
class Request:
    """What Celery's worker keeps of a task that runs."""

    name: str
    args: list[object]
    time_start: float


def running(seconds: float, *args: object, name: str = workers.WAKE_UPS[0]) -> Request:
    """A task that has run for so long."""
    return Request(name, [*args], time.time() - seconds)


def row(name: str, now: datetime | None = None, **columns: object) -> Process:
    """A process that was seen just now, unless the columns say otherwise; times as spans from now."""
    now = now or durable_objects.now()
    at = {key: now + value if isinstance(value, timedelta) else value for key, value in columns.items()}
    usual = {"code_since": now, "started_at": now, "last_seen_at": now, "code_version": code_version()}
    return Process.objects.create(process=name, **usual | at)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Request]]:
    """The tasks that the worker of this process runs: none yet, of two at a time."""
    active: set[Request] = set()
    monkeypatch.setattr(process, "threads", 2)
    monkeypatch.setattr(state, "active_requests", active)
    state.total_count.clear()
    yield active
    state.total_count.clear()


def test_a_beat_says_how_busy_the_worker_is(worker: set[Request]) -> None:
    """Threads, how many are at work, the longest since when and for which object, whatever task it is."""
    beat = heartbeat.Beat()
    beat.write()
    mine = Process.objects.get()
    assert (mine.process, mine.threads, mine.busy, mine.busy_since) == (process.name(), 2, 0, None)
    worker.update({running(50, 7, 3), running(20, [[8, 1], [9, 1]], 900.0, name=workers.WAKE_UPS[1])})
    beat.write()
    mine = Process.objects.get()
    assert (mine.busy, mine.busy_with) == (2, 7)
    assert mine.busy_since is not None
    assert 49 * SECOND < mine.last_seen_at - mine.busy_since < 55 * SECOND
    assert abs(mine.clock_skew) < 5 * SECOND
    worker.clear()
    worker.add(running(5, name="shop.report"))
    beat.write()
    assert Process.objects.values_list("busy", "busy_with").get() == (1, None)


def test_a_beat_counts_what_was_taken_in_a_minute(worker: set[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake-ups of the last minute, and none from before the process was seen, nor other tasks."""
    moment = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: moment[0])
    state.total_count.update({workers.WAKE_UPS[0]: 100})
    beat = heartbeat.Beat()
    beat.write()
    state.total_count.update({workers.WAKE_UPS[0]: 4, "shop.report": 50})
    moment[0] = 30.0
    beat.write()
    assert Process.objects.get().taken_a_minute == 4
    moment[0] = 95.0
    beat.write()
    assert Process.objects.get().taken_a_minute == 0


def test_the_version_of_the_code(settings: Settings) -> None:
    """It is what the settings say; without that a digest of the source of apps with objects, the same each time."""
    digest = code_version()
    assert len(digest) == 8
    assert code_version() == digest
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "CODE_VERSION": "v7"}
    assert code_version() == "v7"


def test_rows_of_the_past_are_deleted() -> None:
    """A process that starts deletes what is a day old, and of its own code what ended or was killed on this host; it
    leaves other versions, by which one sees when code changed, and takes over since when its own is there.
    """
    here = process.name().rpartition(":")[0]
    row("old:1", last_seen_at=-2 * DAY)
    row("ended:1", ended_at=-MINUTE, code_since=-3 * MINUTE)
    row(f"{here}:4194305")  # no process has this id
    row("ended of another version:1", ended_at=-MINUTE, code_version="v1", code_since=-DAY)
    row("other host:1")
    heartbeat.Beat().write()
    assert set(Process.objects.values_list("process", flat=True)) == {
        "ended of another version:1", "other host:1", process.name(),
    }  # fmt: skip
    now, mine = durable_objects.now(), Process.objects.get(process=process.name())
    assert 2 * MINUTE < now - mine.code_since < 4 * MINUTE
    assert [version for _, version in processes.deploys(processes.beating())] == [code_version()]


def test_a_process_that_ends_says_so() -> None:
    """Its thread writes that it has ended; it is then neither alive nor silent."""
    heartbeat.begin()
    heartbeat.begin()
    assert wait_for_row().ended_at is None
    heartbeat.end(within=10)
    assert Process.objects.get().ended_at is not None
    assert processes.workers(durable_objects.now()) == processes.Workers()
    (found,) = processes.standing(processes.beating(), [], durable_objects.now())
    assert found.state(durable_objects.now()) == "ended"


def test_how_all_workers_stand() -> None:
    """Those that live are added up; whether all are busy, and that none is seen, are sentences without a name."""
    now = durable_objects.now()
    row("a:1", now, threads=4, busy=4, busy_since=-52 * SECOND, busy_with=9)
    row("b:1", now, threads=4, busy=4, busy_since=-10 * SECOND)
    row("killed:1", now, threads=4, last_seen_at=-MINUTE)
    row("dispatcher:1")
    found = processes.workers(now)
    assert (found.number, found.threads, found.busy, found.longest_object, found.silent) == (2, 8, 8, 9, 1)
    assert found.obstacles() == ["All 8 threads are busy (8 of 8), the longest for 52s."]
    Process.objects.filter(process="b:1").update(busy=3)
    assert processes.workers(now).obstacles() == []
    Process.objects.filter(process__in=["a:1", "b:1"]).update(last_seen_at=now - 2 * MINUTE)
    assert processes.workers(now).obstacles() == ["No worker has been seen for 1m."]
    row("stopped:1", now, threads=4, ended_at=-40 * SECOND, last_seen_at=-40 * SECOND)
    assert processes.workers(now).obstacles() == ["No worker is running: the last one ended 40s ago."]
    Process.objects.filter(process="b:1").update(last_seen_at=now)
    assert processes.workers(now).obstacles() == []


def wait_for_row() -> Process:
    """The row of this process, once its thread has written it."""
    for _ in range(1000):
        if found := Process.objects.first():
            return found
        time.sleep(0.01)
    raise AssertionError("no beat within 10 s")


def test_a_clock_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process says by how much its clock is ahead of the database's."""
    read = clock.read

    def behind() -> datetime:
        return read() - 7 * SECOND

    monkeypatch.setattr(clock, "read", behind)
    heartbeat.Beat().write()
    assert 6 * SECOND < Process.objects.get().clock_skew < 9 * SECOND
