"""A small picture of figures over time, as SVG in the page: no script, no file."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

BAR, GAP, HEIGHT = 8, 3, 40


def bars(figures: Sequence[tuple[int, str]], label: str) -> SafeString:
    """Draw one bar per figure, oldest first, each with its own tooltip; ``label`` describes the whole.

    Heights are linear up to the highest figure; what is above zero can be seen, however little it is.
    """
    highest = max([figure for figure, _ in figures], default=0) or 1
    drawn = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"{}><title>{}</title></rect>',
        (
            (
                number * (BAR + GAP),
                HEIGHT - height,
                BAR,
                height,
                "" if figure else SafeString(' class="cleaner-none"'),
                words,
            )
            for number, (figure, words) in enumerate(figures)
            for height in [max(round(HEIGHT * figure / highest, 1), 2)]
        ),
    )
    width = max(len(figures) * (BAR + GAP) - GAP, 1)
    return format_html(
        '<svg class="cleaner-bars" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">{3}'
        "</svg>",
        width,
        HEIGHT,
        label,
        drawn,
    )
