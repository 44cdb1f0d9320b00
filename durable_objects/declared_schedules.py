"""After ``migrate``: the schedules that classes declare are on the objects that are there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.db.models import Exists, OuterRef, Q, QuerySet

from durable_objects import kinds
from durable_objects.alarms.declarations import Declaration, declarations_of
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends.base import Limits
from durable_objects.logs import get_logger
from durable_objects.models import DurableObject
from durable_objects.tables import Object, Schedule
from durable_objects.turns import schedule_changes
from durable_objects.turns.bulk import MAX_OBJECTS, BulkTransaction

logger = get_logger(__name__)

#: How often locked objects are tried again, and the pause before each try.
TRIES, SECONDS_BETWEEN_TRIES = 5, 1.0


def reconcile(using: str, apps: Apps = installed, **kwargs: Any) -> None:
    """Set, change and remove declared schedules, so that each object has what its class declares.

    A receiver of ``post_migrate``. Makes the objects that ``of`` names. Runs no ``initialize()``. What keeps being
    locked is left, with a warning: the next ``migrate`` has it.
    """
    if using != engine.DATABASE or not kinds.has_model(apps, "durable_objects", "schedule"):
        return
    for model in kinds.classes():
        meta = model._meta
        if issubclass(model, DurableObject) and kinds.has_model(apps, meta.app_label, str(meta.model_name)):
            _reconcile(model, declarations_of(model))


def _reconcile(model: type[DurableObject], declared: Sequence[Declaration]) -> None:
    if not declared and not Schedule.objects.using(engine.DATABASE).filter(declared=True).exists():
        return
    kind_id = kinds.make(model)
    names = sorted({each.of for each in declared if each.of is not None})
    if names:
        with BulkTransaction(_limits(model)) as bulk:
            bulk.make(kind_id, names)
    others = _behind(kind_id, declared).order_by("pk")
    seen, locked = 0, []
    while pks := list(others.filter(pk__gt=seen).values_list("pk", flat=True)[:MAX_OBJECTS]):
        seen = pks[-1]
        locked += _reconcile_some(model, declared, pks)
    for _ in range(TRIES):
        if not locked:
            return
        time.sleep(SECONDS_BETWEEN_TRIES)
        locked = _reconcile_some(model, declared, locked)
    if locked:
        text = "%s: %s objects are locked and keep the schedules that they have; run migrate again when they are not"
        logger.warning(text, model._meta.label, len(locked))


def behind() -> dict[str, int]:
    """Count, by class, the objects that do not have what their class declares: ``migrate`` would change them."""
    found = {}
    for kind_id, model in kinds.runnable().items():
        declared = declarations_of(model)
        if declared and (number := _behind(kind_id, declared).count()):
            found[model._meta.label] = number
    return found


def _behind(kind_id: int, declared: Sequence[Declaration]) -> QuerySet[Object]:
    return Object.objects.using(engine.DATABASE).filter(_differs(declared), kind=kind_id)


def _differs(declared: Sequence[Declaration]) -> Q:
    """Return the condition of objects whose schedules are not what is declared."""
    now = clock.now()
    rows = Schedule.objects.using(engine.DATABASE).filter(object=OuterRef("pk"))
    gone = Q(declared=True) & ~Q(name__in=[each.name for each in declared])
    differs = Q(Exists(rows.filter(gone)))
    for each in declared:
        same = Q(rule=each.rule.to_text(), method=each.method, misfire=each.misfire, state="armed")
        same &= Q(grace__isnull=True) if each.grace is None else Q(grace=each.grace)
        stands = rows.filter(Q(declared=False) | Q(state="cancelled") | same, name=each.name)
        here = Q() if each.of is None else Q(name=each.of)
        if each.rule.after(now) is None:  # its class has ended it: only another rule has to go
            differs |= here & Q(Exists(rows.filter(name=each.name, declared=True).exclude(rule=each.rule.to_text())))
            continue
        differs |= here & ~Q(Exists(stands))
        if each.of is not None:
            differs |= ~here & Q(Exists(rows.filter(name=each.name, declared=True)))
    return differs


def _reconcile_some(model: type[DurableObject], declared: Sequence[Declaration], pks: list[int]) -> list[int]:
    """Reconcile these objects in one transaction; return those that somebody has locked."""
    with BulkTransaction(_limits(model)) as bulk:
        where = f"id IN ({', '.join(['%s'] * len(pks))})"
        turns = bulk.lock(where, pks, lambda object_id, kind_id, name: model.by_name(name), skip_locked=True)
        for turn in turns:
            bulk.turns.append(turn)
            with turn.running():
                schedule_changes.reconcile(turn, declared)
    return sorted(set(pks) - {turn.object_id for turn in turns})


def _limits(model: type[DurableObject]) -> Limits:
    return Limits(engine.LOCK_TIMEOUT, model.alarm_time_limit)
