"""Let time pass under a FakeClock, with the alarms that it brings."""

from __future__ import annotations

from datetime import datetime, timedelta

from durable_objects.models import DurableObject
from durable_objects.testing import FakeClock, run_due_alarms

NO_TIME = timedelta(0)


def outcomes(clock: FakeClock, by: timedelta = NO_TIME) -> list[str]:
    """Let this time pass at once and run what is due then; return how each run ended."""
    clock.advance(by)
    return [run.outcome for run in run_due_alarms()]


def pass_time(clock: FakeClock, by: timedelta = NO_TIME) -> None:
    """Let this time pass at once, run what is due then, and assert that no run failed."""
    seen = outcomes(clock, by)
    assert seen == ["succeeded"] * len(seen)


def follow(clock: FakeClock, obj: DurableObject, until: datetime) -> list[timedelta]:
    """Let time pass from alarm to alarm of this object, up to ``until``; return the gaps between them."""
    gaps = []
    while (at := obj.storage.get_alarm()) is not None and at <= until:
        gaps.append(at - clock.now())
        clock.move_to(at)
        pass_time(clock)
    return gaps
