"""One thread per process that ends runs which last longer than their class allows, in any pool.

It cannot stop the code; it counts the failure and fences the run, so that whatever the code does later is refused. The
object of a run that hangs with the lock is freed by the server (``idle_in_transaction_session_timeout``); SQLite has
no such limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta

from durable_objects.database import clock, supported
from durable_objects.handler_errors import formattable, is_failure
from durable_objects.logs import get_logger

logger = get_logger(__name__)

#: What a run gets beyond its limit to notice by itself; and how long the watchdog waits when the object is not free.
GRACE_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Watch:
    """A block that is ended when it lasts longer; a class, since each run pays three times as much for a generator."""

    deadline: float
    end: Callable[[], None]

    def __enter__(self) -> None:
        global _thread
        with _lock:
            _watches.add(self)
            if _thread is None or not _thread.is_alive():
                _thread = threading.Thread(target=_watch, name="durable-objects-watchdog", daemon=True)
                _thread.start()

    def __exit__(self, *raised: object) -> None:
        with _lock:
            _watches.discard(self)


_lock = threading.Lock()
_watches: set[_Watch] = set()
_thread: threading.Thread | None = None


def watching(limit: timedelta, end: Callable[[], None]) -> AbstractContextManager[None]:
    """Call ``end`` in the watchdog's thread if the block lasts longer than ``limit``; again when that raises."""
    if clock.fake is not None:
        return nullcontext()
    return _Watch(clock.monotonic() + limit.total_seconds() + GRACE_SECONDS, end)


def _watch() -> None:
    while True:
        time.sleep(1)
        with _lock:
            now = clock.monotonic()
            late = [watch for watch in _watches if watch.deadline < now]
        for watch in late:
            _end(watch)


def _end(watch: _Watch) -> None:
    try:
        supported.leave_pool(clock.connection())
        watch.end()
        with _lock:
            _watches.discard(watch)
    except BaseException as error:
        if not is_failure(error):
            raise
        logger.error("a run over its time limit could not be ended, tried again", exc_info=formattable(error))
        watch.deadline = clock.monotonic() + GRACE_SECONDS
    finally:
        with suppress(Exception):
            clock.connection().close()
