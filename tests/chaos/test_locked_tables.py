"""Tables of the engine that somebody has locked for longer than anybody waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest

from tests.chaos import stage, verdicts
from tests.chaos.storm.database_faults import TABLES
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

#: CHAOS_LOCKED_SECONDS=245 for what used to kill alarms.
SECONDS = float(os.environ.get("CHAOS_LOCKED_SECONDS") or "20")

_CALL = """
from datetime import timedelta
from durable_objects import ObjectBusy
from tests.models import Witness
try:
    Witness.objects.get_by_name("caller").wake_at(timedelta(0))
    print("done")
except ObjectBusy:
    print("busy")
"""


@pytest.mark.parametrize("table", TABLES)
def test_a_lock_on_a_table_burns_no_retry(
    redis_broker: OwnRedis, site_on: Callable[..., Site], say: Callable[[str], None], table: LiteralString
) -> None:
    """ACCESS EXCLUSIVE for 20 s, as a rewrite takes it: callers are told ObjectBusy, no failure is counted, all run."""
    site = site_on(redis_broker, DISPATCH_EVERY=1)
    site.environment["LOST_AFTER"] = "3"
    stage.dispatcher(site)
    site.worker(pool="threads", concurrency=8)
    began = stage.arm(site, [(f"w{n}", 4 + n / 5, {"pause": 0.1} if n % 2 else {}) for n in range(30)])
    stage.wait_for_clock(site, began + timedelta(seconds=5))
    with psycopg.connect(site.database_url) as connection:
        connection.execute(f"LOCK TABLE durable_objects_{table} IN ACCESS EXCLUSIVE MODE")
        told = site.execute(_CALL, seconds=60).strip()
        stage.wait_for_clock(site, began + timedelta(seconds=5 + SECONDS))
    stage.wait_until_idle(site, seconds=90)
    say(f"{table}: a caller was told {told!r}")
    assert told == ("done" if table == "alarmrun" else "busy")  # callers have nothing to do with the history
    verdicts.uncounted(site)
    verdicts.judge(site, paused=True)
