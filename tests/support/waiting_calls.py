"""Calls that wait in line for one object, so that they are combined."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from durable_objects.models import DurableObject
from durable_objects.turns import combining
from tests.models import Scripted
from tests.support.threads import Beside, await_event, await_that

Call = Callable[[Any], Any]


@contextmanager
def kept(obj: DurableObject) -> Iterator[None]:
    """Somebody has the object meanwhile, so that the first to come waits for it and the others for the first."""
    had, release = threading.Event(), threading.Event()

    def keep() -> None:
        had.set()
        await_event(release)

    keeper = Beside(lambda: obj.run_exclusive(keep))
    await_event(had)
    try:
        yield
    finally:
        release.set()
        keeper.result()


def lined_up(calls: Sequence[Call], kind: type[DurableObject] = Scripted) -> list[Beside[Any]]:
    """The calls, each in a thread and by an instance of its own, in line one after the other; the first one leads."""
    threads = []
    for number, call in enumerate(calls):
        threads.append(Beside(lambda call=call: combined(call, kind)))  # type: ignore[misc]  # typed by combined
        await_that(lambda number=number: is_in_line(number, kind))  # type: ignore[misc]  # an int
    return threads


def is_in_line(behind: int, kind: type[DurableObject] = Scripted) -> bool:
    """Whether somebody leads, and so many wait behind."""
    key = kind.by_name("a").key
    return key in combining._lines and len(combining._lines[key]) == behind


def combined(call: Call, kind: type[DurableObject] = Scripted) -> Any:
    """The call, by an instance of its own."""
    obj = kind.by_name("a")
    return obj.run_combined(lambda: call(obj))


def together(obj: DurableObject, *calls: Call) -> list[Beside[Any]]:
    """The calls, made while somebody had the object, and over."""
    with kept(obj):
        threads = lined_up(calls, type(obj))
    await_that(lambda: all(thread.is_over() for thread in threads))
    assert combining._lines == {}, "somebody kept the lead"
    return threads
