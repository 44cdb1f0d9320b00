"""When a batch that was not delivered is tried again. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST_QUICK = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(minutes=60)
"""No pause of ours is longer, and no ``Retry-After`` of the upstream's is obeyed beyond it."""


@dataclass(frozen=True)
class NextTry:
    """When to try next (``at``, None: never), whether the batch is set aside, and its failures since it was."""

    at: datetime | None
    set_aside: bool
    failures: int


def after_failure(
    now: datetime,
    *,
    set_aside: bool,
    failures: int,
    max_retries: int,
    give_up_at: datetime,
    retry_after: timedelta | None,
) -> NextTry:
    """Return what follows a failed try. ``failures`` are those before it, counted from 0 once the batch was set aside.

    Quick: 2, 4, 8 s … up to ``max_retries`` times. Then set aside: 1, 2, 4 … minutes, at most 60. The last try is at
    ``give_up_at``. An upstream's ``retry_after`` makes a pause longer, never shorter, and never longer than an hour.
    """
    if now >= give_up_at:
        return NextTry(None, set_aside, failures + 1)
    if not set_aside and failures < max_retries:
        pause = min(timedelta(seconds=2 ** (failures + 1)), LONGEST_QUICK)
    else:
        failures = failures if set_aside else 0
        set_aside = True
        pause = min(timedelta(minutes=2 ** min(failures, 6)), LONGEST_PAUSE)
    if retry_after is not None:
        pause = max(pause, min(retry_after, LONGEST_PAUSE))
    return NextTry(min(now + pause, give_up_at), set_aside, failures + 1)
