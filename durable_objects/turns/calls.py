"""How a call becomes a turn: it joins the open one or gets its own, which is run again when it has to give way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError

from durable_objects import class_attributes
from durable_objects.database.errors import is_worth_another_try
from durable_objects.errors import ObjectBusy
from durable_objects.turns.handle import Handle
from durable_objects.turns.turn import Turn, current

Result = TypeVar("Result")

#: How often a turn that owns its transaction is run in all when the database makes it give way.
TRIES = 5

#: Seconds before it is, at random between these: whom it gave way to is to get there first.
PAUSE = (0.01, 0.05)


def run(handle: Handle, call: Callable[[], Result], object_id: int | None = None) -> Result:
    """Call in a turn, the open one or a new one, which is run again when the database makes it give way.

    With ``object_id`` the object is found by that, and has to be there. Raises ``ObjectBusy``,
    ``IsolationNotSupported``, and ``TypeError`` for a class that says of itself what it may not.
    """
    joined = current(handle)
    if joined is not None:
        joined.admit(handle)
        return call()
    class_attributes.refuse_flaw(type(handle))
    for tries_left in reversed(range(TRIES)):
        own = Turn(handle, object_id=object_id)
        try:
            with own:
                own.start()
                return call()
        except (DatabaseError, ObjectBusy) as error:
            if not is_worth_another_try(error):
                raise
            if not tries_left or own.joins or own.was_unlocked:
                raise ObjectBusy(f"{handle.key}: the database made this turn give way ({error})") from error
        time.sleep(random.uniform(*PAUSE))  # noqa: S311  no secret: it only has to differ
    raise AssertionError("unreachable: the last try returns or raises")
