"""Calls that are combined: they wait in line while a test holds the lock of their object."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from durable_objects.models import DurableObject
from durable_objects.turns import combining
from tests.models import Scripted
from tests.support.threads import InThread, await_event, await_that

Call = Callable[[Any], Any]


@contextmanager
def locked(obj: DurableObject) -> Iterator[None]:
    """Lock the object in this block, so that the first call waits for it and the others for the first."""
    had, release = threading.Event(), threading.Event()

    def keep() -> None:
        had.set()
        await_event(release)

    keeper = InThread(lambda: obj.run_exclusive(keep))
    await_event(had)
    try:
        yield
    finally:
        release.set()
        keeper.result()


def queue_calls(calls: Sequence[Call], kind: type[DurableObject] = Scripted) -> list[InThread[Any]]:
    """Start the calls, each in a thread and by an instance of its own, in line one by one; the first one leads."""
    threads = []
    for number, call in enumerate(calls):
        threads.append(InThread(lambda call=call: call_combined(call, kind)))  # type: ignore[misc]  # typed by combined
        await_that(lambda number=number: is_queued(number, kind))  # type: ignore[misc]  # an int
    return threads


def is_queued(behind: int, kind: type[DurableObject] = Scripted) -> bool:
    """Return whether one call leads, and ``behind`` calls wait behind it."""
    key = kind.by_name("a").key
    return key in combining._lines and len(combining._lines[key]) == behind


def call_combined(call: Call, kind: type[DurableObject] = Scripted) -> Any:
    """Make the call by an instance of its own."""
    obj = kind.by_name("a")
    return obj.run_combined(lambda: call(obj))


def call_while_locked(obj: DurableObject, *calls: Call) -> list[InThread[Any]]:
    """Make the calls while the object is locked, so that they are combined; return their threads, ended."""
    with locked(obj):
        threads = queue_calls(calls, type(obj))
    await_that(lambda: all(thread.is_over() for thread in threads))
    assert combining._lines == {}, "a call still leads"
    return threads
