"""Calls in threads beside a test, and waits, all with an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import connections

Result = TypeVar("Result")

PATIENCE = 10.0
"""Seconds after which every wait of this module gives up."""


class InThread(Generic[Result]):
    """Runs ``call`` at once in a thread with database connections of its own; ``result()`` returns or raises."""

    def __init__(self, call: Callable[[], Result]) -> None:
        self._call = call
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> Result:
        """Return what the call returned, or raise what it raised; TimeoutError after PATIENCE seconds."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError(f"the thread still runs after {PATIENCE} s")
        if self._error is not None:
            raise self._error
        return self._results[0]

    def is_over(self) -> bool:
        """Return whether the call has ended, one way or the other."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001  raised again in the test's thread
            self._error = error
        finally:
            connections.close_all()


def run_in_threads(count: int, call: Callable[[int], Result]) -> list[Result]:
    """Return the results of ``call(0)`` … ``call(count - 1)``, each in its own thread, all started at one moment."""
    gate = threading.Barrier(count, timeout=PATIENCE)

    def pass_gate(number: int) -> Result:
        gate.wait()
        return call(number)

    beside = [InThread(lambda number=number: pass_gate(number)) for number in range(count)]  # type: ignore[misc]  # typed by pass_gate
    return [one.result() for one in beside]


def await_event(event: threading.Event) -> None:
    """Return once the event is set; TimeoutError after PATIENCE seconds."""
    if not event.wait(PATIENCE):
        raise TimeoutError(f"nothing happened for {PATIENCE} s")


def await_that(condition: Callable[[], bool]) -> None:
    """Return once the condition holds, asked every 10 ms; TimeoutError after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {PATIENCE} s")
        time.sleep(0.01)
