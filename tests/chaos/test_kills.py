"""Workers that die inside a handler that has unlocked."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from signal import SIGKILL

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Process, Site
from tests.support.upstream import Answer, Upstream

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

LEASE, DISPATCH_EVERY = 10, 2
#: A worker that has just been woken has other runs before this one.
QUEUE_SECONDS = 1.5

_UNLOCKED_NOW = """
    SELECT pid FROM tests_moment one WHERE what = 'unlocked' AND at > clock_timestamp() - interval '2 seconds'
    AND NOT EXISTS (SELECT 1 FROM tests_moment other WHERE other.run = one.run AND other.what = 'ready')
"""


_NOT_BEGUN_AGAIN = """
    SELECT run FROM tests_moment one WHERE what = 'unlocked' AND pid = ANY(%s)
    AND NOT EXISTS (SELECT 1 FROM tests_moment other WHERE other.run = one.run AND other.what = 'done')
    AND NOT EXISTS (SELECT 1 FROM tests_moment other WHERE other.witness = one.witness AND other.fence > one.fence)
"""


class Killer:
    """Two workers, one of which dies at a random moment in which it has unlocked an object; then another is started."""

    def __init__(self, site: Site, *, only_child: bool) -> None:
        self.site, self.only_child = site, only_child
        self.kills: list[tuple[datetime, set[int]]] = []
        self.workers: list[Process] = []
        self.started = 0
        self.start()
        self.start()

    def start(self) -> None:
        """One more worker."""
        self.started += 1
        self.workers.append(self.site.worker(f"worker{self.started}", concurrency=4))

    def strike(self) -> None:
        """Kill, once there is a victim, and see all that it had begin again; a worker is replaced."""
        time.sleep(random.uniform(0.2, 1.5))  # a random point, and time for the pool to recover
        victim = self.site.wait_for("a run that has unlocked", self._victim, seconds=20)
        assert victim is not None
        worker, child = victim
        if self.only_child:
            pids = {child, random.choice(worker.children())}  # the other one may be posting a batch
            for pid in pids:
                worker.signal(SIGKILL, pid)
        else:
            pids = {worker.pid, *worker.children()}
            worker.kill()
        self.kills.append((stage.database_now(self.site), pids))
        if not self.only_child:
            self.workers.remove(worker)
            self.start()
        self.site.wait_for_rows(_NOT_BEGUN_AGAIN, list(pids), seconds=60, until=lambda rows: not rows)

    def _victim(self) -> tuple[Process, int] | None:
        unlocked = [pid for (pid,) in self.site.rows(_UNLOCKED_NOW)]
        found = [(worker, pid) for worker in self.workers for pid in worker.children() if pid in unlocked]
        return random.choice(found) if found else None


@pytest.mark.parametrize("only_child", [False, True], ids=["worker", "child"])
def test_what_a_killed_worker_had_runs_again_within_the_lease(
    broker: stage.Broker, site_on: Callable[..., Site], upstream: Upstream, say: Callable[[str], None], only_child: bool
) -> None:
    """Killed with -9 while unlocked: again within lease + one dispatch pass, fenced, every item under one key."""
    site = site_on(broker, LEASE=LEASE, DISPATCH_EVERY=DISPATCH_EVERY)
    upstream.default = replace(Answer(), delay=0.3)
    stage.dispatcher(site)
    killer = Killer(site, only_child=only_child)
    feeder = stage.feeder(site, url=upstream.url, batchers=4, items=10, witnesses=4, plan={"pause": 0.8})
    for _ in range(stage.KILLS):
        killer.strike()
    feeder.stop()
    stage.wait_until_idle(site, seconds=90)

    found = verdicts.judge(site)
    assert len({span.witness for span in found}) == len(stage.accepted(site, "witness"))
    seconds = verdicts.recoveries(found, killer.kills)
    items = verdicts.delivered(upstream.received, stage.accepted(site))
    say(f"{len(killer.kills)} kills, {len(found)} runs; again after {verdicts.percentiles(seconds)}; {items}")
    verdicts.uncounted(site)
    assert seconds, "no kill cut off a run"
    assert seconds[-1] <= LEASE + DISPATCH_EVERY + QUEUE_SECONDS
