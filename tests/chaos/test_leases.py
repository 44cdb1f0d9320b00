"""Leases that must not run out while their worker is well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

_PAUSING = "SELECT witness FROM tests_moment WHERE what = 'unlocked'"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_lease_outlives_its_first_span(redis_broker: stage.Broker, site_on: Callable[..., Site], pool: str) -> None:
    """A handler that stays unlocked for three leases is not run a second time: the heartbeat renews."""
    site = site_on(redis_broker, LEASE=2, DISPATCH_EVERY=1)
    stage.dispatcher(site)
    site.worker(pool=pool, concurrency=4)
    stage.arm(site, [(f"w{n}", 0, {"pause": 6}) for n in range(4)])
    stage.wait_until_idle(site, seconds=30)
    assert len(verdicts.judge(site)) == 4
    verdicts.uncounted(site)


def test_a_long_transaction_elsewhere_costs_no_other_lease(
    redis_broker: stage.Broker, site_on: Callable[..., Site]
) -> None:
    """Somebody keeps one alarm's row locked for three leases: the other runs of that worker keep theirs."""
    site = site_on(redis_broker, LEASE=2, DISPATCH_EVERY=1)
    stage.dispatcher(site)
    site.worker(pool="threads", concurrency=10)
    stage.arm(site, [(f"w{n}", 0, {"pause": 8}) for n in range(4)])
    pausing = site.wait_for_rows(_PAUSING, seconds=20, until=lambda rows: len(rows) == 4)
    blocked = pausing[0][0]
    with psycopg.connect(site.database_url) as connection:
        locked = "SELECT clock_timestamp() FROM durable_objects_alarm WHERE object_id = %s FOR UPDATE"
        began = connection.execute(locked, [blocked]).fetchone()
        assert began is not None
        stage.wait_for_clock(site, began[0] + timedelta(seconds=6))
    stage.wait_until_idle(site, seconds=40)
    found = verdicts.judge(site, paused=True)
    assert [span for span in found if span.witness != blocked and not span.done] == []
    assert len([span for span in found if span.witness != blocked]) == 3
