"""What turns have to store, in as few statements as possible, in one message with the commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.alarms import history, schedule_sql
from durable_objects.alarms import sql as alarm_sql
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.alarms.slot import Slot
from durable_objects.database import round_trip
from durable_objects.database.round_trip import Statement
from durable_objects.delivery import publisher
from durable_objects.entries import sql as entry_sql


@dataclass(slots=True)
class Flush:
    """The changes of one turn, or of several in the same transaction. Needs the objects' locks."""

    changes: list[entry_sql.Change] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    #: By object, the schedules that were changed, None for deleted.
    schedules: dict[int, dict[str, ScheduledCall | None]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    #: What is to be published once this is committed.
    wake_ups: list[publisher.WakeUp] = field(default_factory=list)

    def send(self, conn: BaseDatabaseWrapper, *, commit: bool) -> None:
        """Store it all. With ``commit`` the transaction is committed by the same message, where that is possible;
        Django, which commits next, then finds nothing left to do.
        """
        statements = list(self._statements(conn))
        if commit:
            round_trip.commit(conn, statements)
        else:
            round_trip.send(conn, statements)

    def _statements(self, conn: BaseDatabaseWrapper) -> Iterator[Statement]:
        yield from entry_sql.storing(self.changes)
        yield from alarm_sql.storing(conn, self.slots)
        yield from schedule_sql.storing(conn, self.schedules)
        yield from history.storing(conn, self.runs)
