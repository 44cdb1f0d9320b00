"""The decorator that makes a method a turn: one call at a time per object, in one transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, overload

from durable_objects.plain_functions import kind_of

#: The method's own type comes out as it went in; a ``Concatenate`` would refuse methods with ``**kwargs: Any``.
Method = TypeVar("Method", bound=Callable[..., Any])

#: The attribute of a method whose calls may share a turn.
COMBINES = "durable_objects_combines"


class _Owner(Protocol):
    """What a decorated method needs of its object: a part of ``DurableObject``, which stands above."""

    def run_exclusive(self, call: Callable[[], Any]) -> Any: ...
    def run_combined(self, call: Callable[[], Any]) -> Any: ...


@overload
def exclusive(method: Method, /) -> Method: ...
@overload
def exclusive(*, combine: bool) -> Callable[[Method], Method]: ...
def exclusive(method: Method | None = None, /, *, combine: bool = False) -> Method | Callable[[Method], Method]:
    """Run the method as a turn: the object locked, one transaction, ``initialize()`` first, all or nothing.

    A call inside a turn on the same object joins it. A call inside the caller's own ``atomic()`` joins that
    transaction and keeps the object locked until it ends. A turn that owns its transaction is run again after a
    deadlock or a serialization failure, so what it does outside the database may happen twice.

    ``@exclusive(combine=True)`` says that the method writes to nothing but ``self.storage``. Calls that threads of one
    process make on one object at the same time then share a transaction and its commit, which is many times faster:
    each with its own instance, ``initialize()`` and context variables, and undone by itself when it raises. What such
    a method asks of ``connection`` or ``on_commit`` is the business of whichever thread runs it. A call inside any
    ``atomic()`` is never combined, and one that unlocks or calls another object is run again alone.

    Raises ``ObjectBusy`` when it could not lock the object within ``LOCK_TIMEOUT``; ``IsolationNotSupported`` inside a
    REPEATABLE READ or SERIALIZABLE transaction of the caller. On an ``async def`` or a generator: ``TypeError`` at
    import, since its body would run after the turn has ended (async code calls a plain one by ``acall``).
    """
    if method is None:
        return functools.partial(_as_turn, combine=combine)
    return _as_turn(method, combine=combine)


def _as_turn(method: Method, *, combine: bool) -> Method:
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
        return self.run_combined(lambda: method(self, *args, **kwargs))

    setattr(combined, COMBINES, True)
    return cast("Method", combined if combine else turn)
