"""Which errors runs ended with lately, grouped: however many there are, the newest are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_objects.alarms.error_groups import fingerprint
from durable_objects.conf import engine
from durable_objects.formatting import gist
from durable_objects.kinds import label_of
from durable_objects.tables import Alarm, AlarmRun

#: Failed runs that are read, as many of those that were an alarm's last, and groups of dead alarms.
NEWEST = 1_000


@dataclass(frozen=True, slots=True)
class RecentError:
    """A group of errors of one class: how often it came, and the newest of them in a line."""

    kind_id: int
    error_group: str
    line: str = ""
    number: int = 0

    @property
    def key(self) -> str:
        """What it is known by: the same for each that differs in values only."""
        return f"{self.kind_id}:{self.error_group}"

    def __str__(self) -> str:
        return f"{label_of(self.kind_id)}: {self.line}"


def recent_errors(now: datetime, within: timedelta) -> list[RecentError]:
    """Return the groups of errors of the runs that failed within this time, those that came most often first."""
    numbers: Counter[tuple[int, str]] = Counter()
    lines: dict[tuple[int, str], str] = {}
    runs = AlarmRun.objects.using(engine.DATABASE).order_by("-id")
    for outcome in (AlarmRun.Outcome.FAILED, AlarmRun.Outcome.DEAD):
        newest = runs.filter(outcome=outcome).values_list("ended_at", "object__kind_id", "error")[:NEWEST]
        for ended_at, kind_id, error in newest:
            if now - within < ended_at <= now and (group := fingerprint(error)):
                numbers[kind_id, group] += 1
                lines.setdefault((kind_id, group), gist(error))
    return [RecentError(*key, lines[key], number) for key, number in numbers.most_common()]


def dead_errors() -> list[RecentError]:
    """Return the groups of errors that alarms died of, without their lines and numbers, ``NEWEST`` at most."""
    dead = Alarm.objects.using(engine.DATABASE).filter(state=Alarm.State.DEAD).exclude(error_group="")
    groups = dead.order_by("kind_id", "error_group").values_list("kind_id", "error_group").distinct()
    return [RecentError(kind_id, group) for kind_id, group in groups[:NEWEST]]
