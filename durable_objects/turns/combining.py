"""Calls on one object by many threads of a process, combined: one lock, one transaction, one commit for all.

The first thread that comes is the leader. It opens a turn, and once it has the object it takes all calls that have come
meanwhile, its own first, and runs them one after the other; the others wait for it. After the commit each caller gets
the answer of its own call, and the lead goes to the next that waits. What is unusual (a deadlock, an error of the
database, a call that unlocks, a leader that is interrupted) is not decided here: the turn is undone, and each call runs
alone, in its own thread, as if it had never been combined.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from durable_objects.conf import engine
from durable_objects.database import clock, connection
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import is_connection_lost, trouble
from durable_objects.decorators import Several, several_of
from durable_objects.errors import ObjectBusy
from durable_objects.handler_errors import in_short, is_failure
from durable_objects.logs import get_logger
from durable_objects.turns import calls, lock
from durable_objects.turns.handle import Handle, Key, shown
from durable_objects.turns.transaction import unlocked_on
from durable_objects.turns.turn import Turn

logger = get_logger(__name__)

#: Calls per turn at most.
MAX_CALLS = 64


class _Undone(Exception):
    """The turn is not to be committed: one of its calls needs one of its own."""


class _WrongAnswers(Exception):
    """A method that makes several calls has not answered each."""


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class Call:
    """One call, from its arrival to its outcome. It is made in a copy of the context that it was created in."""

    handle: Handle
    call: Callable[[], Any]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    #: Released, once, when the call has an outcome, or its thread the lead. An Event would be a list of such locks.
    decided: threading.Lock = field(default_factory=_taken_lock)
    leads: bool = False
    alone: bool = False
    #: Nobody has begun it within ``LOCK_TIMEOUT``, or its thread was interrupted: it is not made.
    withdrawn: bool = False
    answer: Any = None
    error: BaseException | None = None

    @property
    def several(self) -> Several | None:
        """What makes several such calls at once, if there is something: of its own handle, with one argument."""
        call = self.call
        if not isinstance(call, functools.partial) or len(call.args) != 2 or call.keywords:
            return None
        return several_of(call.func) if call.args[0] is self.handle else None

    def run(self, turn: Turn) -> None:
        """Run in the leader's turn: own instance, own ``initialize()``, own context, own layer of writes."""
        self.error = self.make(turn, self.call)  # it is its caller's to handle

    def make(self, turn: Turn, call: Callable[[], Any]) -> BaseException | None:
        """Make a call as this one, and keep its answer; return the failure that it raised."""
        failure: BaseException | None = None
        try:
            self.answer = self.context.copy().run(turn.run_call, self.handle, call)  # of what is undone, nothing stays
        except BaseException as error:
            if not is_failure(error):
                raise
            failure = error
        if turn.must_run_alone or turn.deleted or isinstance(failure, DatabaseError) or trouble(failure):
            raise _Undone
        return failure

    def outcome(self) -> Any:
        """Return what the call returned, or raise what it raised; makes it first, if it has to be made alone."""
        if self.alone:
            return calls.run(self.handle, self.call)
        if self.error is not None:
            raise self.error
        return self.answer


_Line = deque[Call]

_lock = threading.Lock()
#: The calls that wait, by object; while an object is in here, a thread has the lead.
_lines: dict[Key, _Line] = {}


def _led_on(conn: BaseDatabaseWrapper) -> set[Key]:
    """Return the objects for which the thread of this connection makes the calls of others: it never waits for them."""
    led: set[Key] = conn.__dict__.setdefault("durable_objects_led", set())
    return led


def run(handle: Handle, call: Callable[[], Any]) -> Any:
    """Call in a turn, combined with the calls of other threads of this process on the same object.

    Raises what the call raises, and ``ObjectBusy`` when it was not begun within ``LOCK_TIMEOUT``. When the connection
    is lost while the turn commits, each caller gets an ``OperationalError``: nobody knows whether it counts.
    """
    if not may_combine(handle.key):
        return calls.run(handle, call)
    mine = Call(handle, call)
    run_all(handle.key, [mine])
    return mine.outcome()


def may_combine(key: Key) -> bool:
    """Return whether this thread may make the calls of others: it is in no transaction, nor a run of this object."""
    conn = clock.connection()
    return connection.is_free(conn) and key not in unlocked_on(conn)


def run_all(key: Key, mine: Sequence[Call]) -> None:
    """Make these calls on the object of this key, in order, as ``run`` does: one thread does so for others.

    Afterwards each has its ``outcome()``. Only where it ``may_combine``.
    """
    if key in _led_on(clock.connection()):  # a hook after the commit of a turn that this thread leads: alone
        for call in mine:
            call.alone = True
        return
    with _lock:
        line = _lines.get(key)
        mine[0].leads = line is None
        if line is None:
            _lines[key] = line = deque()
        line.extend(mine[mine[0].leads :])
    for place, call in enumerate(mine):
        if call.withdrawn:
            continue
        try:
            if not call.leads:
                _wait(line, call)
            if call.leads:
                _lead(line, call)
        except BaseException:
            _give_up(line, mine[place:])
            raise
        if call.withdrawn:  # and so are those that came with it
            _give_up(line, mine[place + 1 :])


