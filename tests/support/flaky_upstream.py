"""An upstream that fails at random, from a seed: its answers depend on the simulated time of day and on chance."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.support.upstream import Answer, Received

TIMEOUT = timedelta(milliseconds=100)
SLOW = 0.2
#: How often each kind of answer comes while there is no outage; the rest is 200.
BAD_DAY = {
    "error": 6, "limited": 3, "late": 1, "reset": 4, "per item": 10, "unknown": 3, "refused": 2, "half unknown": 2,
}  # fmt: skip


class FlakyUpstream:
    """The answers of one upstream, and what it has really taken: ``taken[key]`` are the places in that batch.

    ``outages`` are spans of the day in which nothing is taken, whatever comes back. ``seen[key]`` are the bodies.
    """

    def __init__(self, random: Random, now: Callable[[], datetime], outages: list[tuple[datetime, datetime]]) -> None:
        self.random, self.now, self.outages = random, now, outages
        self.taken: dict[str, set[int]] = defaultdict(set)
        self.seen: dict[str, list[bytes]] = defaultdict(list)
        self.answers: dict[str, int] = defaultdict(int)
        #: Each kind comes at least once, at first.
        self.first = random.sample(list(BAD_DAY), len(BAD_DAY))
        #: Nothing fails any more.
        self.is_over = False

    def answer(self, request: Received) -> Answer:
        """Answer one post, and record what it takes by it."""
        key, items = str(request.key), request.items
        self.seen[key].append(request.body)
        if self.is_out:
            kind = self.random.choice(["error", "limited", "reset"])
        elif self.is_over:
            kind = "fine"
        elif self.first:
            kind = self.first.pop()
        else:
            kind = self.random.choices(["fine", *BAD_DAY], [100 - sum(BAD_DAY.values()), *BAD_DAY.values()])[0]
        self.answers[kind] += 1
        answer: Answer = getattr(self, "_" + kind.replace(" ", "_"))(self.taken[key], items)
        return answer

    @property
    def is_out(self) -> bool:
        """Whether there is an outage just now."""
        return any(start <= self.now() < end for start, end in self.outages)

    def _fine(self, taken: set[int], items: list[Any]) -> Answer:
        taken.update(range(len(items)))
        return Answer(self.random.choice([200, 201, 204]), body=b"")

    def _error(self, taken: set[int], items: list[Any]) -> Answer:
        return Answer(self.random.choice([500, 502, 503, 504]))

    def _limited(self, taken: set[int], items: list[Any]) -> Answer:
        return Answer(429, headers={"Retry-After": str(self.random.randint(1, 600))})

    def _late(self, taken: set[int], items: list[Any]) -> Answer:
        taken.update(range(len(items)))
        return Answer(200, delay=SLOW)

    def _reset(self, taken: set[int], items: list[Any]) -> Answer:
        if self.random.random() < 0.5 and not self.is_out:
            taken.update(range(len(items)))
        return Answer(drop=True)

    def _refused(self, taken: set[int], items: list[Any]) -> Answer:
        return Answer(422, body=b"none of it")

    def _per_item(self, taken: set[int], items: list[Any]) -> Answer:
        statuses = [self.random.choices([200, 503, 422], [8, 1, 1])[0] for _ in items]
        taken.update(place for place, status in enumerate(statuses) if status == 200)
        return Answer(207, body=json.dumps({"items": [{"status": status} for status in statuses]}).encode())

    def _unknown(self, taken: set[int], items: list[Any]) -> Answer:
        return Answer(207, body=b'{"result": "some of them"}')

    def _half_unknown(self, taken: set[int], items: list[Any]) -> Answer:
        taken.update(range(len(items) // 2))
        return Answer(207, body=json.dumps({"items": [{"status": 200}] * (len(items) + 1)}).encode())
