"""How many threads of this process wait for others' servers: for one, for slow ones, and for all."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta

from durable_objects import process
from durable_objects.conf import AppSettings, Within

defaults = AppSettings(
    "OUTGOING",
    {
        # How many threads of one process wait for one host, at most.
        "CALLS_PER_HOST": Within(4, 1, 100_000),
        # How many, at most, for all hosts that did not answer within a second when they were last called.
        "CALLS_TO_SLOW_HOSTS": Within(4, 1, 100_000),
        # And for all hosts; 0: three quarters of a worker's threads, and elsewhere any number.
        "CALLS": Within(0, 0, 100_000),
    },
)

#: Seconds within which a host that is not slow answers, and for which a call waits for a place.
QUICK = 1.0
#: How many hosts are remembered as quick, at most.
REMEMBERED = 1_000
#: Seconds after which a call that was turned away is to come again, and between any two such: many can be turned away
#: at once, and their coming again would be all that the process does.
AGAIN, APART = 5.0, 0.5


class TooManyCalls(Exception):
    """As many threads of this process as may wait for this host, or for slow ones, do so already. Nothing was sent.

    ``after`` is when it is worth trying again.
    """

    def __init__(self, text: str, after: timedelta = timedelta(seconds=AGAIN)) -> None:
        super().__init__(text)
        self.after = after


@dataclass(frozen=True)
class Place:
    """What one call to a host occupies."""

    origin: str
    began: float
    of: Places = field(repr=False)

    def release(self) -> None:
        """Release it for another call."""
        self.of.release(self)


@dataclass
class Places:
    """Who waits for which host in this process, since when, and which hosts were quick when they were last asked."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    since: dict[str, list[float]] = field(default_factory=dict)
    quick: dict[str, None] = field(default_factory=dict)
    waiting: int = 0
    next_turn: float = 0.0

    def take(self, origin: str) -> Place:
        """Take a place for a call to this host. Raises ``TooManyCalls`` where there is none within a second."""
        with self.changed:
            while (held_up := self._before(origin)) is not None:
                left = QUICK - (time.monotonic() - held_up)
                if left <= 0 or not self._may_wait(origin):
                    raise TooManyCalls(
                        f"{origin} or other slow hosts occupy as many threads of this process as they may: tried again",
                        self._turn(),
                    )
                self.waiting += 1
                try:
                    self.changed.wait(left)
                finally:
                    self.waiting -= 1
            place = Place(origin, time.monotonic(), self)
            self.since.setdefault(origin, []).append(place.began)
        return place

    def release(self, place: Place) -> None:
        """Release the place of a call that is over, and note whether its host was quick."""
        with self.changed:
            there = self.since[place.origin]
            there.remove(place.began)
            if not there:
                del self.since[place.origin]
            self.quick.pop(place.origin, None)
            if time.monotonic() - place.began < QUICK:
                self.quick[place.origin] = None
                if len(self.quick) > REMEMBERED:
                    del self.quick[next(iter(self.quick))]
            self.changed.notify_all()

    def _before(self, origin: str) -> float | None:
        """Return since when the oldest call waits for which this one has to wait; None where there is a place."""
        share = _share()
        there = self.since.get(origin, [])
        if len(there) >= min(defaults.CALLS_PER_HOST, share or defaults.CALLS_PER_HOST):
            return min(there)
        slow = [since for host, each in self.since.items() if host not in self.quick for since in each]
        if origin not in self.quick and len(slow) >= min(defaults.CALLS_TO_SLOW_HOSTS, share or len(slow) + 1):
            return min(slow)
        everywhere, most = [since for each in self.since.values() for since in each], defaults.CALLS or share
        return min(everywhere) if most and len(everywhere) >= most else None

    def _may_wait(self, origin: str) -> bool:
        """Return whether a call may wait: for a quick host, or while there are threads left, as waiting takes one."""
        share = _share()
        return origin in self.quick or not share or sum(map(len, self.since.values())) + self.waiting < share

    def _turn(self) -> timedelta:
        now = time.monotonic()
        self.next_turn = max(self.next_turn + APART, now + AGAIN)
        return timedelta(seconds=self.next_turn - now)


def _share() -> int | None:
    """Return how many threads of this process all calls may have; None where it is not known how many there are."""
    return max(process.threads * 3 // 4, 1) if process.threads else None


places = Places()
