"""What the overview knows of real workers and dispatchers, by the rows that they keep."""

from __future__ import annotations

import signal
from typing import LiteralString

import pytest

from tests.brokers.conftest import Running
from tests.chaos.stage import arm

POOLS = [
    pytest.param(("redis", "threads"), id="threads", marks=pytest.mark.chaos),
    pytest.param(("redis", "prefork"), id="prefork"),
]
pytestmark = [
    pytest.mark.parametrize("running", POOLS, indirect=True, scope="module"),
    pytest.mark.services("postgresql", "redis"),
]

WORKERS: LiteralString = """
    SELECT threads, busy, busy_with IS NOT NULL, taken_a_minute > 0, ended_at IS NOT NULL
    FROM durable_objects_process WHERE threads IS NOT NULL"""
DISPATCHERS: LiteralString = (
    "SELECT p.code_version, p.ended_at IS NULL FROM durable_objects_process p "
    "JOIN durable_objects_dispatcher d USING (process)"
)


def test_workers_and_dispatchers_keep_their_rows(running: Running) -> None:
    """A worker has one row whatever its pool, with its threads at work and since when; health says that none is free
    while what is due waits. A dispatcher has one too, of the same code; each notes when it ends.
    """
    site = running.site
    dispatcher = site.dispatcher()
    threads = site.wait_for_rows(WORKERS, seconds=30)[0][0]
    assert threads == {"threads": 8, "prefork": 2}[running.pool]
    arm(site, [(f"busy{number}", 0, {"hang": 30}) for number in range(threads + 3)])
    site.wait_for_rows(WORKERS, seconds=40, until=lambda rows: rows == [(threads, threads, True, True, False)])
    said = site.execute(
        "from durable_objects import now\nfrom durable_objects.operations.processes import workers\n"
        "print(workers(now()).obstacles())"
    )
    assert f"All {threads} threads are busy ({threads} of {threads}), the longest for" in said
    ((version, lives),) = site.wait_for_rows(DISPATCHERS, seconds=30)
    assert len(version) == 8
    assert lives
    dispatcher.signal(signal.SIGTERM)
    site.wait_for_rows(DISPATCHERS, seconds=30, until=lambda rows: rows == [(version, False)])
