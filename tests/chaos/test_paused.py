"""A worker that is stopped past its lease and goes on later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

_UNLOCKED = "SELECT run FROM tests_moment WHERE what = 'unlocked'"
_RUNS = "SELECT outcome FROM durable_objects_alarmrun WHERE outcome = %s"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_was_stopped_past_its_lease_is_refused(
    broker: stage.Broker, site_on: Callable[..., Site], pool: str
) -> None:
    """SIGSTOP past the lease, SIGCONT: another worker ran it, the stale run is superseded and leaves nothing inside."""
    site = site_on(broker, LEASE=3, DISPATCH_EVERY=1)
    stage.dispatcher(site)
    first = site.worker("first", pool=pool)
    stage.arm(site, [("a", 0, {"pause": 2})])
    stale = site.wait_for_rows(_UNLOCKED, seconds=20)[0][0]
    first.freeze()
    site.worker("second", pool=pool)
    site.wait_for_rows(_RUNS, "succeeded", seconds=40)
    first.thaw()
    site.wait_for_rows(_RUNS, "superseded", seconds=20)

    one, other = verdicts.judge(site, paused=True)
    assert one.run == stale
    assert (one.done, one.last < other.first, other.done) == (False, True, True)
    stored = site.rows("SELECT value FROM durable_objects_entry WHERE key = 'runs'")
    assert stored == [("1",)]
    verdicts.uncounted(site)


def test_a_worker_that_is_stopped_with_the_lock_loses_it(
    redis_broker: stage.Broker, site_on: Callable[..., Site]
) -> None:
    """SIGSTOP inside a turn: the server frees the object after the class's time limit, and nothing counts twice."""
    site = site_on(redis_broker, LEASE=3, DISPATCH_EVERY=1)
    stage.dispatcher(site)
    first = site.worker("first")
    stage.arm(site, [("a", 0, {"hang": 1.5})], kind="Hasty")
    holding = "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%%tests_moment%%'"
    site.wait_for_rows(holding, seconds=20)
    first.freeze()
    site.worker("second")
    site.wait_for_rows(_RUNS, "succeeded", seconds=40)
    first.thaw()
    stage.wait_until_idle(site, seconds=20)
    first.stop()
    assert [span.done for span in verdicts.judge(site)] == [True]
    verdicts.uncounted(site)
