"""How a call becomes a turn: it joins the open one or gets its own, which is run again when it has to give way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from durable_objects import class_attributes
from durable_objects.database import clock
from durable_objects.turns import attempts
from durable_objects.turns.handle import Handle, Owner
from durable_objects.turns.transaction import unlocked_on
from durable_objects.turns.turn import Turn, open_turns

Result = TypeVar("Result")


def current(handle: Handle) -> Turn | None:
    """Return the open turn on this object in this thread. Raises ``RunSuperseded`` for a runner that was fenced."""
    conn, key = clock.connection(), handle.key
    outer = unlocked_on(conn).get(key)
    if outer is not None:
        outer.refuse_if_lost()
    turn = open_turns(conn).get(key)
    if turn is not None:
        turn.check()
    return turn


def mark_fields_stale() -> None:
    """Let the instances in open turns read their own fields again at the next call: a query has changed some."""
    for each in open_turns(clock.connection()).values():
        each.instances.are_stale = True


@contextmanager
def enter(handle: Handle) -> Iterator[Turn]:
    """Join the open turn on this object, or open one."""
    joined = current(handle)
    if joined is not None:
        joined.admit(handle)
        yield joined
    else:
        with Turn(handle) as turn:
            turn.start()
            yield turn


def run(handle: Handle, call: Callable[[], Result], object_id: int | None = None) -> Result:
    """Call in a turn, the open one or a new one, which is run again when the database makes it give way.

    With ``object_id`` the object is found by that, and has to be there. Raises ``ObjectBusy``,
    ``IsolationNotSupported``, and ``TypeError`` for a class whose attributes are not what they must be.
    """
    joined = current(handle)
    if joined is not None:
        joined.admit(handle)
        return call()
    class_attributes.refuse_flaw(type(handle))

    def attempt(turn: Turn) -> Result:
        with turn:
            turn.start()
            return call()

    return attempts.run(handle.key, lambda: Turn(handle, object_id=object_id), attempt)


def change_in_turn(owner: Owner, change: Callable[[Turn], Result]) -> Result:
    """Change something in the open turn on this object, or in one of its own; return what ``change`` does."""
    joined = current(owner)
    if joined is not None:
        joined.admit(owner)
        return change(joined)

    def call() -> Result:
        with enter(owner) as turn:
            return change(turn)

    return owner.run_exclusive(call)
