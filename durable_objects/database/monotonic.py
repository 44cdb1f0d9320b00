"""Seconds for spans of time within this process."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

#: Test libraries freeze Python's own clocks, ``time.monotonic`` too, wherever a module has them; the system's own they
#: leave alone.
monotonic: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic
)
