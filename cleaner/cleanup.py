"""A cleanup, chunk by chunk, each in a turn of its own, so that other calls on the cleaner run in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import OperationalError

from cleaner import chunking
from cleaner.conf import defaults
from cleaner.tables import CleanerRun
from cleaner.targets import Chunk, Expired, Target
from durable_objects import DurableObjectError, ObjectBusy
from durable_objects.models import DurableObject

#: Called after each chunk with how many rows were examined and how many were expired, so far.
OnChunk = Callable[[int, int], None]


def ignore(examined: int, expired: int) -> None:
    """Do nothing: the default for ``on_chunk``."""


class CleanupEnded(DurableObjectError):
    """The cleanup was ended by another call (``stop()``) while it ran; its last chunk was rolled back."""


class Counted(NamedTuple):
    """What was counted: expired rows, rows examined, whether the end was reached in time, how many would be left alone
    because their timestamp looks like seconds, and the first of the expired rows.
    """

    expired: int
    examined: int
    through: bool
    in_seconds: int = 0
    sample: tuple[Expired, ...] = ()


def clean(
    cleaner: DurableObject,
    target: Target,
    run: CleanerRun,
    *,
    within: timedelta | None,
    on_chunk: OnChunk = ignore,
) -> bool:
    """Continue ``run`` by at least one chunk, and return whether the end was reached before the time was up.

    No rows are loaded, or those of one chunk where they have to be collected. When it raises, the chunks before stay
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
    on_chunk: OnChunk = ignore,
    sample: int = 0,
) -> Counted:
    """Count all rows, or as many as the time allows, and return the first ``sample`` that are expired; deletes nothing
    and locks nothing.
    """
    deadline = None if within is None else time.monotonic() + within.total_seconds()
    steps = chunking.Pace(defaults.CHUNK, target.most)
    expired = examined = in_seconds = 0
    after: str | None = None
    first: list[Expired] = []
    while True:
        begun, limit = time.monotonic(), steps.limit
        chunk = target.chunk(after, limit, older_than, delete=False)
        steps.took(time.monotonic() - begun)
        if chunk.expired and len(first) < sample:
            first += target.expired(after, limit, older_than, sample - len(first))
        expired, examined, after = expired + chunk.expired, examined + chunk.examined, chunk.last
        in_seconds += chunk.in_seconds
        on_chunk(examined, expired)
        if after is None or (deadline is not None and time.monotonic() >= deadline):
            return Counted(expired, examined, after is None, in_seconds, tuple(first))


def _clean_chunk(target: Target, run: CleanerRun, steps: chunking.Pace) -> tuple[Chunk, float, dict[str, Any]]:
    """Clean the next chunk under the lock, and return when that began: waiting for the lock does not count."""
    begun = time.monotonic()
    with chunking.cut_off_after(target.connection(), steps.cut_off):
        chunk = target.chunk(run.cursor, steps.limit, run.older_than, delete=True)
    values = run.note(chunk)
    if values is None:
        raise CleanupEnded(f"cleanup {run.pk} was stopped by another call")
    return chunk, begun, values
