"""A schedule in a turn: which of the object's methods is called next, when, and what follows. Pure.

A ``ScheduledCall`` is not changed but replaced, so that a savepoint which is undone takes the change along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from durable_objects.recurrence.misfire import Decision, decide
from durable_objects.recurrence.rules import Rule
from durable_objects.tables import Schedule

ARMED, DEAD, CANCELLED = Schedule.State.ARMED.value, Schedule.State.DEAD.value, Schedule.State.CANCELLED.value


@dataclass(frozen=True, slots=True)
class ScheduledCall:
    """A schedule as it stands in this turn; the fields are those of ``tables.Schedule``."""

    name: str
    method: str
    arguments: str
    rule: str
    misfire: str
    grace: timedelta | None
    set_number: int
    declared: bool = False
    state: str = ARMED
    scheduled_at: datetime | None = None
    due_at: datetime | None = None
    follow_at: datetime | None = None
    is_decided: bool = False
    retry_count: int = 0
    last_error: str = ""
    died_at: datetime | None = None

    def at(self, scheduled_at: datetime | None) -> ScheduledCall | None:
        """Return it with this as its next occurrence; None for a schedule that is over."""
        if scheduled_at is None:
            return None
        return replace(
            self, state=ARMED, scheduled_at=scheduled_at, due_at=scheduled_at, follow_at=None, is_decided=False,
            retry_count=0,
        )  # fmt: skip

    def decision(self, now: datetime) -> Decision:
        """Apply the misfire policy to what is due."""
        occurrence = self.scheduled_at or now
        return decide(Rule.from_text(self.rule), occurrence, now, self.misfire, self.grace)

    def decided(self, decision: Decision) -> ScheduledCall:
        """Return it with the occurrence that runs for those that were missed, and what follows."""
        return replace(self, scheduled_at=decision.run, follow_at=decision.next, is_decided=True)

    def succeeded(self) -> ScheduledCall | None:
        """Return what is left after a run that ended well."""
        after = self.at(self.follow_at)
        return after and (after if after.died_at else replace(after, last_error=""))

    def failed(self, now: datetime, delay: timedelta, error: str) -> ScheduledCall:
        """Return it with one more failed run, and due again after the delay."""
        return replace(self, due_at=now + delay, retry_count=self.retry_count + 1, last_error=error)

    def snoozed(self, until: datetime) -> ScheduledCall:
        """Return it due again then, with no failed run more."""
        return replace(self, due_at=until)

    def died(self, error: str) -> ScheduledCall:
        """Return it after the last allowed run of an occurrence failed: the next occurrence runs as ever."""
        dead = replace(self, died_at=self.scheduled_at, last_error=error)
        return dead.at(self.follow_at) or replace(dead, state=DEAD, due_at=None)

    def unplannable(self, error: str) -> ScheduledCall:
        """Return it with its occurrence dead, and none that follows: its rule cannot be read by this code."""
        return replace(self, state=DEAD, due_at=None, died_at=self.scheduled_at, last_error=error)

    def cancelled(self) -> ScheduledCall | None:
        """Return what is left when it is cancelled: of one that the class declares, that it is."""
        if not self.declared:
            return None
        return replace(
            self, state=CANCELLED, scheduled_at=None, due_at=None, follow_at=None, died_at=None, retry_count=0
        )

    def hastened(self, now: datetime) -> ScheduledCall:
        """Return it due now: what runs but once, or is retried, at once; else one more run, and then as planned."""
        if self.due_at is not None and self.due_at <= now:
            return self
        rule = Rule.from_text(self.rule)
        if self.retry_count or rule.kind == "once":
            return replace(self, due_at=now)
        return replace(self, scheduled_at=now, due_at=now, follow_at=self.scheduled_at, is_decided=True)

    def revived(self, now: datetime) -> ScheduledCall:
        """Return it with the occurrence that died due now, with all its retries, and then what was next anyway."""
        follow_at = self.scheduled_at if self.state == ARMED else Rule.from_text(self.rule).after(now)
        return replace(
            self, state=ARMED, scheduled_at=self.died_at, due_at=now, follow_at=follow_at, is_decided=True,
            retry_count=0, died_at=None,
        )  # fmt: skip


def first_due(calls: dict[str, ScheduledCall]) -> datetime | None:
    """Return when the first of these may begin."""
    return min((call.due_at for call in calls.values() if call.state == ARMED and call.due_at), default=None)


def first(calls: dict[str, ScheduledCall], now: datetime) -> ScheduledCall | None:
    """Return the one that has been due for longest; of several, the first by name. None if none is due."""
    due = [call for call in calls.values() if call.state == ARMED and call.due_at is not None and call.due_at <= now]
    return min(due, key=lambda call: (call.due_at, call.name), default=None)
