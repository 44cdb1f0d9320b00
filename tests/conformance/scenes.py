"""Words of the scenarios: spans, a handler that fails, the ladder of retries."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import NoReturn

import pytest

from durable_objects import AlarmInfo
from durable_objects.models import Alarm, AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Scripted

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)

#: How long a run that unlocked keeps its object when nobody renews that.
LEASE = timedelta(seconds=60)

#: The pauses before the six retries (DO-43).
LADDER = [timedelta(seconds=2**n) for n in range(1, 7)]


class Boom(Exception):
    """What a scenario's own code raises."""


def undone() -> AbstractContextManager[object]:
    """Around a block that raises ``Boom``."""
    return pytest.raises(Boom)


def fail(obj: Scripted, info: AlarmInfo) -> NoReturn:
    """A handler that fails."""
    raise Boom(f"run {info.retry_count}")


def again(name: str = "a") -> Scripted:
    """The object by another handle, as some other code has it."""
    return Scripted.objects.get_by_name(name)


def climb(clock: FakeClock) -> list[AlarmRun]:
    """The runs that are due now and after each pause of the ladder."""
    runs = run_due_alarms()
    for pause in LADDER:
        clock.advance(pause)
        runs += run_due_alarms()
    return runs


def outcomes(runs: list[AlarmRun]) -> list[str]:
    """How the runs ended."""
    return [run.outcome for run in runs]


def slot() -> Alarm:
    """The row of the only alarm there is."""
    return Alarm.objects.get()
