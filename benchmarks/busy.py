"""Who keeps the processors busy: PostgreSQL, the broker, our processes, the way between hosts."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: By the name of the program that runs; of Python only what this process has started.
WHOSE = {"postgres": "PostgreSQL", "beam.smp": "RabbitMQ", "socat": "the bridge", "python": "ours"}

#: What part of all processors each of them took, between 0 and 1.
Shares = dict[str, float]

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def watched(shares: list[Shares]) -> Iterator[None]:
    """Append to ``shares`` those of the time that the block lasted."""
    before, begun = _spent(), time.monotonic()
    yield
    seconds = (time.monotonic() - begun) * (os.cpu_count() or 1)
    after = _spent()
    shares.append({whose: (after[whose] - before[whose]) / seconds for whose in WHOSE.values()})


def microseconds(shares: Shares, seconds: float, pieces: int) -> Shares:
    """What one of so many pieces of work cost each of them, in microseconds of a processor."""
    return {whose: share * seconds * (os.cpu_count() or 1) * 1e6 / pieces for whose, share in shares.items()}


def told(shares: list[Shares]) -> str:
    """The mean of several, in words."""
    mean = {whose: sum(share[whose] for share in shares) / len(shares) for whose in WHOSE.values()}
    parts = ", ".join(f"{whose} {part:.0%}" for whose, part in sorted(mean.items(), key=lambda each: -each[1]))
    return f"{sum(mean.values()):.0%} of {os.cpu_count()} processors: {parts}"


def _spent() -> defaultdict[str, float]:
    """Processor seconds so far, by whose they are; of processes that are gone too, once their parent knows."""
    seconds: defaultdict[str, float] = defaultdict(float)
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, rest = (process / "stat").read_text("utf-8").partition("(")[2].rpartition(")")
            found[int(process.name)] = ("python" if name.startswith("python") else name, rest.split())
    for pid, (name, fields) in found.items():
        if name in WHOSE and (name != "python" or _is_from_here(pid, found)):
            seconds[WHOSE[name]] += sum(map(int, fields[11:15])) / _TICKS
    return seconds


def _is_from_here(pid: int, found: dict[int, tuple[str, list[str]]]) -> bool:
    """Whether this process is it, or has started it, or what has started it: others' work is not ours."""
    while pid != os.getpid():
        if pid not in found:
            return False
        pid = int(found[pid][1][1])
    return True
