"""After an outage: what is late, by class and age, and a plan that drains it in an order and at a rate.

A plan is built of what there is: the classes are paused, operations cancel what is too old, mark what is old and spread
the rest, each class behind the one before it, and the last operation resumes what the plan has paused. So it is
watched, stopped and gone on with as operations are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Count, Min, Q, QuerySet

from durable_objects import durations
from durable_objects.alarms import predicates
from durable_objects.alarms.queries import SetAside, condition
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.errors import InvalidInput
from durable_objects.kinds import label_of
from durable_objects.operations import bulk, pauses, reasons
from durable_objects.operations.selection import Selection
from durable_objects.tables import Alarm, Operation

#: Ages that the pile is counted by: late by less than this, and the last one by more.
AGES = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1))
#: At least this many a second are planned: the first run is put behind the end of the plan's own work.
PLANNED_A_SECOND = 300
#: What runs in so long at the plan's rate may be late at its end: it does no harm at once.
BEHIND = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Late:
    """What is late of a class: how many in each age (below each of ``AGES``, and older), and since when the oldest."""

    kind_id: int
    label: str
    by_age: tuple[int, ...]
    oldest: datetime

    @property
    def number(self) -> int:
        """How many there are."""
        return sum(self.by_age)


def pile(now: datetime, *, held: Collection[int] = ()) -> list[Late]:
    """Return the alarms that are overdue and could run, by class, the largest first. Reads each once.

    A schedule that is late is none of them: it runs once its class is resumed, as its rule for what was missed says.
    ``held``: count also what of these classes waits for its class to be resumed.
    """
    bounds = [now + timedelta(days=1), *[now - age for age in AGES], None]
    counts = {
        f"age_{at}": Count("pk", filter=_between(newer, older)) for at, (newer, older) in enumerate(pairwise(bounds))
    }
    rows: Any = _overdue(now, held).values("kind").annotate(oldest=Min("due_at"), **counts)
    found = [
        Late(row["kind"], label_of(row["kind"]), tuple(row[name] for name in counts), row["oldest"]) for row in rows
    ]
    return sorted(found, key=lambda late: -late.number)


@dataclass(frozen=True, slots=True)
class Part:
    """What a plan does to a class: how many of it are late, how many of these are cancelled, how many of the others are
    marked, when these and the rest run.
    """

    kind: ContentType
    late: int
    cancelled: int
    marked: int
    begins_in: timedelta
    lasts: timedelta


def plan(
    order: Sequence[ContentType],
    rate: float,
    skip: timedelta | None,
    now: datetime,
    found: Sequence[Late] | None = None,
    *,
    mark: timedelta | None = None,
) -> list[Part]:
    """Return what ``drain`` would do now, class by class. ``found``: the pile, where it was counted before.

    Raises ``InvalidInput``.
    """
    if not bulk.LEAST_RATE <= rate <= bulk.MOST_RATE:
        raise InvalidInput(f"rate is {rate}: give alarms a second, from {bulk.LEAST_RATE} to {bulk.MOST_RATE:,.0f}")
    if skip is not None and mark is not None and mark >= skip:
        raise InvalidInput(
            f"mark is {durations.write(mark)}, and what is late by more than {durations.write(skip)} is cancelled: "
            "mark from a lesser age on"
        )
    late = {each.kind_id: each.number for each in (pile(now) if found is None else found)}
    classes = [kind for kind in dict.fromkeys(order) if kind.pk in late]
    if not classes:
        raise InvalidInput("none of these classes is late: there is nothing to drain")
    parts, too_old, old = [], _older_than(skip, classes, now), _older_than(mark, classes, now)
    begin = max(timedelta(seconds=1), timedelta(seconds=sum(late[kind.pk] for kind in classes) / PLANNED_A_SECOND))
    for kind in classes:
        cancelled = too_old.get(kind.pk, 0)
        marked = max(0, old.get(kind.pk, 0) - cancelled)
        lasts = timedelta(seconds=max(1.0, (late[kind.pk] - cancelled) / rate))
        parts.append(Part(kind, late[kind.pk], cancelled, marked, begin, lasts))
        begin += lasts
    return parts


def longest_late(parts: Sequence[Part], now: datetime) -> QuerySet[Alarm]:
    """Return the alarms of a plan, those first that are late for longest."""
    return _overdue(now).filter(kind__in=[part.kind.pk for part in parts]).order_by("due_at", "pk")


def drain(
    order: Sequence[ContentType],
    rate: float,
    *,
    by: str,
    reason: str = "",
    skip: timedelta | None = None,
    mark: timedelta | None = None,
    user: str = "",
) -> list[Operation]:
    """Run what is overdue of these classes, in this order, ``rate`` alarms a second; return the plan's operations.

    What is late by more than ``skip`` is cancelled before; what is late by more than ``mark`` runs, and how late it is
    goes to its history and to the log. The classes are paused until all of it is planned: then they
    are resumed, and what is late runs class by class, spread evenly. What comes due meanwhile runs in time once they
    are. A class that somebody has paused stays so. Raises ``InvalidInput``.
    """
    now = clock.now()
    parts = plan(order, rate, skip, now, mark=mark)
    why = reasons.read(reason, required=skip is not None) or "drained after an outage"
    with transaction.atomic(using=engine.DATABASE):
        steps = [*_of_age("cancel", parts, skip, now), *_of_age("mark_late", parts, mark, now), *_spreads(parts, now)]
        held = [part.kind.pk for part in parts if not pauses.covering(pauses.target_of(part.kind))]
        for part in parts:
            if part.kind.pk in held:
                pauses.pause(part.kind, reason=why, by=by)
        return _chained(steps, by=by, reason=why, user=user, held=held)


def spread_again(last: Operation, now: datetime) -> bool:
    """Add operations that spread once more what is late of a plan's classes by now, before its last one resumes them;
    return whether anything is: then another operation is the plan's last.

    That is so where the plan was stopped for a while, or took longer than was thought: what it had put off would run
    all at once.
    """
    found, parts, begin = {each.kind_id: each for each in pile(now, held=last.resumes)}, list[_Step](), timedelta(0)
    for kind_id, rate in _rates(last).items():
        late = found.get(kind_id)
        if kind_id not in last.resumes or late is None or late.number <= rate * BEHIND.total_seconds():
            continue
        begin = begin or timedelta(seconds=max(1, sum(each.number for each in found.values()) / PLANNED_A_SECOND))
        lasts = timedelta(seconds=max(1.0, late.number / rate))
        parts.append(("spread", f"class:{late.label} due<{_iso(now)}", {"over": lasts, "after": begin}))
        begin += lasts
    if parts:
        _chained(parts, by=last.by, reason=last.reason, user=last.user, held=last.resumes, behind=last)
    return bool(parts)


def _rates(last: Operation) -> dict[int, float]:
    """Return how many alarms a second the plan runs of each class, in its order."""
    rates: dict[int, float] = {}
    for each in operations_of(last):
        kind_id = Selection.parse(each.selection).get("class:")
        if each.verb == "spread" and each.total and kind_id is not None:
            rates.setdefault(kind_id, each.total / each.arguments["over"])
    return rates


def operations_of(operation: Operation) -> list[Operation]:
    """Return the operations of the plan that this one is part of, in their order; none where it is of no plan."""
    rows = Operation.objects.using(engine.DATABASE)
    return [] if operation.plan_id is None else list(rows.filter(plan=operation.plan_id).order_by("pk"))


_Step = tuple[str, str, dict[str, object]]


def _of_age(verb: str, parts: Sequence[Part], age: timedelta | None, now: datetime) -> list[_Step]:
    if age is None:
        return []
    return [(verb, f"class:{label_of(part.kind.pk)} due<{_iso(now - age)}", {}) for part in parts]


def _spreads(parts: Sequence[Part], now: datetime) -> list[_Step]:
    steps: list[_Step] = []
    for part in parts:
        given: dict[str, object] = {"over": part.lasts, "after": part.begins_in}
        steps.append(("spread", f"class:{label_of(part.kind.pk)} due<{_iso(now)}", given))
    return steps


def _chained(
    steps: list[_Step], *, by: str, reason: str, user: str, held: list[int], behind: Operation | None = None
) -> list[Operation]:
    made: list[Operation] = []
    for verb, selection, given in steps:
        after = made[-1] if made else behind
        asked: dict[str, Any] = {"by": by, "user": user, "reason": reason, "arguments": given}
        made.append(bulk.start(verb, selection, after=after, of_plan=True, **asked))
    rows = Operation.objects.using(engine.DATABASE)
    rows.filter(pk__in=[each.pk for each in made]).update(plan=made[0].pk if behind is None else behind.plan_id)
    rows.filter(pk=made[-1].pk).update(resumes=held)
    return [bulk.get(each.pk) for each in made]


def _overdue(now: datetime, held: Collection[int] = ()) -> QuerySet[Alarm]:
    aside = SetAside.look(now)
    aside = replace(aside, paused=replace(aside.paused, kinds=aside.paused.kinds - {*held}))
    overdue = condition("overdue", now, aside=aside)
    return Alarm.objects.using(engine.DATABASE).filter(overdue, predicates.of_itself(overdue)).order_by()


def _older_than(age: timedelta | None, classes: Sequence[ContentType], now: datetime) -> dict[int, int]:
    if age is None:
        return {}
    rows = _overdue(now).filter(kind__in=[kind.pk for kind in classes], due_at__lt=now - age).values("kind")
    return dict(rows.annotate(number=Count("pk")).values_list("kind", "number"))


def _between(newer: datetime | None, older: datetime | None) -> Q:
    found = Q(due_at__lte=newer)
    return found if older is None else found & Q(due_at__gt=older)


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
