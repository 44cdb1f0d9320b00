"""Calls by async code: in the thread that Django's own async methods use; those that combine, many by one thread.

A combined call waits on the event loop, without a thread. One of those that wait for an object at a time goes to its
thread, takes the calls of all others along, and makes them in a shared turn (``turns/combining``).
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async

from durable_objects.conf import engine
from durable_objects.database import clock, connection
from durable_objects.decorators import COMBINES
from durable_objects.plain_functions import check_is_function
from durable_objects.turns import combining
from durable_objects.turns.handle import Handle, Key

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


async def run(call: Callable[[], Result]) -> Result:
    """Call in the thread that ``sync_to_async`` uses: the request's, or the one that waits in ``async_to_sync``.

    Its connection is the one that Django's async methods have there, and Django closes it at the request's end; where
    no request is, it is kept for ``CONN_MAX_AGE``. Cancelled before the thread has begun, nothing is called; after
    that the thread goes on to the end of the call.
    """
    in_request = _thread_waits() or SyncToAsync.thread_sensitive_context.get(None) is not None

    def make() -> Result:
        try:
            return call()
        except StopIteration as error:  # which no future takes: its awaiter would wait forever
            raise RuntimeError(f"the call raised {error!r}") from error
        finally:
            if not in_request:
                connection.close_if_old(clock.connection())

    return await sync_to_async(make, thread_sensitive=True)()


def awaited(method: Callable[Parameters, Result]) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """Return the method for async code, as Django has it: the same arguments, answer and errors, awaited."""

    @functools.wraps(method)
    async def twin(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return await run(functools.partial(method, *args, **kwargs))

    twin.__name__, twin.__qualname__ = f"a{method.__name__}", f"{method.__qualname__} (async)"
    twin.__doc__ = f"Do as ``{method.__name__}``, from async code."
    return twin


async def run_method(handle: Handle, method: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call a method of the object's class. Raises ``TypeError`` for an async function or a bound method."""
    check_is_function(method, type(handle))
    call = functools.partial(method, handle, *args, **kwargs)
    return await (run_combined(handle, call) if getattr(method, COMBINES, False) else run(call))


async def run_combined(handle: Handle, call: Callable[[], Result]) -> Result:
    """Call in a turn that the calls of other tasks and threads on this object may share.

    Raises ``ObjectBusy`` when nobody has begun it within ``LOCK_TIMEOUT``. Cancelled while it waits, it is not made;
    once a thread has taken it, it is made to its end.
    """
    if _thread_waits():
        return await run(call)
    loop = asyncio.get_running_loop()
    place, mine = (loop, handle.key), _Waiting(handle, call, loop)
    line = _lines.setdefault(place, _Line())
    line.tasks += 1
    try:
        await _wait(line, mine)
    finally:
        line.tasks -= 1
        if not line.tasks:
            del _lines[place]
    await mine.is_made
    return cast("Result", mine.outcome())


async def _wait(line: _Line, mine: _Waiting) -> None:
    """Wait until a thread has taken this call, which is that of another task, or this one's."""
    line.waiting.append(mine)
    try:
        async with asyncio.timeout(engine.LOCK_TIMEOUT.total_seconds()):
            await line.lead.acquire()
    except TimeoutError:
        if line.withdraw(mine):
            raise combining.busy(mine.call.handle) from None
        return
    except BaseException:
        line.withdraw(mine)
        raise
    try:
        if mine in line.waiting:
            await run(functools.partial(_make_all, line, mine))
    finally:
        line.withdraw(mine)
        line.lead.release()


class _Waiting:
    """A combined call of a task, and its outcome."""

    def __init__(self, handle: Handle, call: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = combining.Call(handle, call)
        self.is_made: asyncio.Future[None] = loop.create_future()
        self.answer: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Keep the outcome; a call that could not share its turn is made now, alone."""
        try:
            self.answer = self.call.context.run(self.call.outcome)
        except BaseException as error:  # noqa: BLE001  it is its task's to handle
            self.error = error

    def outcome(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.answer


class _Line:
    """The calls on one object that wait on one event loop, and who of them may go to a thread."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.lead = asyncio.Lock()
        self.tasks = 0

    def take(self) -> list[_Waiting]:
        """Take those that wait, as many as share a turn. Called by a thread."""
        taken: list[_Waiting] = []
        with suppress(IndexError):  # a task may be cancelled meanwhile, and withdraw its call
            while len(taken) < combining.MAX_CALLS:
                taken.append(self.waiting.popleft())
        return taken

    def withdraw(self, mine: _Waiting) -> bool:
        """Return whether nobody has taken the call, which now nobody will."""
        try:
            self.waiting.remove(mine)
        except ValueError:
            return False
        return True


#: The lines that somebody waits in.
_lines: dict[tuple[asyncio.AbstractEventLoop, Key], _Line] = {}


def _thread_waits() -> bool:
    """Return whether a thread waits for this code in ``async_to_sync``. It may be in a transaction, which its calls
    have to join, and others must not.
    """
    waiting = getattr(AsyncToSync.executors, "current", None)
    return waiting is not None or asyncio.get_running_loop() in AsyncToSync.loop_thread_executors


def _make_all(line: _Line, mine: _Waiting) -> None:
    """Make the calls that wait, and let their tasks go on. If this thread is in a transaction, its own call only."""
    handle, loop = mine.call.handle, mine.is_made.get_loop()
    if combining.may_combine(handle.key):
        taken = line.take()
    else:
        taken = [mine] if line.withdraw(mine) else []
        mine.call.alone = True
    try:
        if taken and not mine.call.alone:
            combining.run_all(handle.key, [each.call for each in taken])
        for each in taken:
            each.settle()
    except BaseException as error:  # noqa: BLE001  the thread is interrupted: nobody else would report it to them
        for each in taken:
            each.error = error
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        loop.call_soon_threadsafe(_go_on, taken)


def _go_on(taken: list[_Waiting]) -> None:
    for each in taken:
        if not each.is_made.done():  # else its task was cancelled
            each.is_made.set_result(None)
