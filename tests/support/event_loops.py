"""Event loops that tests call objects from, all with an end, and calls that combine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from durable_objects import exclusive
from durable_objects.turns import async_calls
from tests.models import Counter
from tests.support.threads import PATIENCE, await_event, await_that

Result = TypeVar("Result")


@exclusive(combine=True)
def hit(one: Counter) -> int:
    """One more, by a call that may share its turn; the count."""
    return one.add()


@exclusive(combine=True)
def hit_and_unlock(one: Counter) -> int:
    """The same, and unlock, which takes a turn of its own."""
    count = one.add()
    with one.unlocked():
        pass
    return count


@exclusive(combine=True)
def hit_slowly(one: Counter, begun: threading.Event, go_on: threading.Event) -> int:
    """One more, then a wait for the test, then the rest of what belongs to it."""
    count = one.add()
    begun.set()
    await_event(go_on)
    one.storage.put("slow", one.storage.get("slow", 0) + 1)
    return count


@exclusive(combine=True)
def note(one: Counter, name: Callable[[], str], *, fails: bool) -> str:
    """Store the name, as it is known in here."""
    one.storage.put(name(), True)
    if fails:
        raise ValueError("mine")
    return name()


def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run on an event loop of its own, to its end; ``TimeoutError`` after ``PATIENCE`` seconds."""

    async def bounded() -> Result:
        return await asyncio.wait_for(main(), PATIENCE)

    answer = asyncio.run(bounded())
    assert not async_calls._lines, "somebody still waits in line"
    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds, while other tasks go on."""
    await asyncio.to_thread(await_that, condition)


async def answers_of(*calls: Awaitable[Any]) -> list[Any]:
    """What each of them returned or raised, all awaited at once."""
    return await asyncio.gather(*calls, return_exceptions=True)


@asynccontextmanager
async def one_thread_kept() -> AsyncIterator[threading.Event]:
    """Keep the thread of this task's calls busy, until the event that this gives is set."""
    release = threading.Event()
    keeper = asyncio.ensure_future(sync_to_async(await_event)(release))
    try:
        yield release
    finally:
        release.set()
        await keeper


def waiting() -> int:
    """How many calls wait on event loops for a thread."""
    return sum(len(line.waiting) for line in async_calls._lines.values())
