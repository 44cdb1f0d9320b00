"""Operations: a verb on everything that matches, started, stopped and gone on with; a worker does it in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet

from durable_objects.alarms import pauses, predicates
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import bulk_operations
from durable_objects.delivery.bulk_operations import ASKED_AGAIN_AFTER
from durable_objects.errors import DurableObjectError, InvalidInput
from durable_objects.kinds import of_class
from durable_objects.logs import about, get_logger
from durable_objects.operations import bulk_log, bulk_verbs, reasons
from durable_objects.operations.selection import Selection
from durable_objects.tables import Alarm, Object, Operation

logger = get_logger(__name__)

RUNNING, STOPPED, DONE, WAITING = (
    Operation.State.RUNNING.value,
    Operation.State.STOPPED.value,
    Operation.State.DONE.value,
    Operation.State.WAITING.value,
)
#: Of who asked, at most this many characters are kept.
LONGEST_BY = 150
#: The bounds of a rate, in objects a second.
LEAST_RATE, MOST_RATE = 0.01, 100_000.0


def start(
    verb: str,
    selection_text: str,
    *,
    by: str,
    reason: str = "",
    arguments: Mapping[str, Any] | None = None,
    rate: float | None = None,
    user: str = "",
    kinds: Iterable[int] | None = None,
    after: Operation | None = None,
    of_plan: bool = False,
) -> Operation:
    """Start doing this to everything that matches, and return at once: a worker does it, from the commit on.

    ``by`` is who asks, ``user`` the primary key of the admin's user who does, for the log. ``kinds``: only objects of
    these content types. ``rate``: at most this many objects a second. ``after``: once that one is done. ``of_plan``: as
    part of a plan, so that alarms that run, or whose object is paused by itself, are left alone.

    Objects that match when their chunk comes are done, in the order of their primary keys, each at most once; those
    made later are not. Spans in the selection count from now. Raises ``InvalidInput`` for what is no verb, argument or
    selection, and where a reason is required.
    """
    found = bulk_verbs.get(verb)
    operation = prepare(verb, selection_text, kinds, of_plan=of_plan)
    operation.arguments = found.read(arguments or {})
    reason = reasons.read(reason, required=found.is_destructive)
    if rate is not None and not LEAST_RATE <= rate <= MOST_RATE:
        raise InvalidInput(f"rate is {rate}: give objects a second, from {LEAST_RATE} to {MOST_RATE:,.0f}")
    operation.reason, operation.rate = reason, rate
    operation.by, operation.user = by.strip()[:LONGEST_BY], user
    operation.after, operation.state = after, RUNNING if after is None else WAITING
    operation.ask_at = None if after is not None else operation.asked_at + ASKED_AGAIN_AFTER
    operation.save(using=engine.DATABASE)
    bulk_log.Log(operation).started()
    logger.warning("operation %s: %s", operation.pk, sentence(operation), extra=about("operation_started"))
    if after is None:
        transaction.on_commit(lambda: _ask(operation.pk), using=engine.DATABASE)
    return operation


def prepare(verb: str, selection_text: str, kinds: Iterable[int] | None = None, *, of_plan: bool = False) -> Operation:
    """Return the operation that would be started now, not stored, with the exact number of what matches.

    Raises ``InvalidInput``.
    """
    of = bulk_verbs.get(verb)
    now, kinds = clock.now(), None if kinds is None else sorted(kinds)
    selection = Selection.parse(selection_text, now=now)
    quoted = None if kinds is None else Alarm.objects.using(engine.DATABASE).filter(kind__in=kinds)
    operation = Operation(
        verb=of.name,
        selection=str(selection),
        words=selection.words(quoted),
        kinds=kinds,
        asked_at=now,
    )
    operation.last = Object.objects.using(engine.DATABASE).aggregate(last=Max("pk"))["last"] or 0
    operation.total = matching(operation, selection, of_plan=of_plan).count()
    return operation


def stop(operation: Operation) -> bool:
    """Stop it once the chunk that is under way is done; return whether it ran, or waited."""
    rows = _rows().filter(pk=operation.pk, state__in=[RUNNING, WAITING])
    return rows.update(state=STOPPED, ask_at=None, error="") > 0


def go_on(operation: Operation, *, by: str = "", user: str = "") -> bool:
    """Go on behind the last object that was done, once what it comes after is done; return whether it was stopped.

    ``by``: whoever goes on with it, and answers from then on for what is left of it and of its plan, as if they had
    started it; ``user`` as for ``start``. Nobody: it runs for the same person as before.
    """
    now, stopped = clock.now(), _rows().filter(pk=operation.pk, state=STOPPED)
    with transaction.atomic(using=engine.DATABASE):
        # Locked: it is done either before, or after this one waits for it and is found by ``follow``.
        before = None if operation.after_id is None else _rows().select_for_update().get(pk=operation.after_id)
        last = stopped.values_list("beat_at", flat=True).first()
        stood = F("seconds_stopped") + (max(0.0, (now - last).total_seconds()) if last else 0.0)
        changes: dict[str, Any] = {
            "error": "",
            "fence": F("fence") + 1,
            "beat_at": last and now,
            "seconds_stopped": stood,
        }
        if before is not None and before.state != DONE:
            went_on = stopped.update(state=WAITING, **changes)
        else:
            went_on = stopped.update(state=RUNNING, ask_at=now + ASKED_AGAIN_AFTER, **changes)
            if went_on:
                transaction.on_commit(lambda: _ask(operation.pk), using=engine.DATABASE)
        if went_on and by:
            plan = Q(pk=operation.pk) if operation.plan_id is None else Q(plan=operation.plan_id)
            _rows().filter(plan).exclude(state=DONE).update(by=by.strip()[:LONGEST_BY], user=user)
    return went_on > 0


def follow(operation: Operation, now: datetime) -> None:
    """Start what waited for this one, which is done."""
    waiting = _rows().filter(after=operation.pk, state=WAITING)
    for pk in list(waiting.values_list("pk", flat=True)):
        waiting.filter(pk=pk).update(state=RUNNING, ask_at=now + ASKED_AGAIN_AFTER)
        transaction.on_commit(lambda pk=pk: _ask(pk), using=engine.DATABASE)  # type: ignore[misc]  # bound at once


def get(pk: int) -> Operation:
    """Return the operation of this number as it stands. Raises ``DurableObjectError``."""
    found = _rows().filter(pk=pk).first()
    if found is None:
        raise DurableObjectError(f"there is no operation {pk}: `manage.py operations list` shows those there are")
    return found


def latest() -> QuerySet[Operation]:
    """Return all operations, the last one first."""
    return _rows().order_by("-pk")


def under_way() -> QuerySet[Operation]:
    """Return those that run, wait for another one, or were stopped and can go on, the last one first."""
    return latest().exclude(state=DONE)


def matching(operation: Operation, selection: Selection | None = None, *, of_plan: bool = False) -> QuerySet[Any]:
    """Return the alarms, or objects, that it would still come to, unordered: their primary key is the object's.

    ``selection``: the operation's, where it was read before. ``of_plan``: it will be part of one, or is. Raises
    ``InvalidSelection``.
    """
    selection = selection or Selection.parse(operation.selection, now=operation.asked_at)
    verb = bulk_verbs.get(operation.verb)
    rows: QuerySet[Any] = (
        selection.alarms(operation.asked_at, itself=True) if verb.of_alarms else selection.objects(operation.asked_at)
    )
    if of_plan or operation.plan_id is not None:
        now = clock.now()
        rows = rows.filter(predicates.free(now), pauses.none_of_its_own(now))
    if verb.of is not None:
        rows = rows.filter(kind__in=of_class(verb.of))
    if operation.kinds is not None:
        rows = rows.filter(kind__in=operation.kinds)
    return verb.narrow(rows.filter(pk__gt=operation.cursor, pk__lte=operation.last)).order_by()


def seen(operation: Operation) -> int:
    """Return how many it has come to."""
    return operation.done + operation.skipped + operation.failed


def speed(operation: Operation) -> float | None:
    """Return how many objects a second it comes to while it is not stopped; None before there is anything to go by."""
    end = operation.beat_at or operation.ended_at
    if operation.started_at is None or end is None or not seen(operation):
        return None
    worked = (end - operation.started_at).total_seconds() - operation.seconds_stopped
    return seen(operation) / max(worked, 0.001)


def time_left(operation: Operation) -> timedelta | None:
    """Return how long it takes to the end at the speed so far; None where that is not known."""
    pace = speed(operation)
    if operation.state != RUNNING or not pace:
        return None
    return timedelta(seconds=max(0, operation.total - seen(operation)) / pace)


def sentence(operation: Operation) -> str:
    """Say what is done to what, by whom and why."""
    verb = bulk_verbs.find(operation.verb)
    how = f" {phrase}" if verb is not None and (phrase := verb.phrase(operation.arguments)) else ""
    by = f", by {operation.by}" if operation.by else ""
    why = f": {operation.reason}" if operation.reason else ""
    return f"{bulk_verbs.label_of(operation.verb)}{how} {counted(operation)}{by}{why}"


def what(operation: Operation) -> str:
    """Say what it is done to."""
    return f"{_nouns(operation)[1]} ({operation.words})"


def counted(operation: Operation) -> str:
    """Say what it is done to, and how many that were when it was asked."""
    one, several = _nouns(operation)
    return f"{operation.total:,} {one if operation.total == 1 else several} ({operation.words})"


def _nouns(operation: Operation) -> tuple[str, str]:
    """Return what it is done to, as one and as several."""
    verb = bulk_verbs.find(operation.verb)
    if verb is not None and verb.of is not None:
        return str(verb.of._meta.verbose_name), str(verb.of._meta.verbose_name_plural)
    return ("alarm", "alarms") if verb is not None and verb.of_alarms else ("object", "objects")


def _ask(pk: int) -> None:
    number = _rows().filter(pk=pk).values_list("fence", flat=True).first()
    if number is not None:
        bulk_operations.ask(pk, number)


def _rows() -> QuerySet[Operation]:
    return Operation.objects.using(engine.DATABASE)
