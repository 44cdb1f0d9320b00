"""Redis goes away for a moment, or is there and refuses, while workers hold wake-ups that are not due yet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tests.chaos import stage, verdicts
from tests.chaos.refusals import REFUSALS
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Process, Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

#: How often Redis is restarted: CHAOS_RESTARTS=20 for figures that mean something.
RESTARTS = int(os.environ.get("CHAOS_RESTARTS") or "4")
#: How long after a fault a worker may still end of it.
AFTERMATH = 6.0
REFUSED_SECONDS = 4.0

_RAN = "SELECT count(*) FROM tests_moment WHERE what = 'done'"


def workers(site: Site) -> list[Process]:
    """One of each pool."""
    pools = {"prefork": 2, "threads": 4}
    return [site.worker(pool, pool=pool, concurrency=count) for pool, count in pools.items()]


def live(of: list[Process]) -> None:
    """None of them has ended."""
    assert {worker.name: worker.exit_code() for worker in of} == {worker.name: None for worker in of}


def watch(of: list[Process], seconds: float) -> None:
    """None of them ends for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        live(of)
        time.sleep(0.2)


def _reached(count: int, rows: list[tuple[Any, ...]]) -> bool:
    return int(rows[0][0]) >= count


def test_restarts_end_no_worker(
    redis_broker: OwnRedis, site_on: Callable[..., Site], say: Callable[[str], None]
) -> None:
    """Redis killed and back 1.5 s later, under load and with wake-ups held: no worker ends, every alarm runs once."""
    site = site_on(redis_broker, DISPATCH_EVERY=1)
    site.environment["LOST_AFTER"] = "3"
    stage.dispatcher(site)
    pools = workers(site)
    for number in range(RESTARTS):
        stage.arm(site, [(f"held {number} {n}", 20 + n, {}) for n in range(30)])
        stage.arm(site, [(f"near {number} {n}", n / 4, {"pause": 0.1}) for n in range(20)])
        redis_broker.stop()
        time.sleep(1.5)
        redis_broker.start()
        watch(pools, AFTERMATH)
    stage.wait_until_idle(site, seconds=90)
    found = verdicts.judge(site)
    verdicts.uncounted(site)
    late = verdicts.percentiles([(span.first - span.scheduled_at).total_seconds() for span in found])
    say(f"{RESTARTS} restarts, {len(pools)} workers, none ended; {len(found)} runs, late by {late}")


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_ends_no_worker(
    redis_broker: OwnRedis, site_on: Callable[..., Site], say: Callable[[str], None], answer: str
) -> None:
    """Whatever Redis answers for four seconds, while all is well and just after a restart: no worker ends, and what is
    due runs within 12 s after it.
    """
    site = site_on(redis_broker, DISPATCH_EVERY=1)
    site.environment["LOST_AFTER"] = "3"
    stage.dispatcher(site)
    pools = workers(site)
    stage.arm(site, [(f"held {n}", 40 + n, {}) for n in range(20)])
    for time_of_day in ("well", "just started"):
        wanted = site.rows(_RAN)[0][0] + 10
        with ExitStack() as refusing:
            if time_of_day == "just started":
                redis_broker.stop()
                redis_broker.start()
            refusing.enter_context(REFUSALS[answer](redis_broker.client))
            stage.arm(site, [(f"{time_of_day} {n}", 0, {}) for n in range(10)])
            watch(pools, REFUSED_SECONDS)
        over = time.monotonic()
        site.wait_for_rows(_RAN, seconds=12, until=partial(_reached, wanted))
        say(f"{answer}, {time_of_day}: ten alarms had run {time.monotonic() - over:.1f} s after it was over")
        live(pools)
    verdicts.uncounted(site)
