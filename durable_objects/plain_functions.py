"""What the engine calls has to be a plain function: the body of an async one or a generator would never run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

#: The methods of an object that the engine calls.
HANDLERS = ("initialize", "alarm", "alarm_died")


def kind_of(function: object) -> str | None:
    """Return "async function", "async generator" or "generator" for what is one; None for anything else."""
    while isinstance(function, functools.partial | functools.partialmethod | staticmethod | classmethod):
        function = function.__func__ if isinstance(function, staticmethod | classmethod) else function.func
    if inspect.iscoroutinefunction(function):
        return "async function"
    if inspect.isasyncgenfunction(function):
        return "async generator"
    return "generator" if inspect.isgeneratorfunction(function) else None


def flaw_of(cls: type) -> str | None:
    """Return what is wrong with the handlers of this class, its own or inherited; None if nothing."""
    for name in HANDLERS:
        kind = kind_of(inspect.getattr_static(cls, name, None))
        if kind is not None:
            return (
                f"{cls.__name__}.{name} is an {kind}: its body would never run. Make it a plain def; "
                "async code is called through asgiref's async_to_sync."
            ).replace("an generator", "a generator")
    backoff = getattr(cls, "alarm_backoff", None)
    return None if not callable(backoff) or _takes_a_number(backoff) else _NO_BACKOFF.format(cls.__name__)


_NO_BACKOFF = (
    "{}.alarm_backoff does not take the number of failed runs as its only argument: write "
    "`@staticmethod def alarm_backoff(failures: int) -> timedelta`."
)


def _takes_a_number(function: Callable[..., Any]) -> bool:
    if kind_of(function) is not None:
        return False
    try:
        inspect.signature(function).bind(1)
    except TypeError:
        return False
    except ValueError:  # one of C's, which does not say
        return True
    return True


def check_answer(answer: object, cls: type, name: str) -> None:
    """Raise ``TypeError`` when a handler returned a coroutine or generator, which nobody would run."""
    if answer is None:
        return
    if inspect.iscoroutine(answer) or inspect.isgenerator(answer):
        answer.close()  # it is not to complain, later and elsewhere, that nobody awaited it
    elif not inspect.isawaitable(answer) and not inspect.isasyncgen(answer):
        return
    raise TypeError(
        f"{cls.__name__}.{name}() returned {_a(type(answer))}, which nobody runs: what it would do has not been done. "
        "Do the work in the function itself; async code is called through asgiref's async_to_sync."
    )


def check_is_function(method: object, cls: type) -> None:
    """Raise ``TypeError`` for what ``acall`` cannot call with the object: an async function, or a bound method."""
    name = getattr(method, "__name__", "method")
    kind = kind_of(method)
    if kind is not None:
        raise TypeError(f"acall({name}) of an {kind}: it takes plain functions.".replace("an generator", "a generator"))
    if inspect.ismethod(method):
        raise TypeError(
            f"acall() got the method {name!r} of an object. Name the function, acall({cls.__name__}.{name}, …): the "
            "object is the one whose acall() this is."
        )


def _a(kind: type[Any]) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
