"""What turns have to store, in as few statements as possible, in one message with the commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms import history, limits, schedule_sql
from durable_objects.alarms import sql as alarm_sql
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.alarms.slot import Slot
from durable_objects.database import round_trip
from durable_objects.database.round_trip import Row, Statement
from durable_objects.delivery import publisher
from durable_objects.entries import sql as entry_sql
from durable_objects.turns.handle import Handle


@dataclass(slots=True)
class Flush:
    """The changes of one turn, or of several in the same transaction. Needs the objects' locks."""

    changes: list[entry_sql.Change] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    #: By object with its kind, the schedules that were changed, None for deleted.
    schedules: dict[tuple[int, int], dict[str, ScheduledCall | None]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    #: What is to be published once this is committed.
    wake_ups: list[publisher.WakeUp] = field(default_factory=list)
    #: Whether these turns send any: what sets many alarms at once leaves them to the dispatcher, which knows how many
    #: may be out.
    sends_wake_ups: bool = True

    def store(self, slot: Slot, handle: Handle, now: datetime, *, sends_wake_up: bool = True) -> None:
        """Add a slot, and the wake-up that it needs sent, where one can be; mark that in it. Of the handle only its
        class matters.
        """
        if sends_wake_up and self.sends_wake_ups:
            limited = limits.of(handle) is not None
            if slot.needs_wake_up(now, limited=limited) and publisher.can_publish():
                slot.mark_published(now)
                self.wake_ups.append(publisher.wake_up(slot, handle, handle.kind_pk()))
        self.slots.append(slot)

    def copy_new(self, conn: BaseDatabaseWrapper) -> None:
        """Store what can be stored faster than by ``send``, which is to follow."""
        alarm_sql.copy_new(conn, self.slots)

    def send(
        self,
        conn: BaseDatabaseWrapper,
        before: Sequence[Statement] = (),
        *,
        commit: bool,
        then: Sequence[Statement] = (),
        typed: int = 0,
    ) -> list[list[Row]]:
        """Store it all, after these statements. With ``commit`` the transaction is committed by the same message, where
        that is possible; Django, which commits next, then finds nothing left to do. ``then`` is as for
        ``round_trip.commit``.
        """
        statements = [*before, *self._statements(conn)]
        if commit:
            return round_trip.commit(conn, statements, then, typed=typed)
        round_trip.send(conn, statements)
        return []

    def _statements(self, conn: BaseDatabaseWrapper) -> Iterator[Statement]:
        yield from entry_sql.storing(conn, self.changes)
        yield from alarm_sql.storing(conn, self.slots)
        yield from schedule_sql.storing(conn, self.schedules)
        yield from history.storing(conn, self.runs)
