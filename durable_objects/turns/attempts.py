"""What is run again when the database makes it give way: after a deadlock or a serialization failure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from django.db import DatabaseError

from durable_objects.database.errors import is_worth_another_try
from durable_objects.errors import ObjectBusy
from durable_objects.turns.handle import Key, shown

#: How often a transaction is run at most when the database makes it give way.
TRIES = 5

#: Seconds before it is run again, at random between these: whom it gave way to is to get there first.
PAUSE = (0.01, 0.05)


class Attempt(Protocol):
    """What begins, commits and rolls back a transaction."""

    @property
    def can_run_again(self) -> bool:
        """Whether all that it did is undone."""


Tried = TypeVar("Tried", bound=Attempt)
Result = TypeVar("Result")


def run(key: Key, begin: Callable[[], Tried], call: Callable[[Tried], Result]) -> Result:
    """Call with what ``begin`` returns; again, with another one, when the database makes it give way.

    Raises ``ObjectBusy`` after the last try, or where what was done cannot be undone.
    """
    for tries_left in reversed(range(TRIES)):
        attempt = begin()
        try:
            return call(attempt)
        except (DatabaseError, ObjectBusy) as error:
            if not is_worth_another_try(error):
                raise
            if not tries_left or not attempt.can_run_again:
                raise gave_way(key, error) from error
        time.sleep(random.uniform(*PAUSE))  # noqa: S311  no secret: it only has to differ
    raise AssertionError("unreachable: the last try returns or raises")


def gave_way(key: Key, error: Exception) -> ObjectBusy:
    """Return the error for a call that the database made give way, and that is not run again."""
    return ObjectBusy(f"{shown(key)}: the database made this transaction give way ({error}). Try again later.")
