"""Spans of time as people write them: ``90s``, ``15m``, ``1h 30m``, ``1d``, ``2w``. Admin and commands read these."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise

from django.utils.dateparse import parse_duration

from durable_objects.errors import InvalidInput
from durable_objects.validation import show

ALLOWED = "numbers with units from w, d, h, m, s (1h 30m, 90s, 1.5d), or HH:MM:SS"

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([wdhms])\s*")


def parse(text: str) -> timedelta:
    """Parse the span that a text names, largest unit first; also Django's ``[D ]HH:MM:SS`` and ISO 8601's ``PT1H``.

    Raises ``InvalidInput`` for anything else: a number without a unit, months (``1M`` may be those or minutes), a span
    that is too long for a timedelta.
    """
    if "M" in text and not text.strip().startswith("P"):
        raise InvalidInput(
            f"{show(text)} could be minutes or months: write m for minutes, 30d for a month. Allowed: {ALLOWED}."
        )
    stripped = text.strip().lower()
    parts = _PART.findall(stripped)
    units = [list(_UNITS).index(unit) for _, unit in parts]
    span = None
    try:
        if parts and not _PART.sub("", stripped) and all(larger < smaller for larger, smaller in pairwise(units)):
            span = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
        elif ":" in stripped or stripped.startswith("p"):
            span = parse_duration(stripped.upper())
    except (OverflowError, ValueError):
        span = None
    if span is None:
        raise InvalidInput(f"{show(text)} is not a span of time. Allowed: {ALLOWED}.")
    return span


def write(span: timedelta) -> str:
    """Write the whole span in the form that ``parse`` reads: ``1h 30m``, ``0s``, ``1.5s``. For spans from zero on."""
    whole, parts = span // timedelta(seconds=1), []
    for unit, size in _UNITS.items():
        count, whole = divmod(whole, size)
        rest = f"{span.microseconds / 1e6:.6f}".rstrip("0")[1:] if unit == "s" and span.microseconds else ""
        if count or rest:
            parts.append(f"{count}{rest}{unit}")
    return " ".join(parts) or "0s"
