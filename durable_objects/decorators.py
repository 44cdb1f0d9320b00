"""The decorator that makes a method a turn: one call at a time per object, in one transaction."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, Protocol, TypeVar, cast, overload

from durable_objects.plain_functions import kind_of

#: The method's own type comes out as it went in; a ``Concatenate`` would refuse methods with ``**kwargs: Any``.
Method = TypeVar("Method", bound=Callable[..., Any])

#: The attribute of a method whose calls may share a turn, and the one that says what makes several of its calls.
COMBINES, MANY = "durable_objects_combines", "durable_objects_many"


class Several(NamedTuple):
    """What makes several calls of a method, and whose calls these are: the method's own, or those of its turn."""

    name: str
    functions: tuple[Callable[..., Any], ...]


class _Owner(Protocol):
    """What a decorated method needs of its object: a part of ``DurableObject``, which stands above."""

    def run_exclusive(self, call: Callable[[], Any]) -> Any: ...
    def run_combined(self, call: Callable[[], Any]) -> Any: ...


@overload
def exclusive(method: Method, /) -> Method: ...
@overload
def exclusive(*, combine: bool, many: str | None = None) -> Callable[[Method], Method]: ...
def exclusive(
    method: Method | None = None, /, *, combine: bool = False, many: str | None = None
) -> Method | Callable[[Method], Method]:
    """Run the method as a turn: the object locked, one transaction, ``initialize()`` first, all or nothing.

    A call inside a turn on the same object joins it. A call inside the caller's own ``atomic()`` joins that
    transaction and keeps the object locked until it ends. A turn that owns its transaction is run again after a
    deadlock or a serialization failure, so what it does outside the database may happen twice.

    ``@exclusive(combine=True)`` says that the method writes to nothing but ``self.storage``. Calls that threads of one
    process make on one object at the same time then share a transaction and its commit, which is many times faster:
    each with its own instance, ``initialize()`` and context variables, and undone by itself when it raises. What such
    a method asks of ``connection`` or ``on_commit`` is the business of whichever thread runs it. A call inside any
    ``atomic()`` is never combined, and one that unlocks or calls another object is run again alone.

    ``@exclusive(combine=True, many="add_all")`` names a method of the class that does in one call what several do:
    it takes a list of what each was called with, and returns a list of their answers. Calls with one positional
    argument that follow each other in a shared turn are made by it, on the instance and in the context of the first.
    When it raises, that is undone, and each is made by itself: so it is faster, and nothing else.

    Raises ``ObjectBusy`` when it could not lock the object within ``LOCK_TIMEOUT``; ``IsolationNotSupported`` inside a
    REPEATABLE READ or SERIALIZABLE transaction of the caller. On an ``async def`` or a generator: ``TypeError`` at
    import, since its body would run after the turn has ended (async code calls a plain one by ``acall``).
    """
    if many is not None and not (combine and isinstance(many, str)):
        raise TypeError(f"@exclusive(many={many!r}): it names a method, as text, for calls with combine=True")
    if method is None:
        return functools.partial(_as_turn, combine=combine, many=many)
    return _as_turn(method, combine=combine, many=many)


def flaw_of(cls: type) -> str | None:
    """Return which method, its own or inherited, names a ``many`` that is no plain method of this class, or None."""
    methods = [each for base in cls.__mro__ for each in vars(base).items() if isinstance(each[1], FunctionType)]
    for name, method in methods:
        several: Several | None = getattr(method, MANY, None)
        found = getattr(cls, several.name, None) if several else None
        if several and (not callable(found) or kind_of(found)):
            is_what = f"is an {kind_of(found)}" if callable(found) else "the class does not have"
            wanted = "Write a plain method of that name, which takes a list and returns one."
            return f"{cls.__name__}.{name} has many={several.name!r}, which {is_what}. {wanted}".replace(
                "an gen", "a gen"
            )
    return None


def _check_takes_one(method: Callable[..., Any], many: str) -> None:
    """Refuse a ``many`` for a method whose calls it could never make."""
    try:
        inspect.signature(method).bind(None, None)
    except TypeError:
        raise TypeError(
            f"{method.__qualname__} has many={many!r}, but cannot be called with one positional argument, as "
            f"all calls are that {many}() makes. Let it take one: a tuple, if there is more to say."
        ) from None


def several_of(function: object) -> Several | None:
    """Return what makes several calls of this function; None for one that wraps it and has but its attributes."""
    several: object = getattr(function, MANY, None)
    return several if isinstance(several, Several) and function in several.functions else None


def _as_turn(method: Method, *, combine: bool, many: str | None) -> Method:
    kind = kind_of(method)
    if kind is not None:
        name = getattr(method, "__qualname__", repr(method))
        advice = "" if kind == "generator" else " Make it a plain def; async code calls it by acall()."
        raise TypeError(f"@exclusive on {name}, which is an {kind}: its body would run outside the turn.{advice}")

    @functools.wraps(method)
    def turn(self: _Owner, /, *args: Any, **kwargs: Any) -> Any:
        return self.run_exclusive(lambda: method(self, *args, **kwargs))

    @functools.wraps(method)
    def combined(self: _Owner, /, *args: Any, **kwargs: Any) -> Any:
        return self.run_combined(functools.partial(method, self, *args, **kwargs))

    if many is not None:
        _check_takes_one(method, many)
        several = Several(many, (method, combined))
        setattr(method, MANY, several)
        setattr(combined, MANY, several)
    setattr(combined, COMBINES, True)
    return cast("Method", combined if combine else turn)
