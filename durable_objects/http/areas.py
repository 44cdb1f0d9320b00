"""A part of an HTTP interface: what its scopes are called, and what they allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Area:
    """A part of an interface: what reading and changing it means (empty: there is no such scope), in words for people.

    ``channels`` returns by which ways it delivers to people, where a token can be limited to some of them.
    """

    name: str
    reads: str = ""
    writes: str = ""
    channels: Callable[[], Iterable[str]] | None = None
