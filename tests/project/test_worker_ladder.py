"""Alarms on the Celery worker inside a process, by the real clock."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.support.site_processes import Site

pytestmark = pytest.mark.slow

#: In a process of its own: in that of the tests, what the tests before have left would be there too.
PROGRAM = """
import json, time
from datetime import timedelta
from durable_objects.tables import Alarm, AlarmRun
from project.embedded.worker import EmbeddedWorker
from tests.models import Scripted

def fail(obj, info):
    if obj.name == "failing":
        raise ValueError("again")

def wait_for_runs(number, seconds):
    end = time.monotonic() + seconds
    while (runs := AlarmRun.objects.count()) < number:
        assert worker.is_alive(), "the worker has ended"
        assert time.monotonic() < end, f"{runs} runs, not {number}, within {seconds} s: {list(Alarm.objects.values())}"
        time.sleep(0.01)

Scripted.script.alarm = fail
worker = EmbeddedWorker()
worker.start()
Scripted.objects.get_by_name("failing").storage.set_alarm(timedelta(0))
wait_for_runs(1, 20)
Scripted.objects.get_by_name("quick").storage.set_alarm(timedelta(seconds=0.5))
wait_for_runs(RUNS, 30)
assert worker.stop(10), "the worker did not stop within 10 s"
print(json.dumps([
    [run.object.name, run.outcome, run.retry_count, run.scheduled_at.timestamp(), run.started_at.timestamp()]
    for run in AlarmRun.objects.select_related("object").order_by("id")
]))
"""


@pytest.mark.parametrize("waits", [[2, 4], pytest.param([2, 4, 8], marks=pytest.mark.chaos)], ids=str)
def test_retries_come_after_2_4_and_8_seconds_by_the_clock(tmp_path: Path, waits: list[int]) -> None:
    """Celery's autoretry brings a failing alarm back after 2, 4 and 8 s (DO-43), and delays no other alarm."""
    with Site(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", "memory://") as site:
        site.migrate()
        runs = json.loads(site.execute(PROGRAM.replace("RUNS", str(len(waits) + 2)), seconds=120))

    failing = [run for run in runs if run[0] == "failing"]
    assert [(outcome, count) for _, outcome, count, *_ in failing] == [("failed", n) for n in range(len(waits) + 1)]
    started = [at for *_, at in failing]
    gaps = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert [round(gap) for gap in gaps] == waits, gaps
    assert all(gap >= expected for gap, expected in zip(gaps, waits, strict=True)), gaps
    [(*_, scheduled_at, in_time)] = [run for run in runs if run[0] == "quick"]
    assert 0 <= in_time - scheduled_at < 0.4
