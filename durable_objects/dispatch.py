"""One bounded pass: ring for what is due soon, ring again for what got lost, prune the history.

Any number of dispatchers may run at once: each takes rows that no other has, and what is rung twice runs once.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from durable_objects import alarms, bell, clock, crash, history
from durable_objects.conf import engine
from durable_objects.models import DurableObject
from durable_objects.rows import Alarm

#: Seconds between two prunings of the history.
PRUNE_EVERY = 60.0

_last_pruned = float("-inf")


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did: wake-ups sent, how many of them were rescues of lost ones, runs pruned from the history."""

    rung: int = 0
    rescued: int = 0
    pruned: int = 0

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


def run_pass(limit: int | None = None) -> Pass:
    """Ring for at most ``limit`` alarms (default: what ``MAX_OUT`` leaves room for). Raises what the database raises.

    Does nothing while no wake-up would be heard, the broker being private to a process without a worker. Where a
    message could not be sent a moment ago, it begins with a single one, and goes on only when that gets through.
    """
    clock.connection().close_if_unusable_or_obsolete()
    pruned = _prune()
    if not bell.is_heard():
        return Pass(pruned=pruned)
    probed = Pass()
    if bell.is_broken():
        probed = _ring(1, probe=True)
        if not probed.rung:
            return Pass(pruned=pruned)
    rest = _ring(limit)
    return Pass(probed.rung + rest.rung, probed.rescued + rest.rescued, pruned)


def forget_wake_ups() -> None:
    """Call when the only worker starts with an empty broker: what was rung for before is rung for anew."""
    alarms.forget_all_rung(clock.now())


def known_kinds() -> dict[int, type[DurableObject]]:
    """The classes of objects that this code and the database know, by content type."""
    models = {m._meta.label_lower: m for m in apps.get_models() if issubclass(m, DurableObject) and not m.is_base()}
    content_types = ContentType.objects.filter(app_label__in={label.partition(".")[0] for label in models})
    found = {ct.pk: models.get(f"{ct.app_label}.{ct.model}") for ct in content_types}
    return {pk: model for pk, model in found.items() if model is not None}


def _ring(limit: int | None, *, probe: bool = False) -> Pass:
    wake_ups = _mark(limit)
    crash.reach("dispatch.marked")
    return Pass(bell.ring(wake_ups, probe=probe), sum(wake_up.rescue for wake_up in wake_ups))


def _mark(limit: int | None) -> list[bell.WakeUp]:
    now, kinds = clock.now(), known_kinds()
    unheard = alarms.unheard(now, kinds)
    if not unheard.exists():
        return []
    room = max(engine.MAX_OUT - alarms.count_out(now), 0)
    with transaction.atomic(using=engine.DATABASE):
        locked = unheard.select_for_update(skip_locked=True, of=("self",)).select_related("object")
        rows = list(locked[: room if limit is None else min(room, limit)])
        wake_ups = []
        for row in rows:
            rescue = row.rung_at is not None or row.leased_until is not None
            wake_ups.append((row, rescue))
        alarms.mark_all_rung(rows, now)
        return [_wake_up(row, kinds[row.object.kind_id].alarm_time_limit, rescue) for row, rescue in wake_ups]


def _wake_up(row: Alarm, time_limit: timedelta, rescue: bool) -> bell.WakeUp:
    return bell.WakeUp(row.object_id, row.ring, row.due_at or clock.now(), row.retry_count, time_limit, rescue)


def _prune() -> int:
    global _last_pruned
    if time.monotonic() - _last_pruned < PRUNE_EVERY:
        return 0
    _last_pruned = time.monotonic()
    return history.prune(clock.now())
