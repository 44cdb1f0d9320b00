"""A worker on a host of its own that is cut off: no answer, no reset, and both sides believe in their connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.chaos import stage, verdicts
from tests.chaos.host import LINKS, Host
from tests.chaos.own_postgres import OwnPostgres
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Process, Site

pytestmark = pytest.mark.chaos

HANG = 8.0
#: How long the object of a worker that is cut off in the middle of a turn may stay locked.
FREE_WITHIN = 60.0
#: How soon a worker that is reached again runs alarms again.
BACK_WITHIN = 30.0

_HOLDING = "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%%tests_moment%%'"
_RAN = "SELECT 1 FROM durable_objects_alarmrun WHERE outcome = 'succeeded'"


@contextmanager
def split(folder: Path) -> Iterator[tuple[Site, Host, Process]]:
    """A site with a dispatcher, and a worker that is alone on its host."""
    with ExitStack() as stack:
        host = stack.enter_context(Host())
        postgres = stack.enter_context(OwnPostgres(host.gateway["database"]))
        redis = stack.enter_context(OwnRedis(folder, host.gateway["broker"]))
        host.reaches(postgres.url, redis.url, upstream_port=9, batcher="{}")
        settings = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "LOST_AFTER": "3"}
        site = stack.enter_context(Site(folder, postgres.url, redis.url, engine={"DISPATCH_EVERY": 1}, **settings))
        site.migrate()
        stage.dispatcher(site)
        command = [
            "-m",
            "celery",
            "-A",
            "project",
            "worker",
            "-n",
            "away@%h",
            "--pool",
            "threads",
            "--loglevel",
            "INFO",
        ]
        away = site.start("away", *host.inside(command), **host.environment)
        yield site, host, away.says(" ready.", seconds=60)


@pytest.mark.parametrize("links", [("database",), LINKS], ids=["database", "all"])
def test_who_is_cut_off_in_a_turn_loses_its_object(
    tmp_path: Path, say: Callable[[str], None], links: tuple[str, ...]
) -> None:
    """Cut off with the object locked: another worker runs its alarm within a minute, and nothing is counted; reached
    again, the first one lives and works.
    """
    with split(tmp_path) as (site, host, away):
        stage.arm(site, [("a", 0, {"hang": HANG})])
        site.wait_for_rows(_HOLDING, seconds=30)
        with host.cut(*links):
            cut = time.monotonic()
            here = site.worker("here", pool="threads")
            site.wait_for_rows(_RAN, seconds=FREE_WITHIN + HANG + 5)
            free = time.monotonic() - cut - HANG
            here.stop()
        healed = time.monotonic()
        stage.arm(site, [("b", 0, {})])
        site.wait_for_rows(_RAN + " AND object_id > 1", seconds=BACK_WITHIN)
        say(f"free after {free:.0f} s; works again {time.monotonic() - healed:.0f} s after it is reached")
        assert away.exit_code() is None
        assert free < FREE_WITHIN
        verdicts.judge(site, once=False, paused=True)
        verdicts.uncounted(site)


@pytest.mark.parametrize("direction", ["out", "back"])
def test_a_partition_of_one_way_delays_and_loses_nothing(
    tmp_path: Path, say: Callable[[str], None], direction: str
) -> None:
    """What one side sends is lost for fifteen seconds: a worker elsewhere runs all that is due, and none is counted."""
    with split(tmp_path) as (site, host, away):
        site.worker("here", pool="threads")
        stage.arm(site, [(f"w{n}", n / 2, {"pause": 0.1} if n % 2 else {}) for n in range(60)])
        time.sleep(5)  # some of it while all is well
        with host.cut(*LINKS, directions=(direction,)):
            time.sleep(15)
        stage.wait_until_idle(site, seconds=90)
        found = verdicts.judge(site, paused=True)
        verdicts.uncounted(site)
        late = verdicts.percentiles([(span.first - span.scheduled_at).total_seconds() for span in found])
        say(f"{direction}: late by {late}")
        assert away.exit_code() is None
