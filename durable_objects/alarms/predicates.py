"""What the states of an alarm mean, each in two forms side by side: of one row at a moment, and as a ``Q`` for lists.

``is_due(row, now)`` takes a turn's ``Slot`` or an ``Alarm``. ``due(now, at)`` is the same as a condition; ``at`` is
where the alarm's columns are: ``"alarm_row__"`` from objects. A test proves on random rows that both forms agree.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from django.db.models import Case, Q, Value, When

from durable_objects.alarms import backoff
from durable_objects.conf import engine
from durable_objects.database.fields import MomentField
from durable_objects.tables import Alarm

IDLE, ARMED, DEAD = Alarm.State.IDLE.value, Alarm.State.ARMED.value, Alarm.State.DEAD.value

#: In ``wake_up_for``: this wake-up has to be sent again, under its number.
FORGOTTEN = datetime(1970, 1, 2, tzinfo=UTC)

#: A lost wake-up is sent again within this time: what is due for longer is worth a look.
OVERDUE_AFTER = backoff.LOST_AFTER

#: From this many lost wake-ups on, ``backoff.lost_after`` stays at its longest.
_MOST_LOST = 5


class _Row(Protocol):
    """The columns that are judged: of a turn's ``Slot``, or of an ``Alarm``."""

    @property
    def state(self) -> str: ...
    @property
    def wake_at(self) -> datetime | None: ...
    @property
    def retry_count(self) -> int: ...
    @property
    def leased_until(self) -> datetime | None: ...
    @property
    def wake_up_for(self) -> datetime | None: ...
    @property
    def wake_ups_lost(self) -> int: ...


def _where(at: str, **lookups: Any) -> Q:
    return Q(**{at + name: value for name, value in lookups.items()})


# The alarm itself: armed, due, leased.


def is_idle(row: _Row) -> bool:
    """Return whether no alarm is set."""
    return row.state == IDLE


def idle(at: str = "") -> Q:
    """Return ``is_idle`` as a condition."""
    return _where(at, state=IDLE)


def is_armed(row: _Row) -> bool:
    """Return whether an alarm is set that will run."""
    return row.state == ARMED


def armed(at: str = "") -> Q:
    """Return ``is_armed`` as a condition."""
    return _where(at, state=ARMED)


def is_dead(row: _Row) -> bool:
    """Return whether the retries are used up."""
    return row.state == DEAD


def dead(at: str = "") -> Q:
    """Return ``is_dead`` as a condition."""
    return _where(at, state=DEAD)


def is_retrying(row: _Row) -> bool:
    """Return whether the alarm is armed and its last run failed."""
    return is_armed(row) and row.retry_count > 0


def retrying(at: str = "") -> Q:
    """Return ``is_retrying`` as a condition."""
    return armed(at) & _where(at, retry_count__gt=0)


def is_awaited(row: _Row) -> bool:
    """Return whether the object is to be woken at some time: its alarm is armed, or it has a schedule."""
    return row.wake_at is not None


def awaited(at: str = "") -> Q:
    """Return ``is_awaited`` as a condition."""
    return _where(at, wake_at__isnull=False)


def of_itself(condition: Q) -> Q:
    """Return a condition on alarms with the time of the alarm itself in place of ``wake_at``, which may be that of a
    schedule of its object: what is done to an alarm is not done because a schedule is late.
    """
    found = Q(_connector=condition.connector, _negated=condition.negated)
    for child in condition.children:
        if isinstance(child, Q):
            found.children.append(of_itself(child))
        elif isinstance(child, tuple) and child[0].startswith("wake_at"):
            found.children.append(armed() & Q((child[0].replace("wake_at", "due_at"), child[1])))
        else:
            found.children.append(child)
    return found


def is_due(row: _Row, now: datetime) -> bool:
    """Return whether the alarm, or a schedule, is armed and its time has come."""
    return (at := row.wake_at) is not None and at <= now


def due(now: datetime, at: str = "") -> Q:
    """Return ``is_due`` as a condition."""
    return _where(at, wake_at__lte=now)


def is_overdue(row: _Row, now: datetime) -> bool:
    """Return whether the alarm is due for longer than it takes to send a lost wake-up again."""
    return is_due(row, now - OVERDUE_AFTER)


def overdue(now: datetime, at: str = "") -> Q:
    """Return ``is_overdue`` as a condition."""
    return due(now - OVERDUE_AFTER, at)


def is_due_soon(row: _Row, now: datetime) -> bool:
    """Return whether the alarm is due, or will be within the horizon, so that a wake-up may be sent for it."""
    return is_due(row, now + engine.HORIZON)


def due_soon(now: datetime, at: str = "") -> Q:
    """Return ``is_due_soon`` as a condition."""
    return due(now + engine.HORIZON, at)


