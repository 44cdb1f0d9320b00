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
class Mark:
    """A line from top to bottom, at ``x``, with the title that a pointer shows."""

    x: float
    title: str


@dataclass(frozen=True)
class Chart:
    """Bars side by side on a canvas of ``width`` by ``height``; ``label`` is the text for screen readers."""

    width: int
    height: int
    bars: list[Bar]
    label: str
    marks: Sequence[Mark] = ()


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


def line(spans: Sequence[tuple[float, str, str]], label: str, *, width: int, height: int) -> Chart:
    """Draw spans of time (seconds, kind, title) one after another, as long as the line; any but 0 is visible."""
    there = [span for span in spans if span[0] > 0]
    whole, left = sum(seconds for seconds, _, _ in there), width - 2.0 * len(there)
    drawn, x = [], 0.0
    for seconds, kind, title in there:
        wide = 2.0 + left * seconds / whole
        drawn.append(Bar(round(x, 2), 0, round(wide, 2), height, kind, title))
        x += wide
    return Chart(width, height, drawn, label)


def stacked(
    columns: Sequence[tuple[Sequence[tuple[int, str]], str]],
    label: str,
    *,
    most: int,
    width: int,
    height: int,
    marks: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Draw for each column its figures on top of each other, the first at the bottom, by (figure, kind), and a title.

    ``most`` is the figure of a full column; ``marks`` are lines at shares of the width, with their titles.
    """
    each, drawn = width / max(len(columns), 1), []
    for number, (figures, title) in enumerate(columns):
        top = float(height)
        for figure, kind in figures:
            tall = max(figure / most * height, 2.0) if figure and most else 0.0
            top = max(top - tall, 0.0)
            if tall:
                drawn.append(
                    Bar(round(number * each, 2), round(top, 2), round(each * 0.8, 2), round(tall, 2), kind, title)
                )
    return Chart(width, height, drawn, label, [Mark(round(at * width, 2), title) for at, title in marks])


def magnitude(seconds: float) -> float:
    """Return a share of the height on a logarithmic scale: 0 for a millisecond, 1 for a quarter of an hour."""
    return min(max((log10(max(seconds, 0.001)) + 3) / 6, 0.0), 1.0)
