"""The scopes of tokens: ``<area>:read`` and ``<area>:write``, for each area of the interfaces that are mounted."""

from __future__ import annotations

from collections.abc import Iterator

from durable_objects.http.areas import Area
from durable_objects.http.mounted import roots


def known() -> dict[str, str]:
    """Return the scopes of all areas that this site serves, each with what it allows."""
    found: dict[str, str] = {}
    for area in _served():
        found |= {f"{area.name}:read": area.reads} if area.reads else {}
        found |= {f"{area.name}:write": area.writes} if area.writes else {}
    return found


def channels() -> list[str]:
    """Return the channels of all areas that this site serves, sorted."""
    return sorted({name for area in _served() if area.channels is not None for name in area.channels()})


def _served() -> Iterator[Area]:
    for interface in roots().values():
        yield from interface.areas
