"""What is due and has not run: by class, since when, and what for. One cause hides no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q

from durable_objects.alarms import predicates
from durable_objects.alarms.queries import SetAside
from durable_objects.conf import engine
from durable_objects.operations import pauses
from durable_objects.operations.delivery_state import DeliveryState
from durable_objects.tables import Alarm

#: Of what is due, the first ``MOST`` are looked at: those that have waited longest.
MOST = 10_000


@dataclass(frozen=True)
class Waits:
    """Alarms of a class that are due and for which no run has started: how many, since when the first, and why.

    ``reason``: ``late`` or ``due`` (nothing holds them back; late once it is more than usual), ``paused``, ``limited``
    or ``parked``, of which the last three are no lateness. ``by_schedule``: of how many of those that are late only a
    schedule is, and not the alarm itself, which a verb could run.
    """

    kind_id: int
    number: int
    oldest: datetime
    reason: str
    by_schedule: int = 0


@dataclass(frozen=True)
class Cause:
    """Something that keeps every class waiting, in a sentence; for which object, if it is about one."""

    code: str
    text: str
    object_id: int | None = None


@dataclass(frozen=True)
class Line:
    """All that is due and waits, by class, what has waited longest first."""

    waits: list[Waits]
    capped: bool

    @property
    def late(self) -> list[Waits]:
        """Return those that are late."""
        return [each for each in self.waits if each.reason == "late"]

    @property
    def on_time(self) -> list[Waits]:
        """Return those that have just come due."""
        return [each for each in self.waits if each.reason == "due"]


def look(now: datetime, late_after: timedelta, aside: SetAside) -> Line:
    """Return what waits. ``late_after``: what has been due for longer is late. Reads ``MOST`` rows by their index."""
    first = Alarm.objects.using(engine.DATABASE).filter(predicates.due(now) & predicates.free(now)).order_by("wake_at")
    late_before = now - late_after
    by_itself = Q(pk__in=aside.paused.objects) if aside.paused.objects else None
    not_held = ~by_itself if by_itself is not None else Q()
    rows = Alarm.objects.using(engine.DATABASE).filter(pk__in=first.values("pk")[:MOST]).values("kind").order_by()
    figures: dict[str, Any] = {
        "number": Count("pk"),
        "oldest": Min("wake_at"),
        "late": Count("pk", filter=not_held & Q(wake_at__lte=late_before)),
        "itself": Count("pk", filter=not_held & predicates.of_itself(Q(wake_at__lte=late_before))),
        "due_since": Min("wake_at", filter=not_held & Q(wake_at__gt=late_before)),
    }
    if by_itself is not None:
        figures |= {"held": Count("pk", filter=by_itself), "held_since": Min("wake_at", filter=by_itself)}
        figures["oldest"] = Min("wake_at", filter=not_held)
    counted: Any = rows.annotate(**figures)
    found = [each for row in counted for each in _waits(row, aside)]
    found.sort(key=lambda each: each.oldest)
    return Line(found, sum(each.number for each in found) >= MOST)


def causes(delivery: DeliveryState) -> list[Cause]:
    """Return all that keeps every class waiting: nobody dispatches, the broker refuses, no thread is free."""
    failing, workers = delivery.failing, delivery.workers
    general = [Cause(failing.code, f"{failing.text}.")] if failing else []
    code = "busy" if workers.all_busy else "workers"
    return general + [Cause(code, text, workers.longest_object) for text in workers.obstacles()]


def paused_because(now: datetime, aside: SetAside) -> dict[int | None, str]:
    """Return by class, and by None for everything, since when it is paused, by whom and why; no single objects."""
    return {pause.kind_id: pauses.sentence(pause, now) for pause in aside.paused.wide}


def _waits(row: dict[str, Any], aside: SetAside) -> Iterator[Waits]:
    kind_id, held = row["kind"], row.get("held", 0)
    if held and not aside.paused.everything:
        yield Waits(kind_id, held, row["held_since"], "paused")
    left = row["number"] - (0 if aside.paused.everything else held)
    oldest = min(
        filter(None, [row["oldest"], row.get("held_since") if aside.paused.everything else None]), default=None
    )
    if not left or oldest is None:
        return
    if reason := _set_aside(kind_id, aside):
        yield Waits(kind_id, left, oldest, reason)
        return
    if row["late"]:
        yield Waits(kind_id, row["late"], oldest, "late", row["late"] - row["itself"])
    if left > row["late"]:
        yield Waits(kind_id, left - row["late"], row["due_since"], "due")


def _set_aside(kind_id: int, aside: SetAside) -> str:
    if kind_id in {kind.pk for kind in aside.unknown}:
        return "parked"
    if aside.paused.everything or kind_id in aside.paused.kinds:
        return "paused"
    return "limited" if kind_id in aside.limited else ""
