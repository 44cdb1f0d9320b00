"""Wake-ups that found their object locked: few of a process wait in line for it, and little is logged of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from durable_objects.database import clock
from durable_objects.database.errors import sqlstate
from durable_objects.errors import ObjectBusy
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
    kind = sqlstate(busy.__cause__)
    if clock.monotonic() - _logged.get(kind, float("-inf")) >= TELL_EVERY.total_seconds():
        _logged[kind] = clock.monotonic()
        logger.warning(
            "alarms are put off, uncounted, and tried again after 2, 4, 8 … 64 s: %s",
            busy,
            extra=about("alarms_put_off"),
        )
