"""Alarms that are far away are rows, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import stage, verdicts
from tests.support.site_processes import Process, Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

DAY = 86_400.0


def kilobytes(worker: Process) -> int:
    """Memory that the worker and its pool keep (RSS)."""
    total = 0
    for pid in (worker.pid, *worker.children()):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return total


def test_three_thousand_for_tomorrow_delay_nothing(
    broker: stage.Broker, site_on: Callable[..., Site], say: Callable[[str], None]
) -> None:
    """3,000 alarms for tomorrow, then one due now: it is not late, and the worker keeps no memory for the others."""
    site = site_on(broker)
    stage.dispatcher(site)
    worker = site.worker()
    stage.arm(site, [(f"warm {n}", 0, {}) for n in range(20)])
    stage.wait_until_idle(site, seconds=30)
    before = kilobytes(worker)
    stage.arm(site, [(f"far {n}", DAY, {}) for n in range(3000)])
    after = kilobytes(worker)
    stage.arm(site, [("now", 0, {})])
    armed = "SELECT count(*) FROM durable_objects_alarm WHERE state = 'armed'"
    site.wait_for_rows(armed, seconds=10, until=lambda rows: rows[0][0] == 3000)
    late = max(verdicts.spans(site), key=lambda span: span.first)
    seconds = (late.first - late.scheduled_at).total_seconds()
    say(f"late by {seconds:.3f} s; worker {before} kB before, {after} kB after")
    assert seconds < 1
    assert after - before < 3000
    assert site.rows("SELECT count(*) FROM durable_objects_alarm WHERE wake_up_for > now() + interval '1 hour'") == [
        (0,)
    ]
