"""Bars as SVG: one chart per row, readable by day and by night, nothing loaded from anywhere."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LABELS, BAR, GAP = 720, 210, 20, 10


def bars(title: str, figures: dict[str, dict[str, Any]]) -> str:
    """A bar for each figure, with its median and, as a line, its spread."""
    most = max(figure["high"] for figure in figures.values()) or 1.0
    scale = (WIDTH - LABELS - 150) / most
    parts = []
    for place, (name, figure) in enumerate(figures.items()):
        top = 34 + place * (BAR + GAP)
        middle, end = top + BAR / 2, LABELS + figure["median"] * scale
        low, high = LABELS + figure["low"] * scale, LABELS + figure["high"] * scale
        text = f"{number(figure['median'])} {figure['unit']}"
        parts += [
            f'<text x="{LABELS - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABELS}" y="{top}" width="{end - LABELS:.1f}" height="{BAR}" rx="2"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"/>',
            f'<text x="{max(end, high) + 8:.1f}" y="{middle + 4}">{escape(text)}</text>',
        ]
    height = 34 + len(figures) * (BAR + GAP)
    style = (
        "text{font:13px sans-serif;fill:#333}rect{fill:#4477aa}path{stroke:#333;fill:none}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}path{stroke:#ddd}rect{fill:#6699cc}}"
    )
    heading = f'<text x="0" y="16" style="font-weight:bold">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">'
        f"<style>{style}</style>{heading}{''.join(parts)}</svg>\n"
    )


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
