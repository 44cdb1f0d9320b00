"""Which processes there are, what they do, and whether workers are free: by their heartbeats and passes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_objects.conf import engine
from durable_objects.delivery.heartbeat import FORGOTTEN_AFTER, SILENT_AFTER
from durable_objects.delivery.processes import stopped_after
from durable_objects.formatting import span
from durable_objects.tables import Dispatcher, Process

#: Processes that are read at most, those seen last first.
AT_MOST = 200


@dataclass(frozen=True, slots=True)
class Workers:
    """All workers together: how many live, their threads and how many of those are at work, the longest for how long
    and for which object; ``silent``: how many were killed or hang, the last seen ``silent_for`` ago; the last that
    ended in good order did so ``ended_for`` ago.
    """

    number: int = 0
    threads: int = 0
    busy: int = 0
    longest: timedelta | None = None
    longest_object: int | None = None
    silent: int = 0
    silent_for: timedelta | None = None
    ended_for: timedelta | None = None

    @property
    def all_busy(self) -> bool:
        """Whether no thread is free, so that what is due waits for one."""
        return 0 < self.threads <= self.busy

    @property
    def are_gone(self) -> bool:
        """Whether there were workers, and none is left; False where none is on record: they may be without beats."""
        return not self.number and not (self.silent_for is None and self.ended_for is None)

    def obstacles(self) -> list[str]:
        """Return why workers take nothing, in sentences without a host or an object; none as far as one knows."""
        if self.all_busy:
            longest = f", the longest for {span(self.longest)}" if self.longest is not None else ""
            are = "The only thread of the workers is" if self.threads == 1 else f"All {self.threads:,} threads are"
            return [f"{are} busy ({self.busy:,} of {self.threads:,}){longest}."]
        if not self.are_gone:
            return []
        if self.silent_for is not None and (self.ended_for is None or self.silent_for <= self.ended_for):
            return [f"No worker has been seen for {span(self.silent_for)}."]
        return [f"No worker is running: the last one ended {span(self.ended_for or timedelta(0))} ago."]


@dataclass(frozen=True, slots=True)
class Standing:
    """A process, and what is known of it: its heartbeat, its passes, or both."""

    name: str
    beat: Process | None
    passes: Dispatcher | None

    @property
    def last_seen_at(self) -> datetime:
        """When it was seen last."""
        moments = [self.beat.last_seen_at] if self.beat else []
        return max([*moments, self.passes.last_pass_at] if self.passes else moments)

    @property
    def roles(self) -> str:
        """What it does: ``worker``, ``dispatcher``, both, or ``process`` where neither is known."""
        is_worker = self.beat is not None and self.beat.threads is not None
        return " and ".join(["worker"] * is_worker + ["dispatcher"] * (self.passes is not None)) or "process"

    def state(self, now: datetime) -> str:
        """Return ``alive``, ``silent`` (killed, hanging, or cut off) or ``ended``."""
        if self.beat is not None and self.beat.ended_at is not None:
            return "ended"
        patience = SILENT_AFTER if self.beat is not None else stopped_after()
        return "alive" if self.last_seen_at > now - patience else "silent"


def workers(now: datetime) -> Workers:
    """Return how the workers stand. One query."""
    return workers_among(beating(), now)


def workers_among(rows: list[Process], now: datetime) -> Workers:
    """Return how the workers among these stand."""
    of_workers = [row for row in rows if row.threads is not None]
    going = [row for row in of_workers if row.ended_at is None]
    alive = [row for row in going if row.last_seen_at > now - SILENT_AFTER]
    silent = [row for row in going if row.last_seen_at <= now - SILENT_AFTER]
    longest = min(alive, key=lambda row: row.busy_since or now, default=None)
    return Workers(
        len(alive),
        sum(row.threads or 0 for row in alive),
        sum(min(row.busy, row.threads or 0) for row in alive),
        now - longest.busy_since if longest and longest.busy_since else None,
        longest.busy_with if longest else None,
        len(silent),
        min((now - row.last_seen_at for row in silent), default=None),
        min((now - row.ended_at for row in of_workers if row.ended_at is not None), default=None),
    )


def standing(beating: list[Process], passing: list[Dispatcher], now: datetime) -> list[Standing]:
    """Return the processes that were seen within a day, workers first, then by name."""
    beats = {row.process: row for row in beating}
    passes = {row.process: row for row in passing if row.last_pass_at > now - FORGOTTEN_AFTER}
    found = [Standing(name, beats.get(name), passes.get(name)) for name in beats.keys() | passes.keys()]
    return sorted(found, key=lambda each: (each.beat is None or each.beat.threads is None, each.name))


def deploys(beating: list[Process]) -> list[tuple[datetime, str]]:
    """Return when the version of the code changed, and to what, the oldest first, as far as these processes tell."""
    since: dict[str, datetime] = {}
    for row in beating:
        since[row.code_version] = min(row.code_since, since.get(row.code_version, row.code_since))
    return sorted((at, version) for version, at in since.items())[1:]


def beating() -> list[Process]:
    """Return the heartbeats of the last day. One query."""
    rows = Process.objects.using(engine.DATABASE).order_by("-last_seen_at", "pk")
    return list(rows[:AT_MOST])
