"""Workers that are asked to end while they work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

STOPS = 3


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_sigterm_finishes_or_gives_back(
    broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None], pool: str
) -> None:
    """SIGTERM under load: ends with 0, no run is cut off, no retry burnt, what was not begun runs elsewhere."""
    site = site_on(broker, LEASE=10, DISPATCH_EVERY=2)
    stage.dispatcher(site)
    worker = site.worker("worker0", pool=pool, concurrency=4)
    stage.arm(site, [(f"w{n}", 12 * n / 60, {"pause": 0.5} if n % 2 else {"hang": 0.5}) for n in range(60)])
    seconds = []
    for number in range(STOPS):
        time.sleep(random.uniform(0.5, 2))  # a random point
        following = site.worker(f"worker{number + 1}", pool=pool, concurrency=4)
        began = time.monotonic()
        assert worker.stop(30) == 0
        seconds.append(time.monotonic() - began)
        worker = following
    stage.wait_until_idle(site, seconds=60)
    found = verdicts.judge(site)
    assert [span for span in found if not span.done] == []
    assert len(found) == 60
    verdicts.uncounted(site)
    late = verdicts.percentiles([(span.first - span.scheduled_at).total_seconds() for span in found])
    say(f"ended after {verdicts.percentiles(seconds)}; late by {late}")
