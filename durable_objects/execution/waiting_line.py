"""Wake-ups that cannot run just now: their object is locked, and few of a process wait in line for it, or the database
is away. Little is logged of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import Error

from durable_objects.alarms import backoff
from durable_objects.database import clock
from durable_objects.database.errors import is_connection_lost, sqlstate
from durable_objects.database.messages import message_for
from durable_objects.errors import ObjectBusy
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.logs import about, get_logger

logger = get_logger(__name__)

#: At most this many wake-ups of one process wait in line for their objects' locks at once, after they were put off:
#: others need its threads, too.
MOST_IN_LINE = 4

#: The same trouble of the database is logged once in this time, however many alarms are put off by it.
TELL_EVERY = timedelta(minutes=1)

_logged: dict[str, float] = {}
_in_line: set[int] = set()
_in_line_lock = threading.Lock()


@contextmanager
def place(object_id: int, waits: int) -> Iterator[bool]:
    """Yield whether this wake-up waits in line: not at its first try, nor beside a copy of itself, and few at once."""
    with _in_line_lock:
        has_place = waits > 0 and object_id not in _in_line and len(_in_line) < MOST_IN_LINE
        if has_place:
            _in_line.add(object_id)
    try:
        yield has_place
    finally:
        if has_place:
            _in_line.discard(object_id)


def log(busy: ObjectBusy) -> None:
    """Log what keeps alarms waiting, but not for each of them."""
    _log(sqlstate(busy.__cause__), "2, 4, 8 … 64 s", busy)


def after_lost_connection(error: BaseException, waits: int) -> Fired | None:
    """Return that a wake-up, put off this many times, is sent again, since its session was lost or there was none.

    None if it ended with another error, or is left to the dispatcher now.
    """
    delay = backoff.reconnect_delay(waits)
    if delay is None or not isinstance(error, Error) or not is_connection_lost(clock.connection(), error):
        return None
    _log("database away", "1, 2, 4, 8 s", message_for(error))
    return Fired(Verdict.AGAIN, delay, error)


def _log(kind: str, delays: str, why: object) -> None:
    if clock.monotonic() - _logged.get(kind, float("-inf")) >= TELL_EVERY.total_seconds():
        _logged[kind] = clock.monotonic()
        logger.warning(
            "alarms are put off, uncounted, and tried again after %s: %s",
            delays,
            why,
            extra=about("alarms_put_off"),
        )
