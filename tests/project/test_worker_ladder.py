"""Alarms on a real Celery worker in this process, by the real clock."""

from __future__ import annotations

import gc
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from celery.worker import state as worker_state

from durable_objects import AlarmInfo
from durable_objects.operations import actions
from durable_objects.tables import AlarmRun
from project.embedded.worker import EmbeddedWorker
from tests.models import Script, Scripted

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def worker() -> Iterator[EmbeddedWorker]:
    """A worker of this test's own."""
    worker = EmbeddedWorker()
    worker.start()
    yield worker
    assert worker.stop(10), "the worker did not stop within 10 s"
    setattr(worker_state, "should_stop", None)
    with warnings.catch_warnings():  # the pool's threads are gone and left their connections to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def script() -> Iterator[Script]:
    """What every ``Scripted`` object does in this test."""
    Scripted.script = Script()
    yield Scripted.script
    Scripted.script = Script()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for the condition, at most so long; fails the test after that."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.01)


@pytest.mark.parametrize("waits", [[2, 4], pytest.param([2, 4, 8], marks=pytest.mark.chaos)], ids=str)
def test_retries_come_after_2_4_and_8_seconds_by_the_clock(
    worker: EmbeddedWorker, script: Script, waits: list[int]
) -> None:
    """Celery's autoretry brings a failing alarm back after 2, 4 and 8 s (DO-43), and delays no other alarm."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        if obj.name == "failing":
            raise ValueError("again")

    script.alarm = fail
    failing, quick = (Scripted.objects.get_by_name(name) for name in ("failing", "quick"))
    failing.storage.set_alarm(timedelta(0))
    wait_until(AlarmRun.objects.exists, 3)
    quick.storage.set_alarm(timedelta(seconds=0.5))
    runs = AlarmRun.objects.filter(object=failing.pk).order_by("id")
    wait_until(lambda: runs.count() == len(waits) + 1, 20)

    started = list(runs.values_list("started_at", flat=True))
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(started)]
    assert [round(gap) for gap in gaps] == waits, gaps
    assert all(gap >= expected for gap, expected in zip(gaps, waits, strict=True)), gaps
    assert list(runs.values_list("retry_count", "outcome")) == [(count, "failed") for count in range(len(waits) + 1)]
    in_time = AlarmRun.objects.get(object=quick.pk)
    assert timedelta(0) <= in_time.started_at - in_time.scheduled_at < timedelta(seconds=0.4)
    actions.cancel(failing)
