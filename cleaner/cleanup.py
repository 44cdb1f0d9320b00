"""A cleanup going on: chunk by chunk, each in a turn of its own, so that other calls on the cleaner come in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import OperationalError

from cleaner import chunking
from cleaner.conf import defaults
from cleaner.tables import CleanerRun
from cleaner.targets import Chunk, Target
from durable_objects import DurableObjectError, ObjectBusy
from durable_objects.models import DurableObject

#: Called after each chunk with how many rows were examined and how many were expired, so far.
OnChunk = Callable[[int, int], None]


def say_nothing(examined: int, expired: int) -> None:
    """Nobody wants to know."""


class CleanupEnded(DurableObjectError):
    """The cleanup was ended from elsewhere (``stop()``) while it was at work; its last chunk was undone."""


class Counted(NamedTuple):
    """What a look found: expired rows, rows examined, and whether it got through to the end in its time; and how many
    would be left alone, since their timestamp will be one of seconds.
    """

    expired: int
    examined: int
    through: bool
    in_seconds: int = 0


def clean(
    cleaner: DurableObject,
    target: Target,
    run: CleanerRun,
    *,
    within: timedelta | None,
    on_chunk: OnChunk = say_nothing,
) -> bool:
    """Go on from where ``run`` stands; whether the end was reached before the time was up. One chunk at least.

    Memory holds no rows, or those of one chunk where they have to be collected. When it raises, the chunks before stay
    cleaned. Raises ``CleanupEnded``, ``ObjectBusy``, ``RunSuperseded`` and what the database and signal handlers do.
    """
    deadline = None if within is None else time.monotonic() + within.total_seconds()
    steps = chunking.Pace(defaults.CHUNK, target.most)
    while True:
        begun = time.monotonic()
        try:
            chunk, begun, values = cleaner.run_exclusive(lambda: _clean_chunk(target, run, steps))
        except (OperationalError, ObjectBusy) as error:
            if steps.cut_off is None or not chunking.was_cut_off(error):
                raise
            steps.too_large()
            chunking.rest(target.connection(), time.monotonic() - begun)
            continue
        vars(run).update(values)
        took = time.monotonic() - begun
        steps.took(took)
        run.longest_chunk = max(run.longest_chunk, timedelta(seconds=took))
        on_chunk(run.examined, run.removed)
        if chunk.last is None:
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        chunking.rest(target.connection(), took)


def count(
    target: Target,
    older_than: datetime,
    *,
    within: timedelta | None = None,
    on_chunk: OnChunk = say_nothing,
) -> Counted:
    """Look at all there is, or as much as the time allows; deletes nothing and locks nothing."""
    deadline = None if within is None else time.monotonic() + within.total_seconds()
    steps = chunking.Pace(defaults.CHUNK, target.most)
    expired = examined = in_seconds = 0
    after: str | None = None
    while True:
        begun = time.monotonic()
        chunk = target.chunk(after, steps.limit, older_than, delete=False)
        steps.took(time.monotonic() - begun)
        expired, examined, after = expired + chunk.expired, examined + chunk.examined, chunk.last
        in_seconds += chunk.in_seconds
        on_chunk(examined, expired)
        if after is None or (deadline is not None and time.monotonic() >= deadline):
            return Counted(expired, examined, after is None, in_seconds)


def _clean_chunk(target: Target, run: CleanerRun, steps: chunking.Pace) -> tuple[Chunk, float, dict[str, Any]]:
    """Clean the next chunk under the lock; also when that began, since waiting for the lock is no work."""
    begun = time.monotonic()
    with chunking.cut_off_after(target.connection(), steps.cut_off):
        chunk = target.chunk(run.cursor, steps.limit, run.older_than, delete=True)
    values = run.note(chunk)
    if values is None:
        raise CleanupEnded(f"cleanup {run.pk} was ended from elsewhere")
    return chunk, begun, values
