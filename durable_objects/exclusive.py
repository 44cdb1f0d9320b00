"""The decorator that makes a method a turn: one call at a time per object, in one transaction."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from durable_objects.models import DurableObject

#: The method's own type comes out as it went in; a ``Concatenate`` would refuse methods with ``**kwargs: Any``.
Method = TypeVar("Method", bound=Callable[..., Any])


def exclusive(method: Method) -> Method:
    """Run the method as a turn: the object locked, one transaction, ``initialize()`` first, all or nothing.

    A call inside a turn on the same object joins it. A call inside the caller's own ``atomic()`` joins that
    transaction and keeps the object until it ends. A turn that owns its transaction is run again after a deadlock
    or a serialization failure, so what it does outside the database may happen twice.

    Raises ``ObjectBusy`` when the object was not had within ``LOCK_TIMEOUT``; ``IsolationNotSupported`` inside a
    REPEATABLE READ or SERIALIZABLE transaction of the caller. On an ``async def`` or a generator: ``TypeError`` at
    import, since its body would run after the turn has ended (call it through ``sync_to_async``).
    """
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise TypeError(f"@exclusive on the async {method.__qualname__}: make it a plain def, call by sync_to_async")
    if inspect.isgeneratorfunction(method):
        raise TypeError(f"@exclusive on the generator {method.__qualname__}: its body would run outside the turn")

    @functools.wraps(method)
    def turn(self: DurableObject, /, *args: Any, **kwargs: Any) -> Any:
        return self.run_exclusive(lambda: method(self, *args, **kwargs))

    return cast("Method", turn)
