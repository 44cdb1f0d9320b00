"""Deals faults from a seed while the load goes on, waits until all has run, and hands over the evidence."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.chaos.storm import record, state
from tests.chaos.storm.evidence import Evidence
from tests.chaos.storm.recovery import Recoveries
from tests.chaos.storm.scene import Fault, Scene

#: Until the last alarm is through: the longest ladder that is begun near the end, and what the faults delayed.
DRAIN_SECONDS = 240.0


class Driver:
    """One random run. ``pace``: seconds between two faults."""

    def __init__(self, scene: Scene, faults: list[Fault], *, pace: float) -> None:
        self.scene, self.faults, self.pace = scene, faults, pace
        self.made: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._busy: set[str] = set()
        self._deck: list[Fault] = []
        self._threads: list[threading.Thread] = []
        self.recoveries = Recoveries(scene.ask)
        record.begin(scene.fleet.history, "driver")
        scene.upstream.on_request = lambda request: record.note(
            "post", key=request.key, content=request.body.decode(), items=request.items
        )

    def run(self, seconds: float, *, alone: float = 0.0) -> None:
        """Make faults for so long; for the first ``alone`` seconds each by itself, the next after the recovery."""
        end, together = time.monotonic() + seconds, time.monotonic() + alone
        following = 0.0
        while (now := time.monotonic()) < end and not self.errors:
            self.scene.fleet.keep_up()
            quiet = not self._busy and not self.recoveries.pending
            if now >= following and (quiet or now >= together):
                self._deal()
                following = now + self.pace * self.scene.chance.uniform(0.5, 1.5)
            time.sleep(0.05)
        for thread in self._threads:
            while thread.is_alive():
                self.scene.fleet.keep_up()
                thread.join(0.2)

    def drain(self) -> bool:
        """No more calls, no more faults: whether all that is armed has run in time."""
        fleet = self.scene.fleet
        fleet.retire("load")
        end = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < end and not self.errors:
            fleet.keep_up()
            with suppress(ConnectionError):
                if not self.scene.ask(state.ARMED):
                    return True
            time.sleep(0.5)
        return False

    def evidence(self) -> Evidence:
        """What there is to judge, once it is over."""
        self.recoveries.stop()
        self.scene.fleet.note_ended()
        return state.evidence(self.scene.fleet.history, self.scene.ask)

    def _deal(self) -> None:
        if not self._deck:
            self._deck = random.Random(self.scene.chance.random()).sample(self.faults, len(self.faults))
        for fault in self._deck:
            if fault.part not in self._busy:
                self._deck.remove(fault)
                self._busy.add(fault.part)
                thread = threading.Thread(target=self._make, args=(fault,), name=fault.kind, daemon=True)
                self._threads.append(thread)
                thread.start()
                return

    def _make(self, fault: Fault) -> None:
        begin = time.monotonic()
        try:
            pids = fault.act(self.scene)
            end = time.monotonic()
            if pids is not None:
                record.note("fault", kind=fault.kind, part=fault.part, begin=begin, end=end, pids=sorted(pids))
                self.made[fault.kind] += 1
                self.recoveries.expect(fault.kind)
        except BaseException as error:  # noqa: BLE001  raised again by the test, in its own thread
            self.errors.append(error)
        finally:
            self._busy.discard(fault.part)


def percentile(seconds: list[float], share: float) -> float | None:
    """The value below which this share of them lies."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def summary(driver: Driver, evidence: Evidence, found: Callable[[str], int], **given: Any) -> dict[str, Any]:
    """The figures of a run. ``found``: how often a rule was broken."""
    every = [seconds for kind in driver.recoveries.seconds.values() for seconds in kind]
    late = [
        (run.at - run.scheduled).total_seconds() for runs in evidence.runs.values() for run in runs if not run.retry
    ]
    calls = Counter(event["e"] for event in evidence.of("ok", "refused", "unknown", "failed"))
    return given | {
        "alarms_run": len(evidence.rows),
        "outcomes": dict(Counter(row["outcome"] for row in evidence.rows)),
        "calls": dict(calls),
        "processes_killed_at_points": sum(1 for _ in evidence.of("killed")),
        "processes_ended_by_themselves": found("ended"),
        "processes_that_had_not_ended_ten_seconds_after_sigterm": sum(e["code"] == -9 for e in evidence.of("stopped")),
        "faults_made": sum(driver.made.values()),
        "faults": dict(sorted(driver.made.items())),
        "lost": found("lost"),
        "early": found("early"),
        "overlapping": found("overlapping"),
        "keys_with_two_contents": found("contents"),
        "late_seconds": {name: percentile(late, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
        "longest_backlog": driver.recoveries.longest_backlog,
        "recoveries": len(every),
        "recovery_seconds": {
            kind: {"n": len(seconds), "p50": percentile(seconds, 0.5), "p99": percentile(seconds, 0.99)}
            for kind, seconds in [("all", every), *sorted(driver.recoveries.seconds.items())]
        },
    }
