"""An object's alarm in a turn: its row as read under the object's lock, and the verbs that change it.

The verbs change the ``Slot`` in memory, which remembers the columns that changed; ``sql.storing`` stores only these, so
that what the dispatcher (``wake_up_for``) and the heartbeat (``leased_until``) write beside a turn is never overwritten
with something older.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from durable_objects import process
from durable_objects.alarms.predicates import (
    ARMED,
    DEAD,
    FORGOTTEN,
    IDLE,
    is_armed,
    is_due_soon,
    is_forgotten,
    is_leased,
    is_out,
)
from durable_objects.conf import engine


@dataclass(slots=True)
class Slot:
    """An object's alarm as it stands in this turn; its fields are columns of ``tables.Alarm``."""

    object_id: int
    #: Of its object: needed to store the slot.
    kind_id: int = 0
    stored: bool = False
    state: str = IDLE
    scheduled_at: datetime | None = None
    due_at: datetime | None = None
    schedule_due_at: datetime | None = None
    retry_count: int = 0
    crashed_starts: int = 0
    generation: int = 0
    fence: int = 0
    leased_until: datetime | None = None
    leased_by: str = ""
    leased_generation: int | None = None
    wake_up_number: int = 0
    wake_up_for: datetime | None = None
    wake_ups_lost: int = 0
    last_error: str = ""
    sets: int = 0
    set_number: int = 0
    set_by_trace: str = ""
    #: No column: the wake-up that is out is to be sent once more by this turn, under its number.
    resend: bool = False
    #: No column: a pause holds the object. Known to runs only.
    paused: bool = False
    changed: set[str] = field(default_factory=set)

    @property
    def wake_at(self) -> datetime | None:
        """Return when the object is to be woken, as the column of that name."""
        due_at = self.due_at if is_armed(self) else None
        if due_at is None or self.schedule_due_at is None:
            return due_at or self.schedule_due_at
        return min(due_at, self.schedule_due_at)

    @property
    def schedule_is_first(self) -> bool:
        """Whether the object is to be woken for a schedule; for the alarm where both are due at the same time."""
        return self.schedule_due_at is not None and not (
            is_armed(self) and self.due_at is not None and self.due_at <= self.schedule_due_at
        )

    def next_set_number(self) -> int:
        """Count one more alarm or schedule that is set on this object; return its number."""
        self.set(sets=self.sets + 1)
        return self.sets

    def set(self, **values: Any) -> None:
        """Change columns; ``sql.storing`` stores them."""
        for name, value in values.items():
            setattr(self, name, value)
        self.changed.update(values)

    def pending(self, now: datetime) -> datetime | None:
        """Return what ``get_alarm`` answers outside the handler: a running or dead alarm is not pending."""
        running = is_leased(self, now) and self.leased_generation == self.generation
        return self.scheduled_at if is_armed(self) and not running else None

    def arm(self, at: datetime, trace: str = "") -> None:
        """Set the alarm. One that is set for that very time, untried and not running, is left alone (DO-12)."""
        if is_armed(self) and self.scheduled_at == self.due_at == at and self.leased_until is None:
            return
        self.sets += 1
        self.set(
            state=ARMED,
            scheduled_at=at,
            due_at=at,
            generation=self.generation + 1,
            sets=self.sets,
            set_number=self.sets,
        )
        if self.stored:  # a new row has these
            self.set(retry_count=0, crashed_starts=0, wake_ups_lost=0, last_error="")
        if trace != self.set_by_trace:
            self.set(set_by_trace=trace)
        if self.wake_up_for is not None and self.wake_up_for > at:
            self.set(wake_up_for=None)  # too late for this time: who cannot publish leaves it to the dispatcher

    def disarm(self) -> None:
        """Delete the alarm: nothing is set afterwards, a dead one is forgotten.

        Also where nothing is set it counts against a run that is unlocked, which may have requested an alarm before.
        """
        if self.state != IDLE or self.leased_until is not None:
            self.set(state=IDLE, scheduled_at=None, due_at=None, retry_count=0, crashed_starts=0, wake_ups_lost=0)
            self.set(generation=self.generation + 1, wake_up_for=None, last_error="")

    def apply(self, at: datetime | None, trace: str = "") -> None:
        """Do what was requested: set the alarm, or delete it where ``at`` is None. ``trace`` is the one that asked."""
        if at is None:
            self.disarm()
        else:
            self.arm(at, trace)

    def revive(self, now: datetime) -> None:
        """Arm a dead alarm again, due now, with all its retries; ``scheduled_at`` stays."""
        self.set(state=ARMED, due_at=now, retry_count=0, crashed_starts=0, wake_ups_lost=0, wake_up_for=None)
        self.set(generation=self.generation + 1)

    def hasten(self, now: datetime) -> None:
        """Make the armed alarm due now; ``retry_count`` and ``scheduled_at`` stay.

        One that is due keeps its due time, and the number of the wake-up that is out for it: that may be about to
        arrive.
        """
        is_due = self.due_at is not None and self.due_at <= now
        if is_due and (is_out(self, now) or is_forgotten(self)):
            self.resend = True
            self.set(wake_up_for=FORGOTTEN)  # who cannot publish leaves it to the dispatcher
        else:
            self.set(due_at=min(self.due_at or now, now), wake_up_for=None)

    def lease(self, now: datetime, generation: int | None) -> None:
        """Lease the object to a run that releases the lock: nobody else runs it until the lease is over.

        ``generation`` is that of the alarm it runs, which is not pending; one that others have set since is. Its
        wake-up has arrived, so none is out: if the run dies, the dispatcher sends one as soon as the lease is over.
        """
        self.set(fence=self.fence + 1, leased_until=now + engine.LEASE, leased_generation=generation)
        self.set(wake_up_for=None, wake_ups_lost=0, leased_by=process.name())

    def release(self) -> None:
        """End the run's lease: what stands in the slot may run."""
        self.set(crashed_starts=0, wake_ups_lost=0, wake_up_for=None)
        if self.leased_until is not None:
            self.set(leased_until=None, leased_generation=None)

    def give_back(self) -> None:
        """End the lease of a run that does not start, and do not count its start."""
        self.set(leased_until=None, leased_generation=None, crashed_starts=max(self.crashed_starts - 1, 0))

    def retry_later(self, now: datetime, delay: timedelta, error: str) -> None:
        """Count a failed run. Its retry has the same wake-up number: Celery sends the same message again."""
        self.set(retry_count=self.retry_count + 1, due_at=now + delay, wake_up_for=now + delay, last_error=error)

    def snooze(self, at: datetime) -> None:
        """Put the alarm off, uncounted: ``retry_count`` and ``scheduled_at`` stay. The run that asked for it is settled
        by that, which the generation shows.
        """
        self.set(due_at=at, generation=self.generation + 1, wake_up_for=None)

    def die(self, error: str) -> None:
        """Keep the alarm as dead after its last allowed run failed, to be looked at and revived."""
        self.set(state=DEAD, due_at=None, wake_up_for=None, last_error=error)

    def needs_wake_up(self, now: datetime, *, limited: bool) -> bool:
        """Return whether one has to be sent for this alarm: not when it is not due soon, leased, or when one is out.

        Nor when one is lost: the dispatcher knows whether there is a consumer. Otherwise calls could fill the broker.
        A run that finds its object paused sends none either. ``limited``: of a class with limits, what waits for a
        place is the dispatcher's as well; only what this turn has set is sent.
        """
        if limited and not self.resend and not self.changed & {"due_at", "schedule_due_at"}:
            return False
        if self.paused or not is_due_soon(self, now) or is_leased(self, now):
            return False
        return self.resend or self.wake_up_for is None or self.wake_up_for > max(self.wake_at or now, now)

    def mark_published(self, now: datetime) -> None:
        """Mark that a wake-up is sent for this alarm, under a new number unless it is sent again."""
        self.set(wake_up_number=self.wake_up_number + (not self.resend), wake_up_for=max(self.wake_at or now, now))
        self.resend = False
