"""The overview of a real site in a browser: it is kept up to date, and says when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SUPERUSER, log_in
from tests.chaos.stage import arm
from tests.support.site_processes import Process, Site

pytestmark = pytest.mark.browser

#: What the page may take until it shows what is so.
WITHIN = 40_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site in one process: web server, eight worker threads and the dispatcher, on SQLite."""
    database = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    with Site(tmp_path, database, "memory://", engine={"DISPATCH_EVERY": 1}) as site:
        yield site


@pytest.fixture
def overview(site: Site, page: Page) -> Page:
    """Its overview, of a superuser, refreshed every 2 s."""
    address = str(site.up().base_url).rstrip("/")
    site.execute(SUPERUSER)
    log_in(page, f"{address}/admin/durable_objects/")
    page.get_by_label("Refresh").select_option("2")
    return page


def of(site: Site) -> Process:
    """The process of the site."""
    return next(process for process in site.processes if process.name == "up")


def test_it_says_that_the_server_does_not_answer(overview: Page, site: Site) -> None:
    """A server that is silent is told within seconds, and the page goes on by itself once it answers again."""
    trouble = overview.get_by_role("status")
    expect(overview.locator("[data-refreshed]")).to_contain_text("Refreshed")
    of(site).freeze()
    expect(trouble).to_contain_text("The server has not answered for", timeout=WITHIN)
    of(site).thaw()
    expect(trouble).to_be_empty(timeout=WITHIN)


def test_what_is_open_or_marked_is_left_alone(overview: Page, site: Site) -> None:
    """A part in which the reader marked something is not replaced; the choice of how often is kept; off is off."""
    figure = overview.locator("#do-tiles .do-tile", has_text="Next hour").locator(".do-figure")
    expect(figure).to_have_text("0")
    figure.select_text()
    arm(site, [("soon", 600, {})])
    expect(overview.locator("#do-late")).to_contain_text("Nothing is due.")
    overview.wait_for_timeout(5_000)
    expect(figure).to_have_text("0")
    overview.evaluate("getSelection().removeAllRanges()")
    expect(figure).to_have_text("1", timeout=WITHIN)
    overview.get_by_label("Refresh").select_option("off")
    arm(site, [("soon too", 600, {})])
    overview.wait_for_timeout(5_000)
    expect(figure).to_have_text("1")
    overview.reload()
    expect(figure).to_have_text("2")
    expect(overview.get_by_label("Refresh")).to_have_value("0")
