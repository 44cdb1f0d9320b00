"""An object's alarm as a turn has it in hand: one row, as read under the object's lock, and what was changed of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from durable_objects.tables import Alarm

IDLE, ARMED, DEAD = Alarm.State.IDLE.value, Alarm.State.ARMED.value, Alarm.State.DEAD.value

#: In ``wake_up_for``: of this wake-up is known that it has to be sent again, under its number.
FORGOTTEN = datetime(1970, 1, 2, tzinfo=UTC)


@dataclass(slots=True)
class Slot:
    """An object's alarm as it stands in this turn; the fields are ``rows.Alarm``'s."""

    object_id: int
    stored: bool = False
    state: str = IDLE
    scheduled_at: datetime | None = None
    due_at: datetime | None = None
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
    #: No column: the wake-up that is out is to be sent once more by this turn, under its number.
    ring_again: bool = False
    changed: set[str] = field(default_factory=set)

    def set(self, **values: Any) -> None:
        """Change columns; ``write`` will store them."""
        for name, value in values.items():
            setattr(self, name, value)
        self.changed.update(values)

    def is_leased(self, now: datetime) -> bool:
        """Whether a run that has unlocked still keeps this object."""
        return self.leased_until is not None and self.leased_until > now

    def pending(self, now: datetime) -> datetime | None:
        """What ``get_alarm`` answers outside the handler: a running alarm is not pending, a dead one neither."""
        running = self.is_leased(now) and self.leased_generation == self.generation
        return self.scheduled_at if self.state == ARMED and not running else None
