"""What the dispatcher alone can ring for, beside more on their way than it may send; and a night without workers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.chaos import stage, verdicts
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

MAX_OUT = 10
#: Far more than may be out, each due within the horizon at any time, and set again when it runs.
MANY, AHEAD = 60, 8
HORIZON = 15
WITHIN = 12.0

OVERDUE = 200
#: How often a wake-up may be sent for an alarm that nobody takes.
MESSAGES_PER_ALARM = 3

_RAN = """
    SELECT o.name, extract(epoch FROM min(m.at) - min(m.scheduled_at))::float
    FROM tests_moment m JOIN durable_objects_object o ON o.id = m.witness
    WHERE m.what = 'done' AND o.name IN ('far', 'lost') GROUP BY o.name ORDER BY o.name
"""


def test_many_on_their_way_keep_no_other_waiting(
    redis_broker: OwnRedis, site_on: Callable[..., Site], say: Callable[[str], None]
) -> None:
    """With MAX_OUT alarms and more on their way for ever, a far one and one whose message got lost run in time."""
    site = site_on(redis_broker, DISPATCH_EVERY=1, MAX_OUT=MAX_OUT, HORIZON=HORIZON)
    site.environment["LOST_AFTER"] = "3"
    site.worker(pool="threads", concurrency=8)
    stage.dispatcher(site)
    stage.arm(site, [(f"many {n}", 1 + AHEAD * n / MANY, {"again": AHEAD}) for n in range(MANY)])
    stage.arm(site, [("far", HORIZON + 8, {})])
    site.environment["DELIVER"] = "0"  # the message of this one is lost on its way
    stage.arm(site, [("lost", 5, {})])
    began = time.monotonic()
    ran = site.wait_for_rows(_RAN, seconds=HORIZON + 8 + WITHIN, until=lambda rows: len(rows) == 2)
    say(f"after {time.monotonic() - began:.0f} s: late by {dict(ran)} s")
    assert all(late < WITHIN for _, late in ran), ran
    verdicts.uncounted(site)


def test_a_night_without_workers_fills_no_broker(
    redis_broker: OwnRedis, site_on: Callable[..., Site], say: Callable[[str], None]
) -> None:
    """200 overdue alarms, no worker for sixty times as long as a wake-up counts as lost after: a fixed number each."""
    site = site_on(redis_broker, DISPATCH_EVERY=1)
    site.environment["LOST_AFTER"] = "0.5"
    stage.arm(site, [(f"w{n}", 0, {}) for n in range(OVERDUE)])
    stage.dispatcher(site)
    waiting: list[int] = []
    for _ in range(6):
        time.sleep(5)  # the night
        waiting.append(int(redis_broker.client.llen("alarms")))
    say(f"{OVERDUE} alarms, messages in the broker every 5 s: {waiting}")
    assert waiting[-1] <= MESSAGES_PER_ALARM * OVERDUE
    site.worker(pool="threads", concurrency=8)
    stage.wait_until_idle(site, seconds=60)
    assert len(verdicts.judge(site)) == OVERDUE
    verdicts.uncounted(site)
