"""Limits of classes on real workers: two of them, with more threads than may run, and a dispatcher."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import LiteralString

import pytest

from tests.brokers.conftest import own_broker
from tests.chaos.stage import arm, database_now
from tests.models import Few, Paced
from tests.support import services
from tests.support.site_processes import Site

#: Short, so that what a killed worker had is free again soon.
LEASE, DISPATCH_EVERY = 4, 1
WITHIN = 60.0
BROKERS = [
    pytest.param("redis", marks=pytest.mark.services("postgresql", "redis")),
    pytest.param("rabbitmq", marks=[pytest.mark.services("postgresql", "rabbitmq"), pytest.mark.chaos]),
]
pytestmark = pytest.mark.parametrize("site", BROKERS, indirect=True, scope="module")

SPANS: LiteralString = """
    SELECT o.name, min(m.at), max(m.at), bool_or(m.what = 'done')
    FROM tests_moment m JOIN durable_objects_object o ON o.id = m.witness
    WHERE o.name LIKE %s GROUP BY o.name, m.run ORDER BY min(m.at)
"""
DONE: LiteralString = """
    SELECT count(*) FROM tests_moment m JOIN durable_objects_object o ON o.id = m.witness
    WHERE o.name LIKE %s AND m.what = 'done'
"""
RUNNING: LiteralString = "SELECT count(*) FROM tests_moment WHERE what = 'unlocked'"

Spans = list[tuple[str, datetime, datetime, bool]]


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A migrated site with two workers of eight threads each and a dispatcher, on a broker of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        database = stack.enter_context(services.fresh_postgresql())
        broker = stack.enter_context(own_broker(request.param, folder))
        engine = {"DISPATCH_EVERY": DISPATCH_EVERY, "LEASE": LEASE}
        site = stack.enter_context(Site(folder, database, broker.url, engine=engine)).migrate()
        site.worker("one", pool="threads", concurrency=8)
        site.worker("two", pool="threads", concurrency=8)
        site.dispatcher()
        yield site
        for process in site.processes:
            process.kill()  # a clean stop takes seconds


def spans(site: Site, name: str, number: int) -> Spans:
    """From when to when each run went, once so many are done."""
    site.wait_for_rows(DONE, f"{name}%", seconds=WITHIN, until=lambda rows: rows[0][0] >= number)
    return [(str(row[0]), row[1], row[2], bool(row[3])) for row in site.rows(SPANS, f"{name}%")]


def most_at_once(found: Spans) -> int:
    """How many went at the same time at most."""
    edges = sorted([(first, 1) for _, first, _, _ in found] + [(last, -1) for _, _, last, _ in found])
    going = most = 0
    for _, step in edges:
        going += step
        most = max(most, going)
    return most


def most_in_a_second(found: Spans) -> int:
    """How many began within one second at most, whenever it begins."""
    begins = [first for _, first, _, _ in found]
    return max(bisect_left(begins, at + timedelta(seconds=1)) - number for number, at in enumerate(begins))


def test_never_more_run_at_a_time(site: Site) -> None:
    """30 runs of half a second, locked and unlocked: three at a time, never four, and close to what three can do."""
    orders = [(f"few{n}", 0.0, {"pause" if n % 2 else "hang": 0.5}) for n in range(30)]
    arm(site, orders, kind="Few")
    found = spans(site, "few", 30)
    assert len(found) == 30
    assert most_at_once(found) == Few.alarm_concurrency
    took = (max(last for _, _, last, _ in found) - found[0][1]).total_seconds()
    assert took < 2 * 30 * 0.5 / 3, "half as fast as can be, on a machine that does other things"


def test_never_more_start_in_a_second(site: Site) -> None:
    """60 alarms at eight a second: no second has more than nine starts, one beyond the rate by what lies between a
    place and its handler; and they are through in little more than the time that the rate takes.
    """
    arm(site, [(f"paced{n}", 0.0, {}) for n in range(60)], kind="Paced")
    found = spans(site, "paced", 60)
    assert len(found) == 60
    assert most_in_a_second(found) <= Paced.alarm_rate + 1
    took = (found[-1][1] - found[0][1]).total_seconds()
    assert 59 / 8 - 0.2 < took < 1.5 * 60 / 8


def test_a_killed_worker_frees_its_places_after_the_lease(site: Site) -> None:
    """Three runs are cut off by kill -9; once their leases are over others run, three at a time, and they again."""
    site.rows("DELETE FROM tests_moment")
    arm(site, [(f"cut{n}", 0.0, {"pause": 2.5}) for n in range(7)], kind="Few")
    site.wait_for_rows(RUNNING, seconds=WITHIN, until=lambda rows: rows[0][0] >= 3)
    killed = database_now(site)
    for process in site.processes:
        if process.name in {"one", "two"}:
            process.kill()
    site.worker("three", pool="threads", concurrency=8)
    found = spans(site, "cut", 7)
    after = [span for span in found if span[1] > killed]
    assert LEASE / 2 < (after[0][1] - killed).total_seconds() < LEASE + 10 * DISPATCH_EVERY
    assert most_at_once(after) == 3
    assert len({name for name, _, _, done in found if done}) == 7
