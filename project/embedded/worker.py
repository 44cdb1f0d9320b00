"""A Celery worker inside this process, for the broker that no other process can reach (``memory://``)."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery.worker import WorkController
from celery.worker import state as worker_state

from durable_objects import embedding
from project.celery import app

logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # it warns that memory:// names no host

THREADS = 8
SECONDS_TO_START = 15.0


class EmbeddedWorker:
    """Runs the Celery worker in a thread, its tasks in a pool of ``THREADS`` more. One per process, started once.

    It takes no signals and leaves logging alone (both belong to the process). While it runs, the engine counts a
    message put on this process's private broker as a wake-up.
    """

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start, and return once it takes messages. Raises ``RuntimeError`` when it does not within 15 s."""
        self._thread.start()
        if not self._ready.wait(SECONDS_TO_START):
            raise RuntimeError(f"the embedded Celery worker was not ready within {SECONDS_TO_START:.0f} s; see the log")
        embedding.worker_started(THREADS)

    def is_alive(self) -> bool:
        """Return whether it still takes messages."""
        return self._thread.is_alive()

    def stop(self, seconds: float) -> bool:
        """Take no more messages, let the tasks under way end; return whether all had ended within ``seconds``.

        What had not ended can be cut off with the process: it is not committed, and runs again after the next start.
        """
        embedding.worker_stopped()
        setattr(worker_state, "should_stop", 0)  # its exit code: 0
        end = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < end:
            app.control.broadcast("heartbeat")  # any message: only one that arrives ends the worker's wait of 2 s
            self._thread.join(0.1)
        return not self._thread.is_alive()

    def _run(self) -> None:
        controller: Any = WorkController(
            app=app,
            hostname="embedded@localhost",
            pool="threads",
            concurrency=THREADS,
            timer_precision=0.02,  # else one that is due before those already waiting runs up to a second late
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
            ready_callback=lambda consumer: self._ready.set(),
            quiet=True,
        )
        controller.start()
