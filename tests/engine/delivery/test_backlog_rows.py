"""What the rows tell of the backlog: which wake-ups are out, and up to when they were consumed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects.alarms import pauses
from durable_objects.alarms.pauses import Target
from durable_objects.conf import engine
from durable_objects.delivery import backlog
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.limited_alarms import due, pk_of

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def look(clock: FakeClock) -> backlog.Backlog:
    """The backlog of the class."""
    return backlog.look(clock.now(), [Scripted.kind_pk()])


def ran(clock: FakeClock, sent: timedelta | None) -> None:
    """A run that has ended a second ago, two after its wake-up was taken."""
    at, moments = clock.now(), ["scheduled_at", "due_at", "picked_up_at", "started_at"]
    AlarmRun.objects.create(
        object_id=pk_of("a"), retry_count=0, fence=0, outcome="succeeded", ended_at=at - SECOND,
        wake_up_for=None if sent is None else at + sent, **dict.fromkeys(moments, at - 3 * SECOND),
    )  # fmt: skip


def test_what_is_paused_by_itself_is_not_out(script: Script, clock: FakeClock) -> None:
    """The wake-up of an object that somebody has paused since takes no capacity: it comes to nothing."""
    due("a")
    Alarm.objects.update(wake_up_for=clock.now())
    assert look(clock).out == 1
    pauses.put(Target(Scripted.kind_pk(), pk_of("a")), clock.now(), reason="", by="ada", until=None)
    assert look(clock).out == 0


def test_up_to_when_wake_ups_were_consumed(script: Script, clock: FakeClock) -> None:
    """Up to the time that the last run's was sent for, never later than now; of a rescue to when it was picked up."""
    due("a")
    assert look(clock).consumed_to is None
    ran(clock, None)
    assert look(clock).consumed_to == clock.now() - 3 * SECOND
    ran(clock, 60 * SECOND)
    assert look(clock).consumed_to == clock.now()


def test_a_rescue_that_runs_was_consumed(script: Script, clock: FakeClock) -> None:
    """The lease of a rescue tells when it was picked up; that of any other run tells nothing that its row will not."""
    due("a")
    Alarm.objects.update(leased_until=clock.now() + engine.LEASE - SECOND)
    assert look(clock).consumed_to is None
    Alarm.objects.update(crashed_starts=1)
    assert look(clock).consumed_to == clock.now() - SECOND
