"""The overview of real processes in trouble, on PostgreSQL and a Redis of its own: it says which, and whose."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SUPERUSER, log_in
from tests.chaos.stage import arm
from tests.support import services
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Process, Site

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.services("postgresql", "redis")]

#: What the page may take until it shows what is so.
WITHIN = 90_000
THREADS = 8


@dataclass
class Running:
    """A site at work, its broker and its dispatcher."""

    site: Site
    broker: OwnRedis
    dispatcher: Process
    address: str


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Web server, a worker of eight threads and a dispatcher."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = f"127.0.0.1:{free.getsockname()[1]}"
    engine = {"DISPATCH_EVERY": 1, "HORIZON": 20}  # a dispatcher is missed after half of that
    with (
        services.fresh_postgresql() as database,
        OwnRedis(tmp_path) as broker,
        Site(tmp_path, database, broker.url, engine=engine) as site,
    ):
        site.migrate().execute(SUPERUSER)
        site.start("web", "-m", "gunicorn", "project.wsgi:application", "--threads", "4", "--bind", at).says(
            "Listening"
        )
        site.worker(pool="threads", concurrency=THREADS)
        yield Running(site, broker, site.dispatcher(), f"http://{at}")
        for process in site.processes:
            process.kill()  # a clean stop waits for what runs


@pytest.fixture
def overview(running: Running, page: Page) -> Page:
    """Its overview, of a superuser, refreshed every 2 s."""
    log_in(page, f"{running.address}/admin/durable_objects/")
    page.get_by_label("Refresh").select_option("2")
    return page


def test_all_threads_are_busy(running: Running, overview: Page) -> None:
    """Eight runs that last, and one more alarm: it is late since no thread is free, and the longest run is shown."""
    arm(running.site, [(f"long{number}", 0, {"pause": 300}) for number in range(THREADS)])
    busy = "SELECT busy FROM durable_objects_process WHERE threads IS NOT NULL"
    running.site.wait_for_rows(busy, seconds=WITHIN / 1000, until=lambda rows: rows == [(THREADS,)])
    overview.reload()  # of itself this panel is renewed once a minute
    expect(overview.locator("#do-processes")).to_contain_text("8 of 8")
    arm(running.site, [("waits", 0, {})])
    first = overview.locator(".do-statement").first
    expect(first).to_contain_text("All 8 threads are busy (8 of 8), the longest for", timeout=WITHIN)
    first.get_by_role("link", name="Show the longest").click()
    expect(overview.locator(".do-head")).to_contain_text("long")


def test_the_broker_refuses(running: Running, overview: Page) -> None:
    """Without a broker the dispatcher goes on making passes, and the page says that nobody takes its wake-ups."""
    running.broker.stop()
    arm(running.site, [("waits", 0, {})])
    expect(overview.locator(".do-statement").first).to_contain_text("The broker has taken no wake-ups", timeout=WITHIN)
