"""Routers whose routes ask for a scope: what an app gives to whoever puts an interface together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ninja import Router

from durable_objects.http.areas import Area


class ScopedRouter(Router):
    """ninja's router with an area of its own: under ``GuardedAPI`` GET asks for the scope ``<area>:read``, and all
    other methods for ``<area>:write``.

    ``reads`` and ``writes`` say what these allow, ``description`` what the routes do, ``channels`` as for ``Area``.
    Under any other API it is a plain router, guarded by whatever that API has.
    """

    def __init__(
        self,
        area: str,
        *,
        reads: str = "",
        writes: str = "",
        description: str = "",
        channels: Callable[[], Iterable[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"tags": [area], **kwargs})
        self.area = Area(area, reads, writes, channels)
        self.description = description
