"""How long it takes after a fault until what was overdue at its end has been dealt with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

_OVERDUE = """
    SELECT object_id, generation, retry_count FROM durable_objects_alarm
    WHERE state = 'armed' AND due_at <= clock_timestamp()
"""
EVERY_SECONDS = 0.25

Alarms = set[tuple[int, int, int]]


@dataclass
class Open:
    """A fault that ended at this monotonic time, and what is left of the alarms that were overdue then."""

    kind: str
    end: float
    left: Alarms | None = None


@dataclass
class Recoveries:
    """A thread that looks at the database all the time. ``seconds``: of each fault that was recovered from, by kind."""

    ask: Callable[[str], list[tuple[Any, ...]]]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    longest_backlog: int = 0

    def __post_init__(self) -> None:
        self._open: list[Open] = []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """From how many faults the recovery is not over."""
        with self._lock:
            return len(self._open)

    def expect(self, kind: str) -> None:
        """A fault has ended now."""
        with self._lock:
            self._open.append(Open(kind, time.monotonic()))

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            with suppress(ConnectionError):  # the database is being restarted
                self._look({(a, b, c) for a, b, c in self.ask(_OVERDUE)})

    def _look(self, overdue: Alarms) -> None:
        self.longest_backlog = max(self.longest_backlog, len(overdue))
        with self._lock:
            for one in self._open:
                one.left = overdue if one.left is None else one.left & overdue
            over = [one for one in self._open if not one.left]
            self._open = [one for one in self._open if one.left]
        for one in over:
            self.seconds.setdefault(one.kind, []).append(round(time.monotonic() - one.end, 2))
