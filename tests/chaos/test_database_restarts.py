"""PostgreSQL goes away and comes back under load."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.chaos import stage, verdicts
from tests.chaos.own_postgres import OwnPostgres
from tests.support.site_processes import Process, Site
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.chaos

RESTARTS = ["fast", "immediate", "fast", "immediate", "fast"]
SECONDS_AWAY = 2.0
SECONDS_TO_RECOVER = 10.0
WINDOW = 6.0
#: Objects that run every second: the load whose rate is measured.
PERIODIC = 20


def rate(site: Site, items: Callable[[], int]) -> tuple[float, float]:
    """Runs of the periodic objects, and accepted items, per second over the window that begins now."""
    began, had = stage.database_now(site), items()
    time.sleep(WINDOW)  # what is measured is what happens in it
    ended, have = stage.database_now(site), items()
    seconds = (ended - began).total_seconds()
    done = "SELECT count(*) FROM tests_moment WHERE what = 'done' AND at > %s AND at <= %s"
    return site.rows(done, began, ended)[0][0] / seconds, (have - had) / seconds


def test_five_restarts_under_load(
    redis_broker: stage.Broker, site_on: Callable[..., Site], upstream: Upstream, say: Callable[[str], None]
) -> None:
    """Stopped five times: no accepted item is lost or doubled, and 10 s after each the rate is what it was."""
    with OwnPostgres() as postgres:
        site = site_on(redis_broker, postgres.url, LEASE=10, DISPATCH_EVERY=2)
        upstream.default = replace(Answer(), delay=0.1)
        stage.dispatcher(site)
        workers: list[Process] = [site.worker("prefork", concurrency=3), site.worker("threads", pool="threads")]
        stage.arm(site, [(f"p{n}", 1, {"again": 1} | ({"pause": 0.05} if n % 2 else {})) for n in range(PERIODIC)])
        feeder = stage.feeder(site, url=upstream.url, batchers=5, items=20, witnesses=0, plan={})
        items = lambda: len(stage.accepted(site))  # noqa: E731  a name for what is asked twice per window
        before = rate(site, items)
        rates = []
        for mode in RESTARTS:
            postgres.stop(mode)
            time.sleep(SECONDS_AWAY)
            postgres.start()
            time.sleep(SECONDS_TO_RECOVER)
            rates.append(rate(site, items))
        say(f"runs/s, items/s: {before} before; after each: {rates}")
        feeder.stop()
        _calm_down(site)
        stage.wait_until_idle(site, seconds=60)
        assert [worker.exit_code() for worker in workers] == [None, None]
        say(verdicts.delivered(upstream.received, stage.accepted(site)))
        verdicts.judge(site, once=False)
        verdicts.uncounted(site)
        # One of 20 in six seconds may fall on either side of a window's edge.
        slack = 1 - 1 / WINDOW / 2
        assert all(runs >= before[0] * slack and added >= before[1] * slack for runs, added in rates)


def test_beat_and_its_passes_survive_a_restart(redis_broker: stage.Broker, site_on: Callable[..., Site]) -> None:
    """A worker that only dispatches, for beat, goes on after a restart: lost wake-ups are made up for as before."""
    with OwnPostgres() as postgres:
        site = site_on(redis_broker, postgres.url, DISPATCH_EVERY=1)
        site.environment["LOST_AFTER"] = "1"
        site.beat()
        site.worker("alarms", "-Q", "alarms", DELIVER="0")
        site.worker("dispatch", "-Q", "dispatch", concurrency=1)
        site.environment["DELIVER"] = "0"
        for mode in ("immediate", "fast"):
            stage.arm(site, [(f"{mode} {n}", 0, {}) for n in range(20)])
            stage.wait_until_idle(site, seconds=20)
            postgres.stop(mode)
            time.sleep(SECONDS_AWAY)
            postgres.start()
        stage.arm(site, [(f"last {n}", 0, {}) for n in range(20)])
        stage.wait_until_idle(site, seconds=20)
        assert len(verdicts.judge(site)) == 60
        verdicts.uncounted(site)


def test_restart_of_a_moment_costs_a_moment(redis_broker: stage.Broker, site_on: Callable[..., Site]) -> None:
    """What was due meanwhile has run within 7 s, though a wake-up counts as lost after 10 s only."""
    with OwnPostgres() as postgres:
        site = site_on(redis_broker, postgres.url)
        stage.dispatcher(site)
        site.worker("worker", concurrency=2)
        stage.arm(site, [(f"soon {n}", 1 + n / 40, {}) for n in range(160)])
        time.sleep(2.5)
        postgres.stop("immediate")
        time.sleep(0.5)
        postgres.start()
        overdue = "SELECT count(*) FROM durable_objects_alarm WHERE wake_at <= now() - interval '1 second'"
        site.wait_for_rows(overdue, seconds=7, until=lambda rows: rows[0][0] == 0)
        stage.wait_until_idle(site, seconds=20)
        assert len(verdicts.judge(site)) == 160
        verdicts.uncounted(site)


def _calm_down(site: Site) -> None:
    names = [f"p{n}" for n in range(PERIODIC)]
    site.execute(
        "from tests.models import Witness\n"
        f"for name in {names!r}: Witness.objects.get_by_name(name).storage.put('plan', {{}})",
        seconds=timedelta(minutes=1).total_seconds(),
    )
