"""Rate limits: a token bucket for each client, in this process alone."""

from __future__ import annotations

import math
import threading
import time
from functools import lru_cache
from typing import NamedTuple

#: Buckets that a limiter keeps; more than these, and the fullest ones are thrown away, which favours their owners.
MOST_BUCKETS = 10_000
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Rate(NamedTuple):
    """At most ``most`` at once, and on average no more than that every ``seconds``."""

    most: int
    seconds: float


@lru_cache
def rate_of(text: str) -> Rate | None:
    """Return the rate in ``100/s``, ``600/m`` or ``5000/h``; None for ``0``: no limit. Raises ``ValueError``."""
    if text == "0":
        return None
    count, _, unit = text.partition("/")
    if not (count.isascii() and count.isdecimal() and 1 <= int(count) <= 10**9 and unit in _SECONDS):
        raise ValueError(f"is {text!r}; allowed: a rate such as 100/s, 600/m or 5000/h, or 0 for no limit")
    return Rate(int(count), _SECONDS[unit])


def flaw_of(text: str) -> str | None:
    """Return what is wrong with the text of a rate; None if nothing is."""
    try:
        rate_of(text)
    except ValueError as error:
        return str(error)
    return None


class Limiter:
    """Buckets by name. Thread-safe; every process counts for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # how many turns were left, and when

    def take(self, who: str, rate: Rate | None) -> int:
        """Take one turn: 0 when there was one, else after how many whole seconds there will be. None: no limit."""
        return self._left(who, rate, taking=1.0)

    def wait(self, who: str, rate: Rate | None) -> int:
        """Return the same as ``take``, and take nothing."""
        return self._left(who, rate, taking=0.0)

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._buckets.clear()

    def _left(self, who: str, rate: Rate | None, taking: float) -> int:
        if rate is None:
            return 0
        now, refill = time.monotonic(), rate.most / rate.seconds
        with self._lock:
            left, at = self._buckets.get(who, (float(rate.most), now))
            left = min(left + (now - at) * refill, float(rate.most))
            if left < 1.0:
                return math.ceil((1.0 - left) / refill)
            if taking:
                self._buckets[who] = left - taking, now
                if len(self._buckets) > MOST_BUCKETS:
                    self._thin_out()
        return 0

    def _thin_out(self) -> None:
        fullest = sorted(self._buckets, key=lambda who: self._buckets[who][0], reverse=True)
        for who in fullest[: MOST_BUCKETS // 2]:
            del self._buckets[who]
