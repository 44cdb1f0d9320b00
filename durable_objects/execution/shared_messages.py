"""Several wake-ups in one message: each alarm runs in a transaction of its own, one after the other, as if it had come
alone; what they share is the cost of the message.

Nobody waits behind a neighbour: as soon as a run is slow, or releases its object, those that have not begun are sent on
for other threads and workers. What the broker loses of them the dispatcher sends again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from durable_objects.database import clock, supported
from durable_objects.delivery import publisher
from durable_objects.delivery.publisher import Shares, WakeUp
from durable_objects.execution import waiting_line
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.handler_errors import is_failure
from durable_objects.logs import get_logger
from durable_objects.turns import opened_ahead

logger = get_logger(__name__)

#: A run that has lasted this long, its wait for the lock included, is slow. Looked after this often.
SLOW_AFTER_SECONDS = 0.05
_SECONDS_BETWEEN_LOOKS = 0.025


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many of a message's alarms ran here, and those that are dead now."""

    ran: int
    dead: Sequence[tuple[int, Fired]]


def fire_each(alarms: Iterable[tuple[int, int, int]], time_limit: timedelta) -> Outcome:
    """Run these alarms (object, wake-up number, kind) as ``executor.fire`` runs each; what it wants sent is sent.

    Raises what ``executor.fire`` raises; those that have not begun are sent on then, unless the process is ending.
    """
    now = datetime.now(UTC)
    message = _Message(WakeUp(object_id, number, now, 0, time_limit, kind_id) for object_id, number, kind_id in alarms)
    ran, dead = 0, []
    with _watched(message), opened_ahead.undone_at_the_end(clock.connection()):
        while (wake_up := message.begin_next()) is not None:
            try:
                fired = fire(
                    wake_up.object_id,
                    wake_up.wake_up_number,
                    kind_id=wake_up.kind_id,
                    has_let_go=message.has_let_go,
                    next_object=partial(message.next_object, wake_up.kind_id),
                )
            except BaseException as error:
                put_off = waiting_line.after_lost_connection(error, wake_up.waits)
                if put_off is None:
                    if is_failure(error):
                        message.send_rest()
                    raise
                fired = put_off
            ran += fired.verdict not in {Verdict.DROPPED, Verdict.AGAIN}
            if fired.verdict is Verdict.DEAD:
                dead.append((wake_up.object_id, fired))
            elif fired.delay is not None:
                publisher.publish([_again(wake_up, fired)], publisher.Budget())
    return Outcome(ran, dead)


def _again(wake_up: WakeUp, fired: Fired) -> WakeUp:
    """Return the wake-up that follows: a retry, one that was put off, or one that came too early."""
    assert fired.delay is not None
    at = datetime.now(UTC) + fired.delay
    if fired.verdict is Verdict.FAILED:
        return replace(wake_up, at=at, retries=fired.failures)
    if fired.wake_up_number is not None:
        return replace(wake_up, at=at, wake_up_number=fired.wake_up_number)
    return replace(wake_up, at=at, waits=wake_up.waits + 1)


class _Message:
    """What is left of a message, while a thread works on it; another one may send the rest on."""

    def __init__(self, waiting: Iterable[WakeUp]) -> None:
        self._waiting = deque(waiting)
        self._slow_at = float("inf")

    def begin_next(self) -> WakeUp | None:
        """Return the next one, which begins now; None if none is left."""
        self._slow_at = clock.monotonic() + SLOW_AFTER_SECONDS
        with suppress(IndexError):
            return self._waiting.popleft()
        return None

    def next_object(self, kind_id: int | None) -> int | None:
        """Return the object of the next one if that is of this class. It has not begun: it may be sent on yet."""
        with suppress(IndexError):
            if self._waiting[0].kind_id == kind_id:
                return self._waiting[0].object_id
        return None

    def has_let_go(self) -> None:
        """Let the rest be sent on: the run that is in progress has released its object, to do something slow."""
        self._slow_at = float("-inf")
        with _condition:
            _condition.notify()

    def is_slow(self) -> bool:
        """Return whether the rest is not to wait any longer for what has begun."""
        return bool(self._waiting) and self._slow_at < clock.monotonic()

    def send_rest(self) -> None:
        """Send on what has not begun, in a few messages, so that one that is sent on again comes alone then. Never
        raises: see ``publisher``.
        """
        rest = []
        with suppress(IndexError):
            while True:
                rest.append(replace(self._waiting.popleft(), shares=Shares.MESSAGE))
        publisher.publish(rest, publisher.Budget(), fewest=publisher.FEWEST_SENT_ON)


_condition = threading.Condition()
_messages: set[_Message] = set()
_thread: threading.Thread | None = None


@contextmanager
def _watched(message: _Message) -> Iterator[None]:
    """Let another thread send on the rest of the message as soon as it is slow, while the block lasts."""
    global _thread
    with _condition:
        _messages.add(message)
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_watch, name="durable-objects-messages", daemon=True)
            _thread.start()
        _condition.notify()
    try:
        yield
    finally:
        with _condition:
            _messages.discard(message)


def _watch() -> None:
    while True:
        with _condition:
            _condition.wait(_SECONDS_BETWEEN_LOOKS if _messages else None)
            slow = [message for message in _messages if message.is_slow()]
        for message in slow:
            _send_rest(message)


def _send_rest(message: _Message) -> None:
    try:
        with suppress(Exception):
            supported.leave_pool(clock.connection())
        message.send_rest()
    except Exception:
        logger.exception("what waits behind a slow alarm could not be sent on: it is sent again when it counts as lost")
    finally:
        with suppress(Exception):
            clock.connection().close()
