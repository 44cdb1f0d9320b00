"""Questions about the alarms themselves: late, left behind, impossible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any

from django.db.models import Count

from durable_objects import declared_schedules, kinds, tasks
from durable_objects.alarms import history, leases, predicates
from durable_objects.alarms.pauses import in_force
from durable_objects.alarms.queries import alarms_in, count
from durable_objects.alarms.slot import Slot
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import processes
from durable_objects.doctor.finding import Finding, Question
from durable_objects.formatting import class_name, gist, span
from durable_objects.models import as_handle
from durable_objects.operations import actions, metrics
from durable_objects.operations.delivery_state import DeliveryState
from durable_objects.operations.explain import why_late
from durable_objects.operations.pauses import sentence
from durable_objects.operations.schedules import schedules_in
from durable_objects.tables import Alarm, AlarmRun

#: An alarm that is overdue by more than this is late: a lost wake-up is sent again within 10 s, and a busy object is
#: waited for a few seconds; what takes longer has nobody to run it.
LATE_AFTER = timedelta(seconds=30)

#: Rows that a repair reads at once.
AT_MOST = 1_000
#: Pauses that are reported one by one.
PAUSES_SHOWN = 3
#: The newest runs, which are searched for an object that has too many.
NEWEST_RUNS = 20_000


@dataclass(frozen=True)
class Late:
    """By how much the oldest due alarm is late (0: none is due), and why, if that is more than ``LATE_AFTER``."""

    by: timedelta
    cause: str | None


def late(now: datetime) -> Late:
    """Return by how much the oldest due alarm is late, and why: in words that name no object and no host. Reads a few
    indexes.
    """
    oldest = metrics.oldest_overdue(now)
    if oldest is None or oldest.wake_at is None:
        return Late(timedelta(), None)
    by = now - oldest.wake_at
    if by <= LATE_AFTER:
        return Late(by, None)
    number = count(alarms_in("due", now).filter(predicates.due(now - LATE_AFTER)))
    are = "alarm is" if number == 1 else "alarms are"
    why = why_late([oldest], DeliveryState(now))[oldest.pk]
    return Late(by, f"{metrics.counted(number)} {are} late, the oldest by {span(by)}. {why}")


def _late(now: datetime) -> Iterator[Finding]:
    cause = late(now).cause
    if cause is not None:
        advice = "Do what the sentence says; `manage.py alarms explain KIND NAME` explains any one of them."
        yield Finding("late", cause, advice, state="overdue")


def _nobody_dispatches(now: datetime) -> Iterator[Finding]:
    trouble = processes.trouble(now)
    if trouble is not None and alarms_in("armed", now).exists():
        advice = "Without a dispatcher, alarms that are far away, or whose message was lost, never run."
        if tasks.settings_in_force()["broker"] == "memory":
            advice += " The broker is memory://: the dispatcher must run in the process that has the worker inside."
        yield Finding("dispatcher", trouble, advice)


def _dead(now: datetime) -> Iterator[Finding]:
    number = count(alarms_in("dead", now))
    if number:
        last = alarms_in("dead", now).order_by("-pk").first()
        error = gist(last.last_error) if last else ""
        text = f"Dead alarms: {metrics.counted(number)}. One says: {error}"
        advice = "Correct the cause, then `manage.py alarms revive --all`."
        yield Finding("dead", text, advice, is_trouble=False, state="dead")


def _dead_schedules(now: datetime) -> Iterator[Finding]:
    rows = schedules_in("dead", now)
    number = count(rows)
    if number:
        last = rows.order_by("-pk").first()
        error = gist(last.last_error) if last else ""
        text = f"Schedules with a dead occurrence: {metrics.counted(number)}. One says: {error}"
        advice = "Correct the cause, then `manage.py schedules revive --all`."
        yield Finding("dead_schedules", text, advice, is_trouble=False)


def _parked(now: datetime) -> Iterator[Finding]:
    for kind in kinds.unknown():
        number = count(alarms_in("armed", now).filter(kind=kind))
        if number:
            text = f"Alarms of a class that this code does not have: {metrics.counted(number)} of {class_name(kind)}."
            advice = "Deploy the class, or cancel them."
            yield Finding("parked", text, advice, is_trouble=False, state="parked")


def _paused(now: datetime) -> Iterator[Finding]:
    """Find what an operator has paused, the longest first; each waits for somebody to resume it, or for its time."""
    standing = in_force(now)
    for pause in standing.order_by("since")[:PAUSES_SHOWN]:
        advice = "`manage.py alarms resume` ends it; alarms that have come due then run at once."
        yield Finding("paused", sentence(pause, now), advice, is_trouble=False, state="paused")
    if (others := count(standing) - PAUSES_SHOWN) > 0:
        text = f"Pauses beside these: {metrics.counted(others)}."
        yield Finding("paused", text, "`manage.py alarms pauses` lists them.", is_trouble=False, state="paused")


def _left_behind(now: datetime) -> Iterator[Finding]:
    """Find leases that ran out long ago: a dispatcher would have had their runs taken over at once."""
    over = Alarm.objects.using(engine.DATABASE).filter(predicates.left_behind(now - engine.LEASE))
    number = count(over)
    if number:
        text = f"Leases of runs that are gone: {metrics.counted(number)}, which ended over {span(engine.LEASE)} ago."
        advice = "--fix removes them, so that the next wake-up runs at once."
        yield Finding("lease", text, advice, fix=lambda: f"removed leases: {_repair(over, _end_lease)}")


def _undeclared(now: datetime) -> Iterator[Finding]:
    """Find objects that lack what their class declares: code of the last version made them after ``migrate``, say."""
    for name, number in declared_schedules.behind().items():
        text = f"Objects without the schedules that their class declares: {number:,} of {name}."
        yield Finding("declared_schedules", text, "Run migrate again: it sets them.", is_trouble=False)


def _without_due_time(now: datetime) -> Iterator[Finding]:
    rows = Alarm.objects.using(engine.DATABASE).filter(predicates.armed(), due_at=None).order_by()
    number = count(rows)
    if number:
        text = f"Armed alarms without a due time, which never run: {metrics.counted(number)}."
        advice = "Somebody changed the table by hand. --fix makes them due now."
        yield Finding("no_due_time", text, advice, fix=lambda: f"made due now: {_repair(rows, _make_due)}")


def _too_much_history(now: datetime) -> Iterator[Finding]:
    """Find runs that the dispatcher should have deleted, which prunes once a minute: by a day, or a tenth of them."""
    runs = AlarmRun.objects.using(engine.DATABASE)
    old = runs.filter(ended_at__lt=now - engine.HISTORY_FOR - timedelta(days=1)).exclude(outcome="dead").exists()
    newest = runs.order_by("-id").values("id")[:NEWEST_RUNS]
    per_object = runs.filter(id__in=newest).values("object").annotate(runs=Count("id"))
    many = per_object.filter(runs__gt=engine.HISTORY_PER_OBJECT * 1.1).order_by("-runs").first()
    if old or many:
        most = f"an object has {many['runs']:,} runs" if many else f"runs are older than {span(engine.HISTORY_FOR)}"
        text = f"The history is larger than its settings allow: {most}, and no dispatcher prunes it fast enough."
        yield Finding(
            "history", text, "--fix prunes it.", fix=lambda: f"pruned {history.Pruning().go_on(now, inf)[0]} runs"
        )


def _repair(rows: Any, repair: Callable[[Alarm], object]) -> int:
    """Repair all of the rows, ``AT_MOST`` at a time, and count them; one that was repaired no longer matches."""
    repaired, seen = 0, 0
    while found := list(rows.filter(pk__gt=seen).select_related("object").order_by("pk")[:AT_MOST]):
        repaired += sum(bool(repair(row)) for row in found)
        seen = found[-1].pk
    return repaired


def _end_lease(row: Alarm) -> bool:
    slot = Slot(row.pk, stored=True, fence=row.fence, leased_until=row.leased_until)
    return leases.take_over(clock.connection(), slot, clock.now())


def _make_due(row: Alarm) -> bool:
    if as_handle(row.object) is None:
        return False
    actions.fire_now(row.object)
    return True


AT_A_GLANCE: list[Question] = [_late, _nobody_dispatches, _dead, _dead_schedules, _parked, _paused, _left_behind]
INVARIANTS: list[Question] = [_undeclared, _without_due_time, _too_much_history]
