"""One call of ``alarm()`` while it lasts: what it runs, and what the handler asked of its own alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from durable_objects.alarms.backoff import AlarmInfo, key_of
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.database import clock
from durable_objects.errors import AlarmTimeLimitExceeded


def nobody_waits() -> None:
    """Do nothing: the run's wake-up came in a message of its own."""


@dataclass(frozen=True, slots=True)
class RequestedAlarm:
    """What was asked of the alarm: ``at``, or None for deleted.

    A handler's own request counts only if its run ends well. ``generation`` is the slot's when it was asked, so that
    what somebody else set later stands.
    """

    at: datetime | None
    generation: int
    #: The trace in which it was asked.
    trace: str = ""


@dataclass(slots=True)
class Run:
    """A run of the alarm of this ``generation``, or of a schedule. Moments are aware UTC, by the database's clock."""

    object_id: int
    #: The slot's when the run began; None for a run of a schedule.
    generation: int | None
    fence: int
    scheduled_at: datetime
    due_at: datetime
    wake_up_for: datetime | None
    picked_up_at: datetime
    started_at: datetime
    retry_count: int
    time_limit: timedelta
    set_number: int = 0
    schedule: ScheduledCall | None = None
    leased: bool = False
    requested_alarm: RequestedAlarm | None = None
    #: Called when it has released its object (``unlocked()``), for those who wait behind it.
    has_let_go: Callable[[], None] = nobody_waits
    #: ``clock.monotonic()`` when the handler was entered, for the time limit.
    entered: float = field(default_factory=clock.monotonic)

    @property
    def info(self) -> AlarmInfo:
        """The argument of the handler."""
        return AlarmInfo(
            self.retry_count,
            self.scheduled_at,
            self.started_at - self.due_at,
            key_of(self.object_id, self.set_number, self.scheduled_at),
            self.schedule.name if self.schedule else "",
        )

    def check_time(self) -> None:
        """Raise ``AlarmTimeLimitExceeded`` when the run lasts longer than its class allows (DO-51)."""
        spent = clock.monotonic() - self.entered
        if spent > self.time_limit.total_seconds():
            raise AlarmTimeLimitExceeded(
                f"alarm() has run for {spent:.1f} s, alarm_time_limit is {self.time_limit}: it counts as failed. "
                "Do less per run and set the alarm again, or raise alarm_time_limit on the class."
            )
