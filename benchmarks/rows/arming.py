"""Row 7: alarms of many objects set by one call."""

from __future__ import annotations

import time
from datetime import timedelta

from benchmarks.measuring import REPEATS, Figure, Result, many
from benchmarks.row import Target, row
from benchmarks.stage import Stage, unique
from tests.models import Ticker

OBJECTS = many(100_000)


@row(7, "Arm 100,000 new objects by one call", rate=Target(25_000, 40_000))
def bulk(stage: Stage) -> Result:
    """``set_alarms``, an hour ahead."""
    rates = []
    Ticker.objects.set_alarms(_times(1_000))
    for _ in range(REPEATS):
        times = _times(OBJECTS)
        start = time.perf_counter()
        Ticker.objects.set_alarms(times)
        rates.append(OBJECTS / (time.perf_counter() - start))
    figure = Figure(tuple(rates), "alarms/s")
    return Result({"ours": figure}, {"rate": figure.median})


def _times(count: int) -> dict[str, timedelta]:
    prefix = unique("armed")
    return {f"{prefix}-{number}": timedelta(hours=1) for number in range(count)}
