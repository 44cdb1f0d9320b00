"""Handlers that take too long, or take their worker down."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

#: ``Hasty`` has 2 s; the watchdog looks 5 s after that, and once a second.
SECONDS_TO_NOTICE = 12.0

_FIRST = """
    SELECT name, outcome, extract(epoch FROM ended_at - started_at)::float, error
    FROM durable_objects_alarmrun run JOIN durable_objects_object ON object_id = durable_objects_object.id
    WHERE retry_count = 0 AND outcome <> 'superseded' ORDER BY name
"""
_CALM_DOWN = """
from tests.models import Hasty
for name in {names!r}:
    Hasty.objects.get_by_name(name).storage.put("plan", {{}})
"""


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_run_over_its_time_counts_as_failed_and_its_object_is_free(
    redis_broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None], pool: str
) -> None:
    """Too long with the lock or without, by little or for good: failed once, free again, the retry succeeds."""
    site = site_on(redis_broker, LEASE=5, DISPATCH_EVERY=1)
    stage.dispatcher(site)
    site.worker(pool=pool, concurrency=8)
    plans = {f"{what} {seconds}": {what: seconds} for what in ("hang", "pause", "query") for seconds in (3, 30)}
    stage.arm(site, [(name, 0, plan) for name, plan in plans.items()], kind="Hasty")
    failed = site.wait_for_rows(_FIRST, seconds=SECONDS_TO_NOTICE, until=lambda rows: len(rows) == len(plans))
    site.execute(_CALM_DOWN.format(names=list(plans)))
    assert [(name, outcome) for name, outcome, _, _ in failed] == [(name, "failed") for name in sorted(plans)]
    assert all("TimeLimitExceeded" in error or "statement timeout" in error for *_, error in failed), failed
    say(", ".join(f"{name}: failed after {seconds:.1f} s" for name, _, seconds, _ in failed))
    stage.wait_until_idle(site, seconds=40)
    outcomes = (
        "SELECT outcome, count(*) FROM durable_objects_alarmrun WHERE outcome <> 'superseded' GROUP BY 1 ORDER BY 1"
    )
    assert site.rows(outcomes)[-1] == ("succeeded", len(plans))
    assert site.rows("SELECT object_id FROM durable_objects_alarmrun WHERE outcome = 'dead'") == []


def test_what_takes_its_worker_down_each_time_ends_as_dead(
    redis_broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None]
) -> None:
    """A handler that kills its worker is started ten times that count, then dead with that reason; others still run."""
    site = site_on(redis_broker, LEASE=1, DISPATCH_EVERY=1)
    site.environment["LOST_AFTER"] = "1"
    stage.dispatcher(site)
    site.worker(concurrency=2)
    stage.arm(site, [("locked", 0, {"kill": True}), ("unlocked", 0, {"kill": True, "pause": 1}), ("sound", 20, {})])
    dead = "SELECT last_error FROM durable_objects_alarm WHERE state = 'dead'"
    errors = site.wait_for_rows(dead, seconds=120, until=lambda rows: len(rows) == 2)
    assert all("took its worker down 10 times" in error for (error,) in errors)
    stage.wait_until_idle(site, seconds=30)
    assert site.rows("SELECT count(*) FROM durable_objects_alarmrun WHERE outcome = 'succeeded'") == [(1,)]
    starts = site.rows("SELECT count(*) FROM tests_moment WHERE what = 'unlocked'")
    say(f"the one that unlocks was started {starts[0][0]} times")


def test_waiting_in_a_long_queue_counts_nothing(
    redis_broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None]
) -> None:
    """Forty alarms due at once, one slow slot: wake-ups count as lost and come twice, but nothing else counts."""
    site = site_on(redis_broker, LEASE=3, DISPATCH_EVERY=1)
    site.environment["LOST_AFTER"] = "2"
    stage.dispatcher(site)
    site.worker(concurrency=1)
    stage.arm(site, [(f"w{n}", 0, {"hang": 0.5}) for n in range(40)])
    stage.wait_until_idle(site, seconds=90)
    found = verdicts.judge(site)
    assert len(found) == 40
    verdicts.uncounted(site)
    say(f"late by {verdicts.percentiles([(span.first - span.scheduled_at).total_seconds() for span in found])}")


def test_a_class_unknown_to_the_worker_waits_for_one_that_knows_it(
    redis_broker: stage.Broker, site_on: Callable[..., Site]
) -> None:
    """A worker that does not know the class counts nothing and rings later; another one then runs it."""
    site = site_on(redis_broker, DISPATCH_EVERY=1)
    stage.dispatcher(site)
    old = site.worker("old", DJANGO_SETTINGS_MODULE="project.settings")
    stage.arm(site, [("a", 0, {}), ("b", 1, {"pause": 0.1})])
    old.says("is of a class that this code does not know", seconds=20)
    assert site.rows("SELECT state, retry_count, crashed_starts FROM durable_objects_alarm") == [("armed", 0, 0)] * 2
    site.worker("new")
    old.stop()
    stage.wait_until_idle(site, seconds=40)
    assert len(verdicts.judge(site)) == 2
    verdicts.uncounted(site)
