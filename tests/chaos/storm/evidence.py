"""What the checker judges: the history, the database as it was in the end, and the runs that both tell of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

Event = dict[str, Any]


class Violation(NamedTuple):
    """A broken promise, and by what."""

    rule: str
    what: str


Found = Iterator[Violation]

#: Seconds around a fault in which what it did may still show.
AFTERMATH = 5.0
#: What the names of faults end with that end processes, rather than stop them.
ENDING = (" killed", " ended", "no worker")


@dataclass
class Run:
    """One call of ``alarm()``, or of what a ``schedule`` calls, as its handler wrote it down; moments are monotonic
    seconds, ``at`` the database's. ``token``: of a schedule the key of the occurrence.
    """

    run: str
    object: str
    kind: str
    token: str
    retry: int
    pid: int
    start: float
    at: datetime
    scheduled: datetime
    last: float
    id: int | None = None
    fence: int | None = None
    #: How it ended, as its handler saw it: ``end``, ``raise``, ``superseded``; empty when it was cut off.
    ending: str = ""
    planned: bool = False
    gave_up: bool = False
    schedule: str = ""

    @property
    def limited(self) -> bool:
        """Whether its class may end it before its handler does."""
        return self.kind == "BriefSubject"


@dataclass(frozen=True)
class Evidence:
    """``logs``: each subject's entries; ``rows``: the engine's history of runs; ``armed``: who still is; ``own``: the
    marks that each subject's turns left in a model of the user's own.
    """

    history: list[Event]
    logs: dict[str, list[Event]] = field(default_factory=dict)
    rows: list[Event] = field(default_factory=list)
    armed: list[str] = field(default_factory=list)
    own: dict[str, list[str]] = field(default_factory=dict)

    def of(self, *what: str) -> Iterator[Event]:
        """The events of these kinds, in their order."""
        return (event for event in self.history if event["e"] in what)

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """Each object's runs, in the order in which they began."""
        known: dict[str, Run] = {}
        for event in self.of("start", "out", "in", "end", "raise", "superseded"):
            if event["e"] == "start":
                known[event["run"]] = _run(event)
            run = known.get(event["run"])
            if run is None:
                continue  # it was refused before its handler had begun
            run.last = event["m"]
            if event["e"] == "out":
                run.id, run.fence = event["id"], event["fence"]
            if event["e"] in ("end", "raise", "superseded"):
                run.ending, run.planned = event["e"], event.get("planned", False)
                run.gave_up = event.get("gave_up", False)
        found = defaultdict(list)
        for run in known.values():
            found[run.object].append(run)
        return found

    @cached_property
    def orders(self) -> dict[str, Event]:
        """The entry of the log that set each token, with the ``object`` and its number there."""
        return {
            entry["token"]: entry | {"object": name, "number": number}
            for name, log in self.logs.items()
            for number, entry in enumerate(log, 1)
            if entry["op"] == "set"
        }

    @cached_property
    def _faults(self) -> list[Event]:
        return list(self.of("fault"))

    @cached_property
    def _killed(self) -> list[Event]:
        return list(self.of("killed"))

    def died(self, pid: int, begin: float, end: float) -> bool:
        """Whether this process was killed or stopped, or its parent was, in this span."""
        killed = any(event["pid"] == pid and begin <= event["m"] <= end for event in self._killed)
        return killed or any(
            pid in fault["pids"] and fault["begin"] <= end and fault["end"] >= begin for fault in self._faults
        )

    def is_gone(self, pid: int, begin: float, end: float) -> bool:
        """Whether this process was killed or ended in this span, not only stopped."""
        return any(event["pid"] == pid and begin <= event["m"] <= end for event in self._killed) or any(
            pid in fault["pids"] and fault["begin"] <= end and fault["end"] >= begin
            for fault in self._faults
            if fault["kind"].endswith(ENDING)
        )

    def database_away(self, begin: float, end: float) -> bool:
        """Whether somebody took the database or its sessions away in this span, or just before it."""
        return any(
            fault["part"] == "database" and fault["begin"] <= end and fault["end"] + AFTERMATH >= begin
            for fault in self._faults
        )

    def excused(self, run: Run, until: float) -> bool:
        """Whether a fault explains that this run lost its object before it ended."""
        return run.limited or self.died(run.pid, run.start, until) or self.database_away(run.start, until)


def _run(event: Event) -> Run:
    return Run(
        event["run"],
        event["object"],
        event["kind"],
        event["token"],
        event["retry"],
        event["pid"],
        event["m"],
        datetime.fromisoformat(event["at"]),
        datetime.fromisoformat(event["scheduled"]),
        event["m"],
        schedule=event.get("schedule", ""),
    )
