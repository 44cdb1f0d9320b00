"""Sessions that call in turns: while one has unlocked its object, another thread does something to it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from django.db import connections

from tests.conformance.model.world import Frame

Result = TypeVar("Result")

#: Seconds after which a session that does not answer is a failure.
PATIENCE = 30.0


@dataclass
class Session:
    """The turns that one thread has open: locked, and unlocked by ``unlocked()``; how many blocks are open in them."""

    held: dict[str, Frame] = field(default_factory=dict)
    loose: dict[str, Frame] = field(default_factory=dict)
    blocks: int = 0


class Sessions:
    """A stack of threads, each with a database connection of its own; the topmost is the one that calls."""

    def __init__(self) -> None:
        self._stack = [Session()]
        self._threads: list[ThreadPoolExecutor] = []

    @property
    def current(self) -> Session:
        """The session that calls now."""
        return self._stack[-1]

    def beside(self, call: Callable[[], Result]) -> Result:
        """Call in a session of its own, and wait for it."""
        depth = len(self._stack) - 1
        if depth == len(self._threads):
            self._threads.append(ThreadPoolExecutor(1))
        self._stack.append(Session())
        try:
            return self._threads[depth].submit(call).result(PATIENCE)
        finally:
            self._stack.pop()

    def close(self) -> None:
        """End the threads, with their connections."""
        for thread in self._threads:
            thread.submit(connections.close_all).result(PATIENCE)
            thread.shutdown()
        self._threads.clear()
