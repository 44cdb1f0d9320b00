"""Redis restarts, or is there and refuses: no process ends by itself, and all goes on once it is over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.brokers.conftest import set_reminders
from tests.brokers.refusals import REFUSALS
from tests.support import services
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Process, Site

pytestmark = pytest.mark.services("postgresql", "redis")

HELD = 20
REFUSED_FOR = 2.0
RESTARTED_WITHIN = 1.5
AGAIN_WITHIN = 10.0
WITHIN = 60.0
#: Alarms that wait are done when none is armed any more.
ARMED = "SELECT count(*) FROM durable_objects_alarm WHERE state = 'armed'"
LATENESS = (
    "SELECT extract(epoch FROM started_at - due_at) FROM durable_objects_alarmrun "
    "JOIN durable_objects_object o ON o.id = object_id WHERE o.name = %s"
)


@dataclass
class Running:
    """A site with one worker and two that send wake-ups, on a Redis of its own."""

    site: Site
    redis: OwnRedis
    worker: Process
    senders: list[Process]
    number: int = 0

    def hold(self) -> None:
        """Let the worker hold wake-ups, most of which are due after the trouble."""
        self.number += 1
        set_reminders(self.site, f"{self.number} held ", HELD, after=2, step=0.5)

    def runs_again(self, what: str) -> None:
        """An alarm that is set now runs soon."""
        set_reminders(self.site, f"{self.number} then ", 1, after=0)
        [(late,)] = self.site.wait_for_rows(LATENESS, f"{self.number} then 0", seconds=WITHIN)
        print(f"\n{what}: the next alarm was {late:.1f} s late")
        assert late < AGAIN_WITHIN

    def assert_alive(self) -> None:
        """Worker, dispatcher and beat are those that were started."""
        for process in (self.worker, *self.senders):
            ended = process.exit_code()
            assert ended is None, f"ended by itself with {ended}:\n{process.text()[-3000:]}"

    def assert_nothing_is_lost(self) -> None:
        """All that was held has run, late at worst."""
        self.site.wait_for_rows(ARMED, seconds=WITHIN, until=lambda rows: rows == [(0,)])
        early = "SELECT count(*) FROM durable_objects_alarmrun WHERE started_at < due_at"
        assert self.site.rows(early) == [(0,)]


@pytest.fixture(
    scope="module", params=["prefork", *(pytest.param(pool, marks=pytest.mark.chaos) for pool in ("threads", "solo"))]
)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One worker of each pool, for all refusals; at the end all alarms of all tests have run."""
    folder = tmp_path_factory.mktemp("redis")
    with ExitStack() as stack:
        database = stack.enter_context(services.fresh_postgresql())
        redis = stack.enter_context(OwnRedis(folder))
        site = stack.enter_context(Site(folder, database, redis.url, engine={"DISPATCH_EVERY": 1}))
        senders = [site.migrate().dispatcher(), site.beat()]
        worker = site.worker(pool=request.param, concurrency=2 if request.param == "prefork" else 8)
        running = Running(site, redis, worker, senders)
        yield running
        running.assert_nothing_is_lost()
        for process in site.processes:
            process.kill()  # a clean stop takes seconds


@pytest.mark.parametrize(
    "kind", [kind if kind in {"OOM", "READONLY"} else pytest.param(kind, marks=pytest.mark.chaos) for kind in REFUSALS]
)
def test_a_refusal_ends_no_worker(running: Running, kind: str) -> None:
    """Whatever error Redis answers: the same worker runs alarms again as soon as it is over."""
    running.hold()
    with REFUSALS[kind](running.redis.client):
        time.sleep(REFUSED_FOR)
        running.assert_alive()
    running.runs_again(kind)
    running.assert_alive()


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.chaos)])
def test_a_restart_ends_no_worker(running: Running, times: int) -> None:
    """Redis is killed and comes again, empty, while the worker holds wake-ups: it goes on."""
    files = _open_files(running.worker)
    for number in range(times):
        running.hold()
        running.redis.stop()
        time.sleep(RESTARTED_WITHIN)
        running.redis.start()
        running.runs_again(f"restart {number + 1}")
        running.assert_alive()
    assert _open_files(running.worker) < files + 20, "each restart leaves connections behind"


def test_a_worker_that_is_started_meanwhile_waits(running: Running) -> None:
    """A worker's first connection is refused as well: it takes messages once it is over, without a new start."""
    with REFUSALS["OOM"](running.redis.client):
        late = running.site.start(
            "late", "-m", "celery", "-A", "project", "worker", "-n", "late@%h", "-P", "threads", "-l", "INFO"
        ).says("the worker was refused")
    late.says("ready.", seconds=WITHIN)
    assert late.exit_code() is None
    late.kill()


def test_a_child_that_is_killed_at_the_start_ends_no_worker(running: Running) -> None:
    """Prefork: a process of the pool that was lost before the first connection is replaced."""
    running.redis.freeze()
    try:
        late = running.site.start(
            "poor", "-m", "celery", "-A", "project", "worker", "-n", "poor@%h", "-c", "2", "-l", "INFO"
        )
        children = running.site.wait_for("its pool", late.children, seconds=WITHIN, until=lambda pids: len(pids) >= 2)
        late.signal(signal.SIGKILL, children[0])
    finally:
        running.redis.thaw()
    late.says("ready.")
    running.site.wait_for("a new process", late.children, seconds=WITHIN, until=lambda pids: len(pids) >= 2)
    assert late.exit_code() is None
    late.kill()


def _open_files(process: Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
