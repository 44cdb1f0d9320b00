"""Rows 21 and 22: what schedules cost beside alarms, and a million of them that are pending."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from django.contrib.contenttypes.models import ContentType
from django.db import connection

from benchmarks.measuring import Result, many, side_by_side
from benchmarks.objects import Once
from benchmarks.row import Target, row
from benchmarks.rows.pending import growth
from benchmarks.stage import Stage, unique
from durable_objects.database import clock
from durable_objects.execution.executor import fire
from durable_objects.recurrence import rules

EACH = 10
ROUNDS = many(100)
PENDING = many(100_000)


@row(
    21,
    "Ten schedules of one object against the alarms of ten",
    set=Target(3, 1.5, at_most=True),
    run=Target(3, 1.5, at_most=True),
)
def ten(stage: Stage) -> Result:
    """Milliseconds for each that is set, by a turn of its own, and for each that runs, in this process."""
    figures = side_by_side({"a schedule set": _set_schedules, "an alarm set": _set_alarms}, "ms")
    figures |= side_by_side({"a schedule run": _run_schedules, "an alarm run": _run_alarms}, "ms")
    medians = {name: figure.median for name, figure in figures.items()}
    ratios = {each: medians[f"a schedule {each}"] / medians[f"an alarm {each}"] for each in ("set", "run")}
    return Result(figures, ratios)


def _each(call: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3 / count


def _with_schedules(at: timedelta) -> list[Once]:
    objects = [Once.objects.get_by_name(unique("ten")) for _ in range(max(ROUNDS // EACH, 1))]
    for obj in objects:
        for number in range(EACH):
            obj.schedules.set(f"{number}", "note", after=at)
    return objects


def _with_alarms(at: timedelta) -> list[Once]:
    objects = [Once.objects.get_by_name(unique("one")) for _ in range(max(ROUNDS // EACH, 1) * EACH)]
    for obj in objects:
        obj.storage.set_alarm(at)
    return objects


def _set_schedules() -> float:
    return _each(lambda: _with_schedules(timedelta(hours=1)), max(ROUNDS // EACH, 1) * EACH)


def _set_alarms() -> float:
    return _each(lambda: _with_alarms(timedelta(hours=1)), max(ROUNDS // EACH, 1) * EACH)


def _run_schedules() -> float:
    pks = [pk for obj in _with_schedules(timedelta(0)) for pk in [_pk(obj)] * EACH]
    return _each(lambda: [fire(pk) for pk in pks], len(pks))


def _run_alarms() -> float:
    pks = [_pk(obj) for obj in _with_alarms(timedelta(0))]
    return _each(lambda: [fire(pk) for pk in pks], len(pks))


def _pk(obj: Once) -> int:
    return Once.objects.values_list("pk", flat=True).get(name=obj.name)


@row(
    22,
    "1,000,000 schedules pending, ten on an object",
    memory=Target(5, 0, at_most=True),
    dispatch_pass=Target(1.5, 1.0, at_most=True),
    lateness=Target(1.2, 1.0, at_most=True),
)
def million(stage: Stage) -> Result:
    """As row 8: growth of worker, dispatcher and broker (MB); a pass and lateness against those with 1,000 pending."""
    return growth(stage, _store, 100, PENDING)


def _store(objects: int) -> None:
    """Store so many objects with ten daily schedules each, the first of which runs tomorrow."""
    kind = ContentType.objects.get_for_model(Once, for_concrete_model=False)
    rule = rules.make(every=timedelta(days=1), now=clock.now()).to_text()
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH made AS (INSERT INTO durable_objects_object (kind_id, name) "
            "SELECT %s, %s || n FROM generate_series(1, %s) n RETURNING id), "
            "planned AS (INSERT INTO durable_objects_schedule (object_id, kind_id, name, method, arguments, rule, "
            "misfire, declared, state, scheduled_at, due_at, is_decided, retry_count, set_number, last_error) "
            "SELECT id, %s, n::text, 'note', '[[],{}]', %s, 'one', false, 'armed', at, at, false, 0, n, '' "
            "FROM made, LATERAL (SELECT n, now() + interval '1 day' + n * random() * interval '1 minute' AS at "
            "FROM generate_series(1, %s) n) times RETURNING object_id, due_at) "
            "INSERT INTO durable_objects_alarm (object_id, kind_id, state, schedule_due_at, retry_count, "
            "crashed_starts, generation, fence, wake_up_number, wake_ups_lost, last_error, sets) "
            "SELECT object_id, %s, 'idle', min(due_at), 0, 0, 0, 0, 0, 0, '', %s FROM planned GROUP BY object_id",
            [kind.pk, unique("planned"), objects, kind.pk, rule, EACH, kind.pk, EACH],
        )
        cursor.execute("ANALYZE durable_objects_object, durable_objects_alarm, durable_objects_schedule")
