"""Backoff: the delays and limits of retries and of lost wake-ups, computed nowhere else; ``AlarmInfo`` of a run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_objects.class_attributes import MAX_RETRY_DELAY, Backoff, is_retry_delay

#: Retries after the first run, so seven runs in all (DO-44).
ALARM_MAX_RETRIES = 6

#: Seconds before the first retry; each further one waits twice as long (DO-43).
FIRST_RETRY_SECONDS = 2

#: No retry waits longer than this unless the class says so, whatever its own limit of retries is. One that does is no
#: message meanwhile but a row, like every alarm that is far away.
LONGEST_RETRY_SECONDS = 600

#: An alarm whose runs crashed their worker this often is dead: nothing else would ever end it.
MAX_CRASHED_STARTS = 10

#: No wake-up waits for its object's lock for longer than this at a time: a process of a pool does nothing else then.
LONGEST_PATIENCE = timedelta(seconds=30)

#: A wake-up that found the database away is sent again by its worker this often, for longer than ``LOST_AFTER``.
MOST_RECONNECTS = 4

#: How long a wake-up may be overdue before it counts as lost; doubled with every one that was.
LOST_AFTER = timedelta(seconds=10)
LOST_AFTER_AT_MOST = timedelta(minutes=5)


_LENGTH_WITHOUT_ZONE = len("1970-01-01T00:00:00.000000")
_WITHOUT_PUNCTUATION = str.maketrans("", "", "-:.")


@dataclass(frozen=True, slots=True)
class AlarmInfo:
    """The argument of ``alarm()``: facts about its run (DO-40).

    ``retry_count`` counts failed runs of this alarm, not crashes and not waiting. ``scheduled_at`` is the time
    that was asked for, the same on every retry. ``lateness`` is the start of this run against the time it was
    due, which on a retry is later than ``scheduled_at``. ``key`` is text of letters, digits and hyphens, at most 60:
    the same on every retry of one alarm or one occurrence of a schedule, and when it is revived; another one for each
    that is set. Give it to what acts outside, so that it can tell a repetition. ``schedule`` is the schedule's name,
    empty for the alarm.
    """

    retry_count: int
    scheduled_at: datetime
    lateness: timedelta
    key: str = ""
    schedule: str = ""

    @property
    def is_retry(self) -> bool:
        """Whether an earlier run of this alarm failed."""
        return self.retry_count > 0


def key_of(object_id: int, set_number: int, scheduled_at: datetime) -> str:
    """Return the key of an alarm, or of one occurrence of a schedule; see ``AlarmInfo``.

    With its time: a database that was restored from a backup counts the same numbers again.
    """
    at = scheduled_at.isoformat(timespec="microseconds")[:_LENGTH_WITHOUT_ZONE].translate(_WITHOUT_PUNCTUATION)
    return f"{object_id}-{set_number}-{at}Z"


def retry_delay(failures: int, policy: Backoff | None = None, jitter: float = 0) -> timedelta:
    """Return the delay after this number of failed runs: 2, 4, 8, 16, 32, 64 s … (DO-43), or what the policy of a class
    says. ``jitter`` adds up to this fraction of it, at random: no retry is earlier.

    Raises what a policy raises that is called, and ``TypeError`` when that returns no delay.
    """
    if policy is None:
        delay = timedelta(seconds=min(FIRST_RETRY_SECONDS << min(failures - 1, 10), LONGEST_RETRY_SECONDS))
    elif callable(policy):
        delay = policy(failures)
        if not is_retry_delay(delay):
            raise TypeError(
                f"alarm_backoff({failures}) returned {delay!r}: it must be a timedelta from 0 to "
                f"{MAX_RETRY_DELAY.days} days"
            )
    else:
        delay = policy[min(failures, len(policy)) - 1]
    return delay * (1 + jitter * random.random()) if jitter else delay  # noqa: S311  no secret


def is_celerys(delay: timedelta) -> bool:
    """Return whether Celery's retry brings a run after this delay; otherwise a wake-up of its own does, as any alarm's:
    what is far waits as a row, and what comes in less than a second cannot be delayed by RabbitMQ.
    """
    return timedelta(seconds=1) <= delay <= timedelta(seconds=LONGEST_RETRY_SECONDS)


def busy_delay(waits: int) -> timedelta:
    """Return the delay of a wake-up that has found its object locked this many times: 2, 4, 8 … 64 s."""
    return timedelta(seconds=2 << min(waits, 5))


def reconnect_delay(waits: int) -> timedelta | None:
    """Return the delay of a wake-up that found the database away, and was put off this many times: 1, 2, 4, 8 s.

    Times that it waited for its object's lock count as well. None after that: it counts as lost by then, and the
    dispatcher sends it once the database is back.
    """
    return timedelta(seconds=1 << waits) if waits < MOST_RECONNECTS else None


def patience(waits: int, lock_timeout: timedelta) -> timedelta:
    """Return how long a wake-up that was put off waits for its object's lock: 10, 20, at most 30 s.

    Twice ``LOCK_TIMEOUT`` at first. Whoever is before it in the queue of the lock gives up after ``LOCK_TIMEOUT``, or
    has its turn then: the wake-up gets the lock within that plus the longest call, if it waits that long.
    """
    return max(lock_timeout, min(lock_timeout * (1 << min(waits, 10)), LONGEST_PATIENCE))


def lost_after(wake_ups_lost: int) -> timedelta:
    """Return how long after its time a wake-up counts as lost: 10 s, doubled with each that was, at most 5 minutes."""
    return min(LOST_AFTER * (1 << min(wake_ups_lost, 10)), LOST_AFTER_AT_MOST)
