"""A second ``manage.py up`` on a database whose first one is at work."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.storm import checker, record, state
from tests.chaos.storm.fleet import SECOND, Fleet
from tests.support.site_processes import Site

pytestmark = pytest.mark.chaos

LEASE = 60.0
#: Longer than a second one takes to start and to send its first wake-ups.
PAUSE = 45.0


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_it_runs_nothing_that_is_running(
    tmp_path: Path, request: pytest.FixtureRequest, say: Callable[[str], None], database: str
) -> None:
    """It refuses or joins: a handler that is outside in the first one does not start again, and nothing is lost."""
    file = tmp_path / "db.sqlite3"
    url = f"sqlite:///{file}" if database == "sqlite" else request.getfixturevalue("postgresql_url")
    engine = {"LEASE": LEASE, "DISPATCH_EVERY": 1, "HISTORY_PER_OBJECT": 1000}
    settings = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "LOST_AFTER": "1", "CHAOS_ROLE": "load"}
    with Site(tmp_path, url, "memory://", engine=engine, **settings) as site:
        fleet = Fleet(site.migrate(), {})
        record.begin(fleet.history, "driver")
        fleet.start("up").ready(60)
        steps = [[0, "set", f"a{n}", 0, {"pause": PAUSE}] for n in range(3)]
        site.execute(f"from tests.chaos.storm.load import follow; follow({steps!r})")
        look = lambda: sum(event["e"] == "out" for event in record.read(fleet.history))  # noqa: E731  of the wait
        site.wait_for("three handlers outside", look, seconds=30, until=lambda seen: seen == 3)
        second = fleet.start(SECOND)
        fleet.leave_alone(SECOND)

        def at_work() -> bool:
            return second.exit_code() is not None or '"address"' in second.text()

        site.wait_for("the second one to work, or to refuse", at_work, seconds=PAUSE - 10)
        ask = partial(state.ask_sqlite, file) if database == "sqlite" else partial(state.ask_postgresql, url)
        end = time.monotonic() + PAUSE + 15
        while ask(state.ARMED) and time.monotonic() < end:
            fleet.note_ended()
            time.sleep(0.2)
        said = f"{'joined' if second.exit_code() is None else 'refused'}: {second.text().strip()[-300:]}"
        time.sleep(1)
        fleet.note_ended()
        found = checker.check(state.evidence(fleet.history, ask))
    say(said)
    assert found == [], said
