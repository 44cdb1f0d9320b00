"""Small bar charts for a template that draws SVG: no script, no inline style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10


@dataclass(frozen=True)
class Bar:
    """One bar: its place, the name of its colour, and the title that a pointer shows."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars side by side on a canvas of ``width`` by ``height``; ``label`` is the text for screen readers."""

    width: int
    height: int
    bars: list[Bar]
    label: str


def bars(heights: Sequence[tuple[float, str, str]], label: str, *, slots: int, width: int, height: int) -> Chart:
    """Draw a bar for each (share of the height from 0 to 1, kind, title), in ``slots`` places; any but 0 is visible."""
    each = width / slots
    drawn = []
    for number, (share, kind, title) in enumerate(heights):
        tall = max(share * height, 2.0) if share else 0.5
        drawn.append(
            Bar(round(number * each, 2), round(height - tall, 2), round(each * 0.8, 2), round(tall, 2), kind, title)
        )
    return Chart(width, height, drawn, label)


def magnitude(seconds: float) -> float:
    """Return a share of the height on a logarithmic scale: 0 for a millisecond, 1 for a quarter of an hour."""
    return min(max((log10(max(seconds, 0.001)) + 3) / 6, 0.0), 1.0)
