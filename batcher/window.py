"""The window of a batch: when the items that wait are to go, and how ``quiet`` puts that off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batcher.setting_rules import Policy


@dataclass
class Window:
    """The window of the items that wait. ``due`` is when they are to go: None when nothing waits, or while the batcher
    is paused. ``ceiling`` is when it ends, however many come; ``last`` is when the last one came.
    """

    due: datetime | None
    ceiling: datetime | None
    last: datetime | None

    def open(self, policy: Policy, now: datetime) -> None:
        """Begin with the item that came now."""
        self.ceiling = now + policy.window
        self.due = min(self.ceiling, now + policy.quiet) if policy.quiet else self.ceiling

    def stay_quiet(self, policy: Policy, now: datetime) -> None:
        """Put off what is due, where ``quiet`` is set, for an item that came before that; never past the ceiling."""
        if policy.quiet and self.due is not None and now < self.due:
            self.due = max(self.due, min(now + policy.quiet, self.ceiling or self.due))

    def reopen(self, policy: Policy, now: datetime, first: datetime) -> None:
        """Begin for what a batch left, whose first item came at ``first``: due when that has waited its window."""
        self.ceiling = first + policy.window
        quiet_at = (self.last or now) + policy.quiet if policy.quiet else self.ceiling
        self.due = max(min(self.ceiling, quiet_at), now)
