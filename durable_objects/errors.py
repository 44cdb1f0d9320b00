"""What the engine raises. Each docstring says what happened and what to do, and is the message when none is given."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta


class DurableObjectError(Exception):
    """A durable object could not do what was asked. Catch this to catch every error of the engine."""

    def __init__(self, *args: object) -> None:
        if not args:
            args = (" ".join((inspect.getdoc(type(self)) or type(self).__name__).split()),)
        super().__init__(*args)


class InvalidInput(DurableObjectError, ValueError, TypeError):
    """A name, key, value or time was refused and nothing was changed. Pass what `allowed` describes."""

    allowed: str = "what the called method documents"
    """What would have been accepted, in one phrase: for messages and for the `allowed` field of an HTTP answer."""


class InvalidName(InvalidInput):
    """The name of an object was refused. Pass text of 1 to 512 characters, without NUL or lone surrogates."""

    allowed = "text (exactly str) of 1 to 512 characters, without NUL or lone surrogates"


class InvalidKey(InvalidInput):
    """A storage key was refused. Pass text of 1 to 2,048 bytes of UTF-8, without NUL or lone surrogates."""

    allowed = "text (exactly str) of 1 to 2,048 bytes of UTF-8, without NUL or lone surrogates"


class InvalidValue(InvalidInput):
    """A value cannot be stored, or a stored text cannot be read. Pass only the types named in `allowed`."""

    allowed = (
        "None, bool, int, float, str, list, dict with text keys, datetime, date, time, timedelta, Decimal, UUID, "
        "bytes, tuple, set and frozenset (exactly these types, not subclasses), at most 200 levels deep, without NUL "
        "or lone surrogates in text, up to 2,000,000 bytes encoded"
    )


class InvalidAlarmTime(InvalidInput):
    """The time of an alarm was refused. Pass an aware datetime after the epoch, or a timedelta from now."""

    allowed = "an aware datetime after 1970-01-01T00:00:00Z and up to the year 9999, or a timedelta from now"


class InvalidSchedule(InvalidInput):
    """A schedule was refused: its rule, zone, start, end or policy. Pass what `allowed` describes."""

    allowed = "a rule that comes some day: a time, an interval, a cron expression or an RRULE"


class AlarmHandlerMissing(DurableObjectError, TypeError):
    """The class has no alarm() of its own, so an alarm could do nothing. Define `def alarm(self, info)` on it."""


class AlarmTimeLimitExceeded(DurableObjectError, TimeoutError):
    """The alarm handler ran past its alarm_time_limit; the run counts as failed and is retried.

    Do less per run, or raise alarm_time_limit on the class.
    """


class GiveUp(DurableObjectError):
    """An alarm handler raised this on purpose: no retry can help. Look at the reason, then revive the alarm.

    ``raise GiveUp("the card was refused")`` in ``alarm()`` or ``initialize()`` undoes the run as any error does, and
    makes the alarm dead at once, with the reason as its ``last_error``; ``alarm_died()`` is called. Where another call
    has set or deleted the alarm while the run was unlocked, that stands, and the run counts as failed.
    """


class Snooze(DurableObjectError):
    """An alarm handler raised this on purpose: run the alarm again at another time.

    ``raise Snooze(timedelta(minutes=5), "the upstream is closed")`` in ``alarm()`` or ``initialize()`` undoes the run
    as any error does; the alarm runs again at ``when`` (an aware ``datetime``, or a ``timedelta`` from now), never
    early; a past time means now. That is no failure: ``retry_count`` and ``scheduled_at`` stay as they are, and the
    history has a run that was snoozed, with the reason. What is no time fails the run with ``InvalidAlarmTime``. Where
    another call has set or deleted the alarm while the run was unlocked, that stands.
    """

    def __init__(self, when: datetime | timedelta, reason: str = "") -> None:
        super().__init__(when, reason)
        self.when, self.reason = when, reason

    def __str__(self) -> str:
        how_long = f"{'for' if isinstance(self.when, timedelta) else 'until'} {self.when}"
        return f"snoozed {how_long}: {self.reason}" if self.reason else f"snoozed {how_long}"


class ClassUnknown(DurableObjectError, LookupError):
    """The class of this object is not installed in this process, so its code cannot run here.

    Its rows and alarm are kept: add its app to INSTALLED_APPS, or use a process that has it.
    """


class ObjectBusy(DurableObjectError):
    """The object's lock was not free within LOCK_TIMEOUT, a deadlock could not be retried, or the database could not
    do what the engine asked of it (a lock on its tables, a full disk, a time-out). Nothing was changed.

    Try again later; if it is frequent, do slow work inside `with self.unlocked():`. The database's error is its cause.
    """

    key: tuple[str, str] | None = None
    """Class label and name of the object that was not free; None when it was one of several, or something else."""


class ValueChanged(DurableObjectError):
    """What is stored under the key is not what the caller had seen: somebody has changed it meanwhile.

    Nothing was changed. Look at the value that is there now, and decide again.
    """


class CannotUnlock(DurableObjectError):
    """unlocked() was used where the work so far cannot be committed.

    Use it in a turn of its own: not in a transaction of the caller, storage.transaction(), or another object's turn.
    """


class IsolationNotSupported(DurableObjectError):
    """The caller's transaction is not READ COMMITTED, so it could not see what the lock protects. Nothing was run.

    Call the object outside that transaction, or run the transaction at READ COMMITTED.
    """


class RunSuperseded(DurableObjectError):
    """The run no longer owns the object: its lease ran out and another run took over, or the object was deleted.

    What it wrote since its last commit is dropped. Let it end: every later storage call, and the commit, raise this.
    """
