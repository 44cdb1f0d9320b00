"""Publishes wake-ups to the broker, after the commit; a broker in trouble is never the caller's.

A wake-up is a hint. What fails here is made up for by the dispatcher, so no function of this module raises for it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from logging import INFO, WARNING
from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import failpoints, process
from durable_objects.alarms import limits
from durable_objects.alarms.slot import Slot
from durable_objects.database import clock
from durable_objects.delivery import claims
from durable_objects.logs import about, get_logger

logger = get_logger(__name__)

#: After a message could not be sent, callers do not try for this many seconds: the dispatcher covers the time.
BREAK_SECONDS = 5.0

#: After its commit a transaction begins no further message once it has spent this many seconds on them, and one with
#: more ``on_commit`` hooks than this marks none: the dispatcher sends the rest.
SECONDS_AFTER_COMMIT = 1.0
MOST_AFTER_COMMIT = 100

#: One message carries at most this many alarms, whose times differ by at most this much.
MOST_PER_MESSAGE = 100
TOGETHER_WITHIN = timedelta(milliseconds=50)

#: Those that share a transaction may be more, which costs less for each, where that leaves this many messages: as many
#: processes then have something to do.
MOST_PER_GROUP, FEWEST_GROUPS = 200, 5

#: Alarms that are due together and run each in a transaction of its own go in at least this many messages, if they are
#: as many: for as many threads of workers. Those that wait behind a slow one are fewer, and most of them quick.
FEWEST_MESSAGES, FEWEST_SENT_ON = 32, 8


class Shares(enum.Enum):
    """What a wake-up may share with others that are due at about the same time."""

    NOTHING = "nothing"
    #: The message: they run one after the other, each in a transaction of its own.
    MESSAGE = "message"
    #: The message and the transaction that they run in (``alarm_groups``).
    TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True)
class WakeUp:
    """The message for one alarm. ``rescue``: an earlier message got lost, perhaps with its worker. ``waits``: how often
    it was put off. ``kind_id`` names the object's class, where that is known.
    """

    object_id: int
    wake_up_number: int
    at: datetime
    retries: int
    time_limit: timedelta
    kind_id: int | None = None
    rescue: bool = False
    waits: int = 0
    shares: Shares = Shares.NOTHING


class Woken(limits.Limited, Protocol):
    """What of a class, or of a handle's, says how its alarms are woken."""

    @property
    def alarm_time_limit(self) -> timedelta:
        """What a run may take."""

    @property
    def alarm_groups(self) -> bool:
        """Whether its runs may share a transaction."""


class NotPrepared(Exception):
    """The broker is new, and no worker has prepared it for this message yet, as one does when it starts: no trouble."""


class Budget:
    """The time that may be spent on messages, from the first one on: shared by all hooks of one transaction."""

    __slots__ = ("_ends", "_seconds")

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds, self._ends = seconds, float("inf")

    @property
    def is_running(self) -> bool:
        """Whether it has begun."""
        return self._ends < float("inf")

    def is_left(self) -> bool:
        """Return whether another message may be begun; always so for the first."""
        now = clock.monotonic()
        if not self.is_running:
            self._ends = now + (SECONDS_AFTER_COMMIT if self._seconds is None else self._seconds)
            return True
        return now < self._ends


@dataclass(slots=True)
class _Publisher:
    publish: Callable[[WakeUp], None] | None = None
    publish_several: Callable[[Sequence[WakeUp]], None] | None = None
    is_private: Callable[[], bool] = lambda: False
    worker_here: bool = False
    broken_until: float = 0.0


_publisher = _Publisher()


def register(
    publish: Callable[[WakeUp], None],
    is_private: Callable[[], bool],
    publish_several: Callable[[Sequence[WakeUp]], None] | None = None,
) -> None:
    """Set how a wake-up is sent, or several that share a message, and whether the broker is private to this process.

    Called by ``tasks``.
    """
    _publisher.publish, _publisher.is_private, _publisher.publish_several = publish, is_private, publish_several


def worker_started(threads: int | None = None) -> None:
    """Note that this process runs a worker of its own, in n threads, which consumes from its private memory
    broker.
    """
    _publisher.worker_here, process.threads = True, threads


def worker_stopped() -> None:
    """Note that the worker of ``worker_started`` has ended."""
    _publisher.worker_here, process.threads = False, None


def has_worker() -> bool:
    """Return whether a worker runs in this process."""
    return _publisher.worker_here


def has_consumer() -> bool:
    """Return whether a message would reach a worker if the broker took it."""
    if _publisher.publish is None or clock.fake is not None:
        return False
    return _publisher.worker_here or not _publisher.is_private()


def is_broken() -> bool:
    """Return whether a message could not be sent just now, so that only a probe is tried for some seconds."""
    return clock.monotonic() < _publisher.broken_until


def can_publish() -> bool:
    """Return whether a wake-up can be sent now: if not, the slot must not be marked."""
    return has_consumer() and not is_broken()


