"""Small charts as SVG, drawn by the server: the figures of each bar, for a template. No script, no style of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, its colour's name, and what is said when one points at it."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars side by side on a canvas of ``width`` by ``height``; ``label`` says it all to who cannot see them."""

    width: int
    height: int
    bars: list[Bar]
    label: str


def bars(heights: Sequence[tuple[float, str, str]], label: str, *, slots: int, width: int, height: int) -> Chart:
    """A bar for each (share of the height from 0 to 1, kind, title), in ``slots``; one that is not 0 can be seen."""
    each = width / slots
    drawn = []
    for number, (share, kind, title) in enumerate(heights):
        tall = max(share * height, 2.0) if share else 0.5
        drawn.append(
            Bar(round(number * each, 2), round(height - tall, 2), round(each * 0.8, 2), round(tall, 2), kind, title)
        )
    return Chart(width, height, drawn, label)


def magnitude(seconds: float) -> float:
    """A share of the height on a scale of tens: a millisecond is next to nothing, a quarter of an hour is all."""
    return min(max((log10(max(seconds, 0.001)) + 3) / 6, 0.0), 1.0)