def is_due_within(row: _Row, now: datetime, span: timedelta) -> bool:
    """Return whether the alarm is not due yet, and will be within ``span``."""
    return is_due(row, now + span) and not is_due(row, now)


def due_within(now: datetime, span: timedelta, at: str = "") -> Q:
    """Return ``is_due_within`` as a condition."""
    return _where(at, wake_at__gt=now, wake_at__lte=now + span)


def is_leased(row: _Row, now: datetime) -> bool:
    """Return whether a run that has unlocked still has the lease on the object."""
    return row.leased_until is not None and row.leased_until > now


def leased(now: datetime, at: str = "") -> Q:
    """Return ``is_leased`` as a condition."""
    return _where(at, leased_until__gt=now)


def is_free(row: _Row, now: datetime) -> bool:
    """Return whether no run has the lease on the object."""
    return not is_leased(row, now)


def free(now: datetime, at: str = "") -> Q:
    """Return ``is_free`` as a condition."""
    return _where(at, leased_until__isnull=True) | _where(at, leased_until__lte=now)


def is_left_behind(row: _Row, now: datetime) -> bool:
    """Return whether a run let its lease end without settling: its worker is gone, or it hangs."""
    return row.leased_until is not None and row.leased_until <= now


def left_behind(now: datetime, at: str = "") -> Q:
    """Return ``is_left_behind`` as a condition."""
    return _where(at, leased_until__lte=now)


# Its wake-up: unsent, out, lost.


def is_unsent(row: _Row) -> bool:
    """Return whether no wake-up was sent, or the one that was has arrived."""
    return row.wake_up_for is None


def unsent(at: str = "") -> Q:
    """Return ``is_unsent`` as a condition."""
    return _where(at, wake_up_for__isnull=True)


def is_forgotten(row: _Row) -> bool:
    """Return whether the wake-up is known to be lost, and has to be sent again under its number."""
    return row.wake_up_for is not None and row.wake_up_for <= FORGOTTEN


def forgotten(at: str = "") -> Q:
    """Return ``is_forgotten`` as a condition."""
    return _where(at, wake_up_for__lte=FORGOTTEN)


def is_out(row: _Row, now: datetime) -> bool:
    """Return whether a wake-up is out whose time has come: the broker may have it, or a worker's queue."""
    return row.wake_up_for is not None and FORGOTTEN < row.wake_up_for <= now


def out(now: datetime, at: str = "") -> Q:
    """Return ``is_out`` as a condition."""
    return _where(at, wake_up_for__gt=FORGOTTEN, wake_up_for__lte=now)


def is_waiting(row: _Row, now: datetime) -> bool:
    """Return whether a wake-up is out that waits for its time."""
    return row.wake_up_for is not None and row.wake_up_for > now


def waiting(now: datetime, at: str = "") -> Q:
    """Return ``is_waiting`` as a condition."""
    return _where(at, wake_up_for__gt=now)


def is_in_transit(row: _Row, now: datetime) -> bool:
    """Return whether a wake-up is out, and not for so long that it could count as lost."""
    return row.wake_up_for is not None and row.wake_up_for > now - backoff.LOST_AFTER


def in_transit(now: datetime, at: str = "") -> Q:
    """Return ``is_in_transit`` as a condition."""
    return _where(at, wake_up_for__gt=now - backoff.LOST_AFTER)


def is_late(row: _Row, now: datetime) -> bool:
    """Return whether a wake-up has not arrived ``backoff.lost_after`` its time: it is lost if there is a consumer."""
    return row.wake_up_for is not None and row.wake_up_for <= now - backoff.lost_after(row.wake_ups_lost)


def late(now: datetime, at: str = "") -> Q:
    """Return ``is_late`` as a condition: one comparison, since alternatives are planned against each index in turn."""
    cases = [
        When(**{f"{at}wake_ups_lost": number}, then=_moment(now - backoff.lost_after(number)))
        for number in range(_MOST_LOST)
    ]
    return _where(at, wake_up_for__lte=Case(*cases, default=_moment(now - backoff.LOST_AFTER_AT_MOST)))


def _moment(at: datetime) -> Value:
    return Value(at, MomentField())


def is_lost(row: _Row, now: datetime, consumed_to: datetime | None) -> bool:
    """Return whether a wake-up is lost: it is late, and what was sent after it, after ``consumed_to``, was consumed."""
    passed = consumed_to is not None and row.wake_up_for is not None and row.wake_up_for < consumed_to
    return is_late(row, now) and (is_forgotten(row) or passed)


def lost(now: datetime, consumed_to: datetime | None, at: str = "") -> Q:
    """Return ``is_lost`` as a condition."""
    before = forgotten(at)
    if consumed_to is not None:
        before |= _where(at, wake_up_for__lt=consumed_to)
    return late(now, at) & before
