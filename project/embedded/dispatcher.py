"""The dispatcher inside this process: one pass every few seconds, and at once when another process wrote."""

from __future__ import annotations

import threading
import time

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects import embedding
from durable_objects.conf import engine
from durable_objects.logs import get_logger

logger = get_logger("project.dispatcher")

SECONDS_PER_LOOK = 0.2


class Dispatcher:
    """Passes every ``DISPATCH_EVERY`` in a thread of its own, and on SQLite within 0.2 s of a commit elsewhere.

    A pass that fails closes the thread's connection and is tried again after ``embedding.pause_after``, for ever: a
    database that was away needs no restart. Any number of dispatchers may run at once.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._seen_version: int | None = None
        self._next_pass = 0.0
        self._failures = 0

    def start(self) -> None:
        """Start; the first pass is at once."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether it still makes passes."""
        return self._thread.is_alive()

    def stop(self, seconds: float) -> bool:
        """End after the pass under way; return whether it ended within ``seconds``."""
        self._stop.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            try:
                self._look(connections[engine.DATABASE])
                self._failures, wait = 0, SECONDS_PER_LOOK
            except Exception as error:  # noqa: BLE001  whatever it was, the next pass may work
                self._failures += 1
                wait = embedding.pause_after(self._failures).total_seconds()
                self._seen_version, self._next_pass = None, 0.0  # of a connection that is gone; as soon as it may
                logger.error("the dispatcher's pass failed, next try in %.1f s: %s", wait, error)
                connections.close_all()
        connections.close_all()

    def _look(self, connection: BaseDatabaseWrapper) -> None:
        """Make a pass when it is time for one, or when another connection has committed since the last look."""
        version = data_version(connection)
        written = self._seen_version is not None and version != self._seen_version
        self._seen_version = version
        if written or time.monotonic() >= self._next_pass:
            self._next_pass = time.monotonic() + engine.DISPATCH_EVERY.total_seconds()
            embedding.run_pass()


def data_version(connection: BaseDatabaseWrapper) -> int | None:
    """Return a number that changes when another connection has committed to this SQLite file; None on other
    databases.
    """
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        return int(cursor.fetchone()[0])
