"""The one way out: a call in a thread of its own, that is left behind when its time is over."""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Generic, TypeVar

from django.db import connections

from durable_objects.outgoing.concurrency import Place, TooManyCalls, places

__all__ = ["Call", "DeadlinePassed", "TooManyCalls", "bounded"]

Result = TypeVar("Result")

#: What a call gets to end by itself, once all is done to end it.
GRACE_SECONDS = 0.25


class DeadlinePassed(TimeoutError):
    """A call was not over when its time was; what became of it on the other side is not known."""


class _Ended(BaseException):
    """Raised inside of a call whose time is over, past every ``except Exception``."""


def bounded(origin: str, deadline: timedelta, work: Callable[[Call[Result]], Result]) -> Result:
    """Return or raise what ``work`` does, at the latest after ``deadline``; ``DeadlinePassed`` if it is not over then.

    ``origin`` is the server that it waits for: one has a share of this process's threads only, and ``TooManyCalls`` is
    raised before anything was sent where that is used up. ``work`` runs in a thread of its own, with database
    connections of its own. When its time is over whatever it gave to ``Call.at_end()`` is called, an exception is
    raised in it as soon as it is back from waiting, and it keeps its place until it has ended.
    """
    call = Call(work, places.take(origin))
    try:
        call.start()
        if not call.done.wait(deadline.total_seconds()):
            call.end()
            call.done.wait(GRACE_SECONDS)
    finally:
        call.leave()
    return call.result(f"{origin}: not done within {deadline.total_seconds():g} s, and ended")


class Call(Generic[Result]):
    """One call under way."""

    def __init__(self, work: Callable[[Call[Result]], Result], place: Place) -> None:
        self.done = threading.Event()
        self._work, self._place = work, place
        self._lock = threading.Lock()
        self._ends: list[Callable[[], object]] = []
        self._closes: list[Callable[[], object]] = []
        self._is_over = self._is_closing = False
        self._outcome: list[Result] = []
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=f"call to {place.origin}")
        self._thread.daemon = True

    def at_end(self, end: Callable[[], object], *, always: Callable[[], object]) -> None:
        """Call ``end`` when the time is over (now, if it is), and ``always`` when the call is."""
        with self._lock:
            self._ends.append(end)
            self._closes.append(always)
            is_over = self._is_over
        if is_over:
            self.end()

    def start(self) -> None:
        """Begin; where there can be no more threads the place is released."""
        try:
            self._thread.start()
        except BaseException:
            self._place.release()
            self.done.set()
            raise

    def end(self) -> None:
        """Do what is known to end it."""
        with self._lock:
            self._is_over, ends = True, list(self._ends)
        for end in ends:
            with suppress(Exception):  # closed already
                end()

    def leave(self) -> None:
        """See that it ends, without waiting for that."""
        if not self.done.is_set():
            threading.Thread(target=self._interrupt, name=f"end of {self._thread.name}", daemon=True).start()

    def result(self, otherwise: str) -> Result:
        """Return what it returned. Raises what it raised, or ``DeadlinePassed`` with this text."""
        if self.done.is_set() and self._outcome:
            return self._outcome[0]
        if not self.done.is_set() or self._error is None or isinstance(self._error, _Ended):
            raise DeadlinePassed(otherwise)
        raise self._error

    def _run(self) -> None:
        try:
            try:
                self._outcome.append(self._work(self))
            except BaseException as error:  # noqa: BLE001  raised again where it is waited for
                self._error = error
            self._clean_up()
        except _Ended as error:  # raised just after the work had ended; the next one is a second away
            self._error = self._error or error
            self._clean_up()

    def _clean_up(self) -> None:
        """Close what the call has opened and release its place, uninterrupted: else that would be kept for ever."""
        with self._lock:
            self._is_closing = True
            _raise_in(self._thread, None)
        self._ends.clear()
        for close in self._closes:
            with suppress(Exception):
                close()
        connections.close_all()
        self._place.release()
        self.done.set()

    def _interrupt(self) -> None:
        """Raise in the call's thread, again and again: it may be in a ``finally`` that waits for the other side too."""
        self.end()
        while not self.done.wait(GRACE_SECONDS):
            with self._lock:
                if not self._is_closing:
                    _raise_in(self._thread, _Ended)
            self.done.wait(1)


def _raise_in(thread: threading.Thread, error: type[BaseException] | None) -> None:
    """Raise in another thread, at its next step in Python; None takes back what it has not come to yet."""
    what = ctypes.py_object(error) if error is not None else ctypes.py_object()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), what)
