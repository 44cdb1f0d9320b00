"""Messages that are lost, doubled, or thrown away in the broker: the rows are the truth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

#: Every third one unlocks, every tenth fails once.
ALARMS = 300


def orders(count: int, over: float, begin: float = 0.0) -> list[tuple[str, float, dict[str, Any]]]:
    """So many alarms, spread over so many seconds."""
    plans: list[dict[str, Any]] = [{}, {}, {"pause": 0.05}]
    return [
        (f"w{n}", begin + over * n / count, plans[n % 3] | ({"fail": 1} if n % 10 == 9 else {})) for n in range(count)
    ]


def lateness(found: list[verdicts.Span]) -> str:
    """Of the runs that ended well against the time that was asked for, retries left out."""
    return verdicts.percentiles([(span.first - span.scheduled_at).total_seconds() for span in found if span.done])


def all_ran_once(site: Site, count: int) -> list[verdicts.Span]:
    """Each alarm succeeded once; those that fail once failed once; nothing was early or overlapped."""
    found = verdicts.judge(site)
    assert sum(span.done for span in found) == count
    outcomes = "SELECT outcome, count(*), max(retry_count) FROM durable_objects_alarmrun GROUP BY 1 ORDER BY 1"
    assert site.rows(outcomes) == [("failed", count // 10, 0), ("succeeded", count, 1)]
    return found


def test_each_message_twice(broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None]) -> None:
    """Every message delivered twice: each alarm runs once, none early, no overlap, no retry counted twice."""
    site = site_on(broker, DISPATCH_EVERY=2)
    stage.dispatcher(site, DELIVER="2")
    site.worker("one", DELIVER="2")
    site.worker("two", DELIVER="2")
    site.environment["DELIVER"] = "2"
    stage.arm(site, orders(ALARMS, over=5, begin=2))
    stage.wait_until_idle(site, seconds=90)
    say(f"late by {lateness(all_ran_once(site, ALARMS))}")


def test_messages_lost(broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None]) -> None:
    """All that callers and workers send is lost, and the dispatcher's first for each alarm: the same results."""
    site = site_on(broker, DISPATCH_EVERY=2)
    stage.dispatcher(site, DELIVER="second")
    site.worker("one", DELIVER="0")
    site.environment["DELIVER"] = "0"
    stage.arm(site, orders(ALARMS, over=5, begin=2))
    stage.wait_until_idle(site, seconds=240)
    say(f"late by {lateness(all_ran_once(site, ALARMS))}")


def test_broker_emptied(broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None]) -> None:
    """The broker is emptied three times while 1,000 alarms are pending: all run, none early, no two overlap."""
    site = site_on(broker, DISPATCH_EVERY=2)
    stage.dispatcher(site)
    site.worker("one")
    site.worker("two")
    began = stage.arm(site, orders(1000, over=15, begin=10))
    assert (stage.database_now(site) - began).total_seconds() < 10, "arming took longer than planned"
    for at in (8, 14, 20):
        stage.wait_for_clock(site, began + timedelta(seconds=at))
        broker.empty()
    stage.wait_until_idle(site, seconds=120)
    say(f"late by {lateness(all_ran_once(site, 1000))}")
