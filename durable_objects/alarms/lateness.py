"""What made a run late: the dispatcher, the broker and its queue, or the object's lock. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol


class _Moments(Protocol):
    """A run's moments, of a ``Run`` or of its row in the history."""

    @property
    def due_at(self) -> datetime: ...
    @property
    def wake_up_for(self) -> datetime | None: ...
    @property
    def picked_up_at(self) -> datetime: ...
    @property
    def started_at(self) -> datetime: ...


class Stages(NamedTuple):
    """How long each stage kept a run after it was due: until its wake-up was sent, until a worker had it, until it had
    the object.
    """

    dispatch: timedelta
    queue: timedelta
    lock: timedelta


def stages_of(run: _Moments) -> Stages:
    """Return how long each stage took. A wake-up that was sent ahead of its time, or none on record, took none."""
    sent = max(run.due_at, run.wake_up_for or run.due_at)
    picked_up = max(sent, run.picked_up_at)
    return Stages(sent - run.due_at, picked_up - sent, max(run.started_at - picked_up, timedelta(0)))