def has_capacity(conn: BaseDatabaseWrapper) -> bool:
    """Return whether the transaction may mark another wake-up to send after its commit: it has few hooks so far."""
    return len(conn.run_on_commit) <= MOST_AFTER_COMMIT


def budget_of(conn: BaseDatabaseWrapper) -> Budget:
    """Return the open transaction's budget: the last one, unless that has been begun by a commit."""
    budget: Budget | None = conn.__dict__.get("durable_objects_budget")
    if budget is None or budget.is_running:
        budget = conn.__dict__["durable_objects_budget"] = Budget()
    return budget


def wake_up(alarm: Slot | claims.Claim, of: Woken, kind_id: int, *, rescue: bool = False) -> WakeUp:
    """Return the wake-up for this alarm ``of`` a class, or of a handle's. Raises ``ValueError`` when it is not armed.

    What is retried, rescued or has limits shares nothing: it takes a start of its own.
    """
    if alarm.wake_at is None:
        raise ValueError(f"object {alarm.object_id} has no armed alarm to send a wake-up for")
    shares = Shares.TRANSACTION if of.alarm_groups else Shares.MESSAGE
    if rescue or alarm.retry_count or limits.of(of) is not None:
        shares = Shares.NOTHING
    return WakeUp(
        alarm.object_id, alarm.wake_up_number, alarm.wake_at, alarm.retry_count, of.alarm_time_limit, kind_id, rescue,
        shares=shares,
    )  # fmt: skip


def publish(wake_ups: Iterable[WakeUp], budget: Budget, *, probe: bool = False, fewest: int | None = None) -> int:
    """Send the wake-ups; return how many were sent. The first that fails stops the rest and opens the circuit breaker.

    What the budget leaves no time for is not tried. ``probe``: try although the breaker is open, for those who can
    wait; what gets through closes it. ``fewest``: into how many messages those go at least that only share a message,
    if they are as many (default: ``FEWEST_MESSAGES``).
    """
    sent, failed = 0, []
    for message in _messages(wake_ups, fewest or FEWEST_MESSAGES):
        try:
            if not has_consumer() or (is_broken() and not probe) or not budget.is_left():
                failed += message
                continue
            failpoints.reach("bell.before_publish")
            _publish(message)
            sent, _publisher.broken_until = sent + len(message), 0.0
        except Exception as error:  # noqa: BLE001  whatever a broker's client raises, it must not reach the caller
            probe, _publisher.broken_until = False, clock.monotonic() + BREAK_SECONDS
            level, why = (INFO, error) if isinstance(error, NotPrepared) else (WARNING, repr(error))
            logger.log(
                level, "wake-up for object %s (%s in all) not sent (%s): the dispatcher will",
                message[0].object_id, len(message), why, extra=about("wake_ups_not_sent", wake_ups=len(message)),
            )  # fmt: skip
            failed += message
    _forget(failed)
    return sent


def _messages(wake_ups: Iterable[WakeUp], fewest: int) -> Iterator[list[WakeUp]]:
    """Yield messages: wake-ups that share one and are due at about the same time together, all others one by one."""
    shared: dict[tuple[Shares, timedelta], list[WakeUp]] = {}
    for wake_up in wake_ups:
        if wake_up.shares is not Shares.NOTHING and _publisher.publish_several is not None:
            shared.setdefault((wake_up.shares, wake_up.time_limit), []).append(wake_up)
        else:
            yield [wake_up]
    for (shares, _), several in shared.items():
        for due in _due_together(several):
            if shares is Shares.MESSAGE:
                size = min(max(len(due) // fewest, 1), MOST_PER_MESSAGE)
            else:
                size = min(max(len(due) // FEWEST_GROUPS, MOST_PER_MESSAGE), MOST_PER_GROUP)
            yield from (due[start : start + size] for start in range(0, len(due), size))


def _due_together(wake_ups: Iterable[WakeUp]) -> Iterator[list[WakeUp]]:
    """Yield these in the order of their times, those together that are not far from the first of them."""
    now = datetime.now(UTC)
    together: list[WakeUp] = []
    for wake_up in sorted(wake_ups, key=lambda each: each.at):
        if together and max(wake_up.at, now) - max(together[0].at, now) > TOGETHER_WITHIN:
            yield together
            together = []
        together.append(wake_up)
    if together:
        yield together


def _publish(message: Sequence[WakeUp]) -> None:
    if _publisher.publish_several is not None and len(message) > 1:
        _publisher.publish_several(message)
    elif _publisher.publish is not None:
        _publisher.publish(message[0])


def _forget(failed: Sequence[WakeUp]) -> None:
    if not failed:
        return
    try:
        claims.mark_unsent({wake_up.object_id: (wake_up.wake_up_number, wake_up.rescue) for wake_up in failed})
    except Exception:  # noqa: BLE001  best effort, after the commit: the caller's work is done
        logger.warning(
            "object %s (%s in all) keeps a wake-up that was never sent until it counts as lost",
            failed[0].object_id, len(failed),
        )  # fmt: skip
