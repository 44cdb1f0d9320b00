"""Figures: several repeats of one measurement, told by their median and their spread."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: A fiftieth of the work, once: to see that all is in order. What it prints means nothing.
QUICK = bool(os.environ.get("BENCH_QUICK"))

#: Repeats of a measurement, and seconds that one of them lasts if nothing else ends it.
REPEATS = 1 if QUICK else 5
SECONDS = 0.2 if QUICK else 1.0


def many(count: int) -> int:
    """So many, or a fiftieth."""
    return max(count // 50, 20) if QUICK else count


@dataclass(frozen=True)
class Figure:
    """One quantity, as often as it was measured. ``unit`` as it is printed."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return {"median": self.median, "low": min(self.values), "high": max(self.values), "unit": self.unit,
                "values": list(self.values)}  # fmt: skip


@dataclass
class Result:
    """What came of one row: figures by whose they are, the ratios that are judged, and notes to print below."""

    figures: dict[str, Figure] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def per_second(call: Callable[[], object], seconds: float = SECONDS) -> float:
    """How often the call is made in a second."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        call()
        count += 1
    return count / spent


def side_by_side(
    measurements: dict[str, Callable[[], float]], unit: str, *, repeats: int = REPEATS
) -> dict[str, Figure]:
    """Each measured in turn, so that what disturbs the machine disturbs all; a first round warms up and is dropped."""
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for repeat in range(repeats + 1):
        for name, measure in measurements.items():
            value = measure()
            if repeat:
                values[name].append(value)
    return {name: Figure(tuple(several), unit) for name, several in values.items()}


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
