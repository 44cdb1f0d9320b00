"""Who keeps the processors busy: PostgreSQL, the broker, our processes, the way between hosts."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: By the name of the program that runs; anything else of Python is ours.
WHOSE = {"postgres": "PostgreSQL", "beam.smp": "RabbitMQ", "socat": "the bridge", "python": "ours"}

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def watched(shares: list[Counter[str]]) -> Iterator[None]:
    """Append to ``shares`` what part of all processors each of them took while the block lasted."""
    before, begun = _spent(), time.monotonic()
    yield
    seconds = (time.monotonic() - begun) * (os.cpu_count() or 1)
    shares.append(Counter({whose: (spent - before[whose]) / seconds for whose, spent in _spent().items()}))


def told(shares: list[Counter[str]]) -> str:
    """The mean of several, in words."""
    mean = {whose: sum(share[whose] for share in shares) / len(shares) for whose in WHOSE.values()}
    parts = ", ".join(f"{whose} {part:.0%}" for whose, part in sorted(mean.items(), key=lambda each: -each[1]))
    return f"{sum(mean.values()):.0%} of {os.cpu_count()} processors: {parts}"


def _spent() -> Counter[str]:
    """Processor seconds so far, by whose they are; of processes that are gone too, once their parent knows."""
    seconds: Counter[str] = Counter()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, rest = (process / "stat").read_text("utf-8").partition("(")[2].rpartition(")")
            whose = WHOSE.get("python" if name.startswith("python") else name)
            if whose is not None:
                fields = rest.split()
                seconds[whose] += sum(map(int, fields[11:15])) / _TICKS
    return seconds