def answers(key: Key, several: Sequence[tuple[Any, Callable[[Any], Any]]]) -> list[Any]:
    """Call each with its instance of the object of this key, as ``run_all``; return what each returned, or raised."""
    mine = [Call(handle, functools.partial(call, handle)) for handle, call in several]
    if mine:
        run_all(key, mine)
    found: list[Any] = []
    for each in mine:
        try:
            found.append(each.outcome())
        except Exception as error:  # noqa: BLE001  it is the answer to one of the callers
            found.append(error)
    return found


def _wait(line: _Line, mine: Call) -> None:
    """Wait until this call has an outcome, or the lead; for one that was taken, however long it takes."""
    if mine.decided.acquire(timeout=engine.LOCK_TIMEOUT.total_seconds()):
        return
    with _lock:
        if mine in line:
            line.remove(mine)
            mine.error, mine.withdrawn = busy(mine.handle), True
            return
    mine.decided.acquire()


def busy(handle: Handle) -> ObjectBusy:
    """Return the error of a call that was not begun in time."""
    return lock.busy(handle.key, Limits(engine.LOCK_TIMEOUT, handle.alarm_time_limit))


def _give_up(line: _Line, mine: Sequence[Call]) -> None:
    """Withdraw those of a thread's calls that nobody has taken, and pass on the lead if it has it."""
    with _lock:
        for call in mine:
            if call in line:
                line.remove(call)
            elif call.leads:
                call.leads = False
                _pass_on(line, call.handle.key)
            else:
                continue
            call.error, call.withdrawn = busy(call.handle), True


def _lead(line: _Line, mine: Call) -> None:
    """Run one turn with all that wait, pass on the lead, release the others. Never raises an ``Exception``."""
    taken, failure, ending = [mine], None, False
    turn = Turn(mine.handle)
    turn.is_shared = True
    _led_on(turn.conn).add(turn.key)
    try:
        with turn:
            with _lock:
                taken += [line.popleft() for _ in range(min(len(line), MAX_CALLS - 1))]
            _run_in(turn, taken)
            ending = True
    except BaseException as error:
        failure = error
        if not isinstance(error, Exception):
            raise
    finally:
        _led_on(turn.conn).discard(turn.key)
        if failure is not None:
            _undo(turn, taken, failure, ending=ending)
        with _lock:
            mine.leads = False
            _pass_on(line, mine.handle.key)
        for call in taken[1:]:
            call.decided.release()


def _run_in(turn: Turn, taken: Sequence[Call]) -> None:
    """Run these in order, those together that follow each other and are made by the same method."""
    for several, group in itertools.groupby(taken, lambda call: call.several):
        together = list(group)
        if several is None or len(together) == 1 or not _run_together(turn, several.name, together):
            for call in together:
                call.run(turn)


def _run_together(turn: Turn, many: str, together: Sequence[Call]) -> bool:
    """Make these calls by one. Return False where that raised: then nothing has happened."""
    first, *others = together
    method = getattr(first.handle, many)
    for call in others:
        turn.admit(call.handle)
    arguments = [call.call.args[1] for call in together]  # type: ignore[attr-defined]  # partials, as ``Call.several`` saw
    failure = first.make(turn, lambda: _answers_of(method, arguments))
    if isinstance(failure, _WrongAnswers):
        for call in together:
            call.error = TypeError(str(failure))
    elif failure is not None:
        raised = in_short(failure)
        logger.info("%s: %s() of %s calls raised %s: each by itself", shown(turn.key), many, len(together), raised)
        return False
    else:
        for call, answer in zip(together, first.answer, strict=True):
            call.answer = answer
    return True


def _answers_of(method: Callable[[list[Any]], Any], arguments: list[Any]) -> list[Any]:
    wanted = len(arguments)
    answers = method(arguments)  # which may use up the list
    if not isinstance(answers, list) or len(answers) != wanted:
        given = f"{len(answers)} answers" if isinstance(answers, list) else f"a {type(answers).__name__}"
        raise _WrongAnswers(f"{method.__qualname__}() returned {given} for {wanted} calls: return a list, one for each")
    return answers


def _undo(turn: Turn, taken: list[Call], failure: BaseException, *, ending: bool) -> None:
    """Decide on the calls of a turn that raised: an error for each, or another run alone."""
    interrupted = not isinstance(failure, Exception)
    if turn.is_committed:  # what was raised comes from somebody's hook after the commit
        taken[0].error = failure
    elif ending and (interrupted or is_connection_lost(turn.conn, failure)):
        for call in taken:
            call.error = OperationalError(
                f"not known whether this call counts: its commit was interrupted ({in_short(failure)})"
            )
            call.error.__cause__ = failure.__cause__ or failure
    elif ending and isinstance(failure, ObjectBusy):
        for call in taken:
            call.error = ObjectBusy(str(failure))
            call.error.__cause__ = failure.__cause__
    elif isinstance(failure, ObjectBusy):  # the others have not been taken, and wait for as long as they may
        taken[0].error, taken[0].withdrawn = failure, True
    else:
        for call in taken:
            call.alone, call.error = True, None


def _pass_on(line: _Line, key: Key) -> None:
    """Give the lead to the next in line. Needs ``_lock``."""
    if line:
        following = line.popleft()
        following.leads = True
        following.decided.release()
    else:
        del _lines[key]


def _forget_threads() -> None:
    """Forget the threads that wait and lead, which a forked process does not have."""
    _lines.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_threads)
