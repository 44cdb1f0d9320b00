"""The scopes of tokens, by the areas of the interfaces that are mounted: ``<area>:read`` and ``<area>:write``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.urls import get_resolver


@dataclass(frozen=True, slots=True)
class Area:
    """A part of an interface: what reading and changing it means (empty: there is no such scope), in words for people.

    ``channels`` returns by which ways it delivers to people, where a token can be limited to some of them.
    """

    name: str
    reads: str = ""
    writes: str = ""
    channels: Callable[[], Iterable[str]] | None = None


_areas: dict[str, Area] = {}


def add(area: Area) -> None:
    """Make the scopes of an area known, in place of those of an earlier one of this name."""
    _areas[area.name] = area


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


def _served() -> list[Area]:
    """Return the areas after the site's URLs are loaded: what is mounted there adds its own."""
    _ = get_resolver().url_patterns
    return list(_areas.values())
