"""A class is paused and drained under load, on real workers: nothing of it starts until it is resumed."""

from __future__ import annotations

import json
import time
from typing import Any, LiteralString

import pytest

from tests.brokers.conftest import Running
from tests.chaos.stage import arm, database_now

pytestmark = [
    pytest.mark.parametrize("running", [("redis", "threads")], indirect=True, scope="module", ids=["redis"]),
    pytest.mark.services("postgresql", "redis"),
]

STARTED: LiteralString = "SELECT count(*) FROM tests_moment WHERE what = 'locked'"
STARTED_BETWEEN: LiteralString = "SELECT count(*) FROM tests_moment WHERE what = 'locked' AND at BETWEEN %s AND %s"
ENDED_AFTER: LiteralString = "SELECT count(*) FROM tests_moment WHERE at > %s"
DONE: LiteralString = "SELECT count(*) FROM tests_moment WHERE what = 'done'"
ONCE: LiteralString = "SELECT count(DISTINCT witness), count(*) FROM tests_moment WHERE what = 'done'"


def test_nothing_starts_between_drain_and_resume(running: Running) -> None:
    """120 alarms within 24 s, locked, unlocked, retried: a pause in the middle cuts none off and lets none start."""
    site = running.site
    site.dispatcher()
    plans: list[dict[str, Any]] = [{"pause": 0.4}, {"hang": 0.2}, {}, {"fail": 1}]
    arm(site, [(f"w{n}", n / 5, plans[n % 4]) for n in range(120)])
    site.wait_for_rows(STARTED, seconds=30, until=lambda rows: rows[0][0] >= 20)

    site.manage("alarms", "pause", "tests.Witness", "--reason", "new columns", "--by", "ada")
    assert json.loads(site.manage("alarms", "drain", "tests.Witness", "--within", "30", "--json"))["drained"]
    drained = database_now(site)
    time.sleep(4)  # more come due, and the retries that were on their way
    resumed = database_now(site)
    assert site.rows(STARTED_BETWEEN, drained, resumed)[0][0] == 0
    assert site.rows(ENDED_AFTER, drained)[0][0] == 0, "and nothing that had started went on"
    assert site.rows(STARTED)[0][0] < 120
    assert "wait for the end of a pause" in site.manage("alarms", "pauses")

    site.manage("alarms", "resume", "tests.Witness")
    site.wait_for_rows(DONE, seconds=60, until=lambda rows: rows[0][0] >= 120)
    assert site.rows(ONCE) == [(120, 120)]
