"""An operator flattens a peak and drains what an outage has left, in a browser, on a site with real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SUPERUSER, log_in
from tests.support.site_processes import Site

pytestmark = pytest.mark.browser

#: What the workers may take.
WITHIN = 60_000
MAKE = """
from datetime import timedelta
import durable_objects
from tests.models import {model}
from tests.support.many_alarms import late_alarms
late_alarms({model}, {number}, timedelta(hours={hours}), held={hours} > 0)
"""
LOOK = """
from tests.models import Counter, Grouped
from durable_objects.tables import Alarm
for model in (Counter, Grouped):
    times = sorted(Alarm.objects.filter(kind=model.kind_pk(), due_at__gt="{since}").values_list("due_at", flat=True))
    if times:
        print(model.__name__, len(times), len(set(times)) > 10, round((times[-1] - times[0]).total_seconds()))
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site in one process, web server and worker threads, on SQLite: what it is about runs only once set anew."""
    database = f"sqlite:///{tmp_path / 'site.sqlite3'}"
    with Site(tmp_path, database, "memory://", engine={"DISPATCH_EVERY": 600}) as site:
        yield site


@pytest.fixture
def overview(site: Site, page: Page) -> Callable[[], None]:
    """Opens the overview, as a superuser."""
    address = f"{str(site.up().base_url).rstrip('/')}/admin/durable_objects/"
    site.execute(SUPERUSER)

    def look() -> None:
        # What it shows is kept for a while from the first time on.
        page.goto(address) if page.context.cookies() else log_in(page, address)

    return look


def test_a_peak_is_spread(
    overview: Callable[[], None], page: Page, site: Site, screenshot: Callable[[str], None]
) -> None:
    """The forecast names the worst second, leads to the question, and is flat once a worker has spread it."""
    now = site.execute("import durable_objects; print(durable_objects.now().isoformat())").strip()
    site.execute(MAKE.format(model="Counter", number=300, hours="-0.5"))
    overview()
    expect(page.locator(".do-peak")).to_contain_text("300 in one second")
    screenshot("forecast-peak")
    page.get_by_role("link", name="Spread…").click()
    expect(page.locator("#content")).to_contain_text("Spread 300 alarms")
    page.get_by_label("Over:", exact=True).fill("20m")
    screenshot("spread-question")
    page.get_by_role("button", name="Yes: spread 300").click()
    expect(page.locator(".do-operation")).to_contain_text("300 of 300", timeout=WITHIN)
    expect(page.locator(".do-badge").first).to_have_text("done", timeout=WITHIN)
    screenshot("spread-done")
    (name, number, differ, span) = site.execute(LOOK.format(since=now)).split()
    assert (name, number, differ) == ("Counter", "300", "True")
    assert 1_000 < int(span) <= 1_200


def test_what_an_outage_has_left_is_drained(
    overview: Callable[[], None], page: Page, site: Site, screenshot: Callable[[str], None]
) -> None:
    """The overview leads to the plan: places, rate and age, then exact numbers; it is watched on its page to its end,
    stopped and gone on with, and what is too late is cancelled.
    """
    site.execute(MAKE.format(model="Counter", number=1_200, hours="2"))
    site.execute(MAKE.format(model="Grouped", number=300, hours="48"))
    now = site.execute("import durable_objects; print(durable_objects.now().isoformat())").strip()
    overview()
    page.get_by_role("link", name="Plan how they run…").click()
    expect(page.locator("#content")).to_contain_text("tests.Counter")
    page.get_by_label("Place of tests.Counter").fill("2")
    page.get_by_label("Place of tests.Grouped").fill("1")
    page.get_by_label("Alarms a second").fill("2")
    page.get_by_label("Cancel what is late by more than").fill("1d")
    page.get_by_label("Reason").fill("the bank was down")
    screenshot("outage-form")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator(".do-question")).to_contain_text("alarms at 2 a second, and cancel 300 as too late?")
    screenshot("outage-question")
    page.get_by_role("button", name="Yes: drain").click()
    expect(page.locator(".do-operation")).to_contain_text("Plan")
    rows = page.locator("[aria-label=Plan] tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.last).to_contain_text("done", timeout=WITHIN)
    screenshot("outage-plan")
    (name, number, differ, span) = site.execute(LOOK.format(since=now)).split()
    assert (name, differ) == ("Counter", "True")
    assert 600 < int(number) <= 1_200, "some have run since"
    assert 60 < int(span) <= 610, "at two a second, those aside that ran, or failed, while it was planned"
    overview()
    expect(page.locator("#do-late")).to_contain_text("Nothing is due.")
